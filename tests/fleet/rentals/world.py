"""Cabinets that speak when a test tells them to, and the gateway's part in between."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from firmware_protocol.messages import (
    CommandResult,
    EventMessage,
    Inventory,
    PowerBankEjected,
    PowerBankInserted,
    SlotInventory,
)
from firmware_protocol.types import CommandOutcome, SlotState
from fleet.devices.facts import DeviceFact
from fleet.devices.models import CommandState, DeviceCommand
from fleet.payments import proof, wallets
from fleet.payments.ledger import apply_house_now
from fleet.rentals.cases.models import CaseState, OrphanBankCase
from fleet.rentals.evidence.service import apply_fact
from fleet.rentals.models import Rental, RentalEvent, RentalState
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts import service as starts
from fleet.rentals.starts.ejects import last_eject
from fleet.rentals.starts.models import Reservation, ReservationState
from fleet.rentals.starts.payment_plans import BY_WALLET, PaymentPlan
from fleet.rentals.underway import deadlines
from fleet.settings import Settings
from fleet.stations.models import PowerBank, Station, StationSlot
from tests.factories import add_banks, add_rider, add_station, add_tariff

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
POLICY = RentalPolicy.from_settings(Settings())


class World:
    """Station A: banks A1 90 %, A2 80 %, A3 70 % in slots 1 to 3 of 5. Station B: 4 empty slots. A rider with 50.00."""

    def __init__(self, session: Session, now: datetime) -> None:
        self.session = session
        self.now = now
        self.policy = POLICY
        self._seq: dict[str, int] = defaultdict(int)
        self.said: list[DeviceFact] = []
        add_tariff(session, now)
        self.stations = {code: add_station(session, now, code, slots) for code, slots in (("A", 5), ("B", 4))}
        add_banks(session, now, ["A1", "A2", "A3"])
        self.rider = add_rider(session, now)
        self.inventory("A", {1: ("A1", 90), 2: ("A2", 80), 3: ("A3", 70)}, at=now - HOUR)
        self.inventory("B", {}, at=now - HOUR)
        self.said.clear()

    def later(self, duration: timedelta) -> datetime:
        self.now += duration
        return self.now

    # What cabinets say

    def fact(
        self,
        code: str,
        message: EventMessage,
        *,
        at: datetime | None = None,
        seq: int | None = None,
        received_at: datetime | None = None,
        replayed: bool = False,
    ) -> DeviceFact:
        """The next event of the cabinet (or the one numbered `seq`), which happened at `at` (now)."""
        if seq is None:
            seq = self.skip(code)
        received = received_at or self.now
        fact = DeviceFact(
            station_id=self.stations[code].id,
            station_code=code,
            boot=1,
            seq=seq,
            occurred_at=min(at or self.now, received),
            received_at=received,
            replayed=replayed,
            message=message,
        )
        self.said.append(fact)
        return fact

    def skip(self, code: str, count: int = 1) -> int:
        """An event that will come later, or never; its seq."""
        self._seq[code] += count
        return self._seq[code]

    def apply(self, fact: DeviceFact) -> None:
        apply_fact(self.session, fact, self.policy, self.now)
        self.session.flush()

    def say(
        self,
        code: str,
        message: EventMessage,
        *,
        at: datetime | None = None,
        seq: int | None = None,
        replayed: bool = False,
    ) -> DeviceFact:
        fact = self.fact(code, message, at=at, seq=seq, replayed=replayed)
        self.apply(fact)
        return fact

    def inserted(
        self,
        code: str,
        slot: int,
        serial: str | None,
        charge: int | None = 50,
        *,
        at: datetime | None = None,
        seq: int | None = None,
    ) -> DeviceFact:
        return self.say(code, PowerBankInserted(slot=slot, serial=serial, charge_pct=charge), at=at, seq=seq)

    def ejected(
        self,
        code: str,
        slot: int,
        serial: str | None,
        command: DeviceCommand | None = None,
        *,
        at: datetime | None = None,
        seq: int | None = None,
    ) -> DeviceFact:
        id_ = None if command is None else str(command.id)
        return self.say(code, PowerBankEjected(slot=slot, serial=serial, command_id=id_), at=at, seq=seq)

    def inventory(
        self,
        code: str,
        banks: dict[int, tuple[str, int]],
        *,
        at: datetime | None = None,
        command: DeviceCommand | None = None,
        seq: int | None = None,
        other: Sequence[SlotInventory] = (),
    ) -> DeviceFact:
        """Every slot; those not named are empty."""
        told = {entry.slot for entry in other}
        slots = [*other]
        for number in range(1, self.stations[code].slot_count + 1):
            if number in told:
                continue
            serial, charge = banks.get(number, (None, None))
            state = SlotState.EMPTY if serial is None else SlotState.OCCUPIED
            slots.append(SlotInventory(slot=number, state=state, serial=serial, charge_pct=charge))
        id_ = None if command is None else str(command.id)
        return self.say(code, Inventory(slots=tuple(slots), command_id=id_), at=at, seq=seq)

    def result(
        self,
        code: str,
        command: DeviceCommand,
        outcome: CommandOutcome = CommandOutcome.SUCCEEDED,
        failure: str | None = None,
        *,
        slot: int | None = None,
        serial: str | None = None,
    ) -> DeviceFact:
        id_ = str(command.id)
        return self.say(code, CommandResult(command_id=id_, outcome=outcome, code=failure, slot=slot, serial=serial))

    def heard(self) -> None:
        """Every cabinet has just shown that it is there."""
        for station in self.stations.values():
            station.last_heard_at = self.now
        self.session.flush()

    # What riders, the gateway and the sweeps do

    def start(
        self,
        code: str = "A",
        slot: int | None = None,
        rider: UUID | None = None,
        plan: PaymentPlan = BY_WALLET,
        *,
        package_id: UUID | None = None,
    ) -> Rental:
        begun = starts.start(
            self.session,
            user_id=rider or self.rider,
            station_code=code,
            slot=slot,
            now=self.now,
            policy=self.policy,
            request_id="req-1",
            plan=plan,
            package_id=package_id,
        )
        return self.session.get_one(Rental, begun.id)

    def send(self, rental: Rental) -> DeviceCommand:
        """The gateway claims and publishes the rental's order."""
        command = self.command(rental)
        assert command.state is CommandState.QUEUED
        command.state, command.sent_at, command.attempt = CommandState.SENT, self.now, 1
        self.session.flush()
        return command

    def command(self, rental: Rental) -> DeviceCommand:
        command = last_eject(self.session, rental.id)
        assert command is not None
        return command

    def rent(
        self, code: str = "A", slot: int | None = None, rider: UUID | None = None, plan: PaymentPlan = BY_WALLET
    ) -> Rental:
        """A rental whose bank left a second after it was asked for."""
        rental = self.start(code, slot, rider, plan)
        command = self.send(rental)
        self.later(SECOND)
        self.ejected(code, rental.slot_out, self.serial(rental), command)
        self.result(code, command, slot=rental.slot_out, serial=self.serial(rental))
        assert rental.state is RentalState.ACTIVE
        return rental

    def unknown(self, plan: PaymentPlan = BY_WALLET) -> tuple[Rental, DeviceCommand]:
        """A rental whose eject nobody answered."""
        rental = self.start(plan=plan)
        command = self.send(rental)
        self.later(self.policy.eject_deadline + self.policy.eject_grace + SECOND)
        assert deadlines.sweep_commands(self.session, self.now, self.policy) == 1
        assert rental.state is RentalState.EJECT_UNKNOWN
        return rental, command

    def asked(self, code: str) -> DeviceCommand:
        """The newest query_inventory of the station."""
        query = select(DeviceCommand).where(
            DeviceCommand.station_id == self.stations[code].id, DeviceCommand.kind == "query_inventory"
        )
        command = self.session.scalars(query.order_by(DeviceCommand.id.desc()).limit(1)).one()
        command.state, command.sent_at = CommandState.SENT, self.now
        return command

    # What is true afterwards

    def serial(self, rental: Rental) -> str:
        return self.session.get_one(PowerBank, rental.power_bank_id).serial

    def bank(self, serial: str) -> PowerBank:
        query = select(PowerBank).where(PowerBank.serial == serial).execution_options(populate_existing=True)
        return self.session.scalars(query).one()

    def slot(self, code: str, number: int) -> StationSlot:
        query = select(StationSlot).where(
            StationSlot.station_id == self.stations[code].id, StationSlot.number == number
        )
        return self.session.scalars(query.execution_options(populate_existing=True)).one()

    def place(self, serial: str) -> str | None:
        """Where the bank is: `A1` for slot 1 of station A, None when it is out."""
        query = (
            select(Station.code, StationSlot.number)
            .join(Station, Station.id == StationSlot.station_id)
            .join(PowerBank, PowerBank.id == StationSlot.power_bank_id)
            .where(PowerBank.serial == serial)
        )
        row = self.session.execute(query).one_or_none()
        return None if row is None else f"{row[0]}{row[1]}"

    def cases(self, state: CaseState | None = CaseState.OPEN) -> list[OrphanBankCase]:
        query = select(OrphanBankCase).order_by(OrphanBankCase.id).execution_options(populate_existing=True)
        found = list(self.session.scalars(query))
        return [case for case in found if state is None or case.state is state]

    def whys(self, rental: Rental) -> list[str]:
        query = select(RentalEvent.why).where(RentalEvent.rental_id == rental.id).order_by(RentalEvent.id)
        return list(self.session.scalars(query))

    def money(self, rider: UUID | None = None) -> tuple[int, int]:
        """Available and held, in minor units."""
        wallet = wallets.wallet_of(self.session, rider or self.rider, "EUR", self.now)
        balance = wallets.balance(self.session, wallet)
        return balance.available_minor, balance.held_minor

    def check_everything(self) -> None:
        """Every bank of the fleet is in a slot, with a rider, or asked for by a case; and the books are right."""
        self.session.flush()
        apply_house_now(self.session)
        assert proof.prove(self.session, self.now).problems == ()
        for bank in self.session.scalars(select(PowerBank)):
            with_rider = self.session.scalars(
                select(Rental.id).where(
                    Rental.power_bank_id == bank.id,
                    Rental.state.in_([RentalState.ACTIVE, RentalState.OVERDUE, RentalState.BOUGHT_OUT]),
                )
            ).first()
            asked_for = any(case.power_bank_id == bank.id for case in self.cases())
            assert self.place(bank.serial) is not None or with_rider is not None or asked_for, bank.serial
        for slot in self.session.scalars(select(StationSlot).where(StationSlot.reserved_for.is_not(None))):
            kept = self.session.get(Reservation, slot.reserved_for, populate_existing=True)
            if kept is not None:
                assert kept.state is ReservationState.ACTIVE
                continue
            holder = self.session.get_one(Rental, slot.reserved_for)
            assert holder.swap_id is not None or holder.state in {RentalState.EJECTING, RentalState.EJECT_UNKNOWN}
