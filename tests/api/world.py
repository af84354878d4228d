"""Stations with banks, a tariff, money in a wallet, and a cabinet that answers: what API tests are about."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import event, select

from firmware_protocol.messages import CommandResult, EventMessage, PowerBankEjected, PowerBankInserted
from firmware_protocol.types import CommandOutcome, SlotState
from fleet.common.clock import utc_now
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.devices.facts import DeviceFact
from fleet.devices.models import CommandState, DeviceCommand
from fleet.payments import wallets
from fleet.rentals.evidence.service import apply_fact
from fleet.rentals.tariffs.models import Tariff
from fleet.stations.models import PowerBank, Station, StationSlot
from fleet.stations.service import create_station
from fleet.stations.specs import StationSpec
from tests.api.conftest import Live
from tests.api.people import Person


def add_station(
    live: Live,
    code: str = "ZRH-0001",
    *,
    charges: Sequence[int] = (90,),
    slots: int = 4,
    online: bool = True,
    latitude: float = 47.3779,
    longitude: float = 8.5402,
    city: str = "Zürich",
) -> None:
    """A station that was just heard from, with a bank of each charge in its first slots, the others empty."""
    now = utc_now()
    with session_scope(live.engine) as session:
        spec = StationSpec(
            code=code, name=f"Station {code}", latitude=latitude, longitude=longitude, slots=slots, city=city
        )
        station = create_station(session, spec, now)
        station.online, station.last_heard_at = online, now
        rows = session.scalars(
            select(StationSlot).where(StationSlot.station_id == station.id).order_by(StationSlot.number)
        )
        for slot, charge in zip(rows, [*charges, *[None] * (slots - len(charges))], strict=True):
            slot.state, slot.locked, slot.observed_at = SlotState.EMPTY, False, now
            if charge is not None:
                bank = PowerBank(
                    serial=f"{code}-B{slot.number}", charge_pct=charge, known=True, created_at=now, updated_at=now
                )
                session.add(bank)
                session.flush()
                slot.state, slot.power_bank_id = SlotState.OCCUPIED, bank.id


def add_tariff(live: Live, *, hold_minor: int = 500) -> None:
    with session_scope(live.engine) as session:
        session.add(
            Tariff(
                name="everywhere", currency="EUR", unlock_minor=100, free_period=timedelta(0), interval_minor=50,
                interval_length=timedelta(minutes=30), daily_cap_minor=1000, total_cap_minor=3000,
                hold_minor=hold_minor, overdue_after=timedelta(days=2), valid_from=utc_now() - timedelta(days=1),
            )
        )  # fmt: skip


def give_money(live: Live, person: Person, amount_minor: int = 2000) -> None:
    with session_scope(live.engine) as session:
        wallets.adjust(
            session, user_id=person.user.id, money=Money(amount_minor, "EUR"), reason="for the test",
            actor_id=person.user.id, key=uuid4().hex, now=utc_now(),
        )  # fmt: skip


class Cabinet:
    """Says what a cabinet says, to the service that the gateway calls."""

    def __init__(self, live: Live, code: str = "ZRH-0001") -> None:
        self._live = live
        self._code = code
        self._seq = 0

    def says(self, message: EventMessage) -> None:
        now = utc_now()
        self._seq += 1
        with session_scope(self._live.engine) as session:
            station_id = session.scalars(select(Station.id).where(Station.code == self._code)).one()
            fact = DeviceFact(
                station_id=station_id, station_code=self._code, boot=1, seq=self._seq, occurred_at=now,
                received_at=now, replayed=False, message=message,
            )  # fmt: skip
            apply_fact(session, fact, self._live.server.runtime.policy, now)

    def take_order(self, rental_id: UUID) -> DeviceCommand:
        """What the gateway does before it publishes."""
        with session_scope(self._live.engine) as session:
            command = session.scalars(
                select(DeviceCommand)
                .where(DeviceCommand.rental_id == rental_id, DeviceCommand.state == CommandState.QUEUED)
                .with_for_update()
            ).one()
            command.state, command.sent_at, command.attempt = CommandState.SENT, utc_now(), 1
            return command

    def ejects(self, rental_id: UUID) -> None:
        command = self.take_order(rental_id)
        slot, serial = command.args["slot"], command.args["serial"]
        self.says(PowerBankEjected(slot=slot, serial=serial, charge_pct=90, command_id=str(command.id)))
        self.says(CommandResult(command_id=str(command.id), outcome=CommandOutcome.SUCCEEDED, slot=slot, serial=serial))

    def refuses(self, rental_id: UUID, code: str = "motor_stalled") -> None:
        command = self.take_order(rental_id)
        self.says(CommandResult(command_id=str(command.id), outcome=CommandOutcome.FAILED, code=code))

    def takes_back(self, slot: int, serial: str) -> None:
        self.says(PowerBankInserted(slot=slot, serial=serial, charge_pct=60))


@contextmanager
def statements(live: Live) -> Iterator[list[str]]:
    """The SQL statements that the API sends meanwhile."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    engine = live.server.runtime.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)
