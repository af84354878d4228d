"""The promise, held against the tables once everything that can be told has been told."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from fleet.devices.commands import EJECT
from fleet.devices.models import DeviceCommand
from fleet.payments import proof, wallets
from fleet.payments.ledger import apply_house_now
from fleet.payments.models import LedgerTransfer, TransferState
from fleet.payments.providers.base import ChargeStatus
from fleet.payments.providers.sandbox import Card
from fleet.payments.providers.sandbox.models import SandboxCharge
from fleet.rentals.closing import terms_of
from fleet.rentals.models import CaseState, OrphanBankCase, Rental, RentalEvent, RentalState
from fleet.rentals.price import price
from fleet.rentals.rules import FAILED, RIDING
from fleet.stations.models import PowerBank, Station, StationSlot
from tests.model.cabinets import Arrival, Departure
from tests.model.town import FUNDS, Town


@dataclass(frozen=True, slots=True)
class Ride:
    """What the world knows of one rental."""

    rental: Rental
    serial: str
    sent: list[datetime]
    left: Departure | None
    more: list[Departure]
    back: Arrival | None


class Judge:
    def __init__(self, engine: Engine, town: Town, now: datetime) -> None:
        self._engine = engine
        self._town = town
        self._now = now

    def judge(self) -> None:
        with Session(self._engine) as session:
            self._slots(session)
            rides = [self._ride(session, each) for each in self._town.rentals]
            for ride in rides:
                self._rental(session, ride)
            self._banks(session)
            self._wallets(session, rides)
            apply_house_now(session)
            assert proof.prove(session, self._now).problems == ()
            assert session.scalar(text("SELECT count(*) FROM dead_letter")) == 0

    def _slots(self, session: Session) -> None:
        """Every slot shows what is in it."""
        query = (
            select(Station.code, StationSlot.number, PowerBank.serial)
            .join(Station, Station.id == StationSlot.station_id)
            .outerjoin(PowerBank, PowerBank.id == StationSlot.power_bank_id)
            .where(Station.id.in_(self._town.station_ids))
        )
        shown = {(code, number): serial for code, number, serial in session.execute(query)}
        true = {
            (code, number): serial
            for code, cabinet in self._town.cabinets.items()
            for number, serial in cabinet.slots.items()
        }
        assert shown == true

    def _ride(self, session: Session, rental_id: UUID) -> Ride:
        rental = session.get_one(Rental, rental_id)
        orders = session.scalars(
            select(DeviceCommand).where(DeviceCommand.rental_id == rental_id, DeviceCommand.kind == EJECT)
        ).all()
        ids = {order.id for order in orders}
        cabinets = self._town.cabinets.values()
        left = sorted((d for c in cabinets for d in c.departures if d.command_id in ids), key=lambda d: d.at)
        back = None
        if left:
            back = min(
                (a for c in cabinets for a in c.arrivals if a.serial == left[0].serial and a.at >= left[0].at),
                key=lambda a: a.at,
                default=None,
            )
        serial = session.get_one(PowerBank, rental.power_bank_id).serial
        sent = [order.sent_at for order in orders if order.sent_at is not None]
        return Ride(rental, serial, sent, left[0] if left else None, left[1:], back)

    def _rental(self, session: Session, ride: Ride) -> None:
        rental = ride.rental
        if ride.left is None:
            assert rental.state in FAILED, f"nothing left for {self._story(session, rental)}"
            assert (rental.charged_minor, rental.due_minor) == (0, 0)
        elif rental.state in FAILED:
            assert (rental.charged_minor, rental.due_minor) == (0, 0)
            assert ride.back is not None or self._asked_for(session, ride.left.serial), "a bank nobody asks for"
        else:
            self._served(session, ride, ride.left)
        if rental.hold_transfer_id is not None and rental.state not in RIDING:
            hold = session.get_one(LedgerTransfer, rental.hold_transfer_id)
            assert hold.state is not TransferState.PENDING, f"{rental.state} and still holding"

    def _served(self, session: Session, ride: Ride, left: Departure) -> None:
        """The rider had the bank: billed for no longer than from the order to the return."""
        rental, back = ride.rental, ride.back
        assert rental.started_at is not None
        if not ride.more:
            assert ride.serial == left.serial, f"{rental.id} is about {ride.serial}, {left.serial} left"
        until = self._now if back is None else back.at
        most = price(terms_of(rental), min([*ride.sent, left.at]), until, time_zone=rental.time_zone).total_minor
        assert rental.charged_minor + rental.due_minor <= most
        if back is None:
            assert rental.state in {*RIDING, RentalState.BOUGHT_OUT}
        elif rental.state is not RentalState.BOUGHT_OUT:
            assert rental.state is RentalState.COMPLETED, f"the bank is back, {rental.id} is {rental.state}"
            assert rental.ended_at is not None
            assert rental.ended_at <= back.at, "billed after giving it back"
        for other in ride.more:
            self._must_be_known(session, other)

    def _must_be_known(self, session: Session, left: Departure) -> None:
        back = any(
            a.serial == left.serial and a.at >= left.at for c in self._town.cabinets.values() for a in c.arrivals
        )
        assert back or self._asked_for(session, left.serial)

    def _banks(self, session: Session) -> None:
        """Whatever is out is with a rider, was paid for, or is asked for."""
        inside = {serial for cabinet in self._town.cabinets.values() for serial in cabinet.slots.values()}
        for serial in set(self._town.banks) - inside:
            bank = session.scalars(select(PowerBank).where(PowerBank.serial == serial)).one()
            kept = select(Rental.id).where(
                Rental.power_bank_id == bank.id, Rental.state.in_([*RIDING, RentalState.BOUGHT_OUT])
            )
            assert session.scalars(kept).first() is not None or self._asked_for(session, serial), serial

    def _story(self, session: Session, rental: Rental) -> str:
        """What a person needs to see why it went wrong."""
        query = select(RentalEvent).where(RentalEvent.rental_id == rental.id).order_by(RentalEvent.id)
        lines = [f"{each.at} {each.to_state} {each.why} {each.evidence}" for each in session.scalars(query)]
        orders = select(DeviceCommand).where(DeviceCommand.rental_id == rental.id).order_by(DeviceCommand.id)
        lines += [f"{each.sent_at} {each.kind} {each.args} {each.state}" for each in session.scalars(orders)]
        for cabinet in self._town.cabinets.values():
            lines += [f"{cabinet.code} {event}" for event in cabinet.said if "Inventory" not in str(event)[:40]]
            lines += [f"{cabinet.code} {each}" for each in (*cabinet.departures, *cabinet.arrivals)]
        return "\n".join([f"{rental.id}, {rental.state}, slot {rental.slot_out}", *lines])

    def _asked_for(self, session: Session, serial: str) -> bool:
        query = (
            select(OrphanBankCase.id)
            .join(PowerBank, PowerBank.id == OrphanBankCase.power_bank_id)
            .where(PowerBank.serial == serial, OrphanBankCase.state == CaseState.OPEN)
        )
        return session.scalars(query).first() is not None

    def _wallets(self, session: Session, rides: list[Ride]) -> None:
        """What the provider took, less what rentals cost, is what is there; and only open rentals hold anything."""
        taken = select(SandboxCharge.idempotency_key, SandboxCharge.amount_minor, SandboxCharge.card).where(
            SandboxCharge.status == ChargeStatus.SUCCEEDED
        )
        charges = session.execute(taken).all()
        charged = {intent: minor for intent, minor, _ in charges}
        #: While the rider's bank asks for it back, it is set aside.
        disputed = {intent: minor for intent, minor, card in charges if Card.DISPUTED.endswith(card)}
        for rider in self._town.riders:
            came = FUNDS + sum(
                charged.get(str(intent), 0) for intent, who in self._town.top_ups.items() if who == rider
            )
            own = [ride.rental for ride in rides if ride.rental.user_id == rider]
            balance = wallets.balance(session, wallets.wallet_of(session, rider, "EUR", self._now))
            paid = sum(rental.charged_minor for rental in own)
            assert balance.available_minor + balance.held_minor == came - paid
            if not any(rental.state in RIDING for rental in own):
                aside = sum(disputed.get(str(intent), 0) for intent, who in self._town.top_ups.items() if who == rider)
                assert 0 <= balance.held_minor <= aside
