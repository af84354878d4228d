"""Many at once, with real commits: one wins, the others are told why, and nobody waits for ever."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from firmware_protocol.messages import Inventory, PowerBankEjected, PowerBankInserted, SlotInventory
from firmware_protocol.types import SlotState
from fleet.db import session_scope
from fleet.devices.facts import DeviceFact
from fleet.devices.models import CommandState, DeviceCommand
from fleet.payments import proof, wallets
from fleet.rentals.errors import NoBankAvailable, RentalNotCancellable, TooManyOpenRentals
from fleet.rentals.evidence.service import apply_fact
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.starts import service as starts
from fleet.rentals.starts.ejects import last_eject
from fleet.rentals.underway import cancels, deadlines
from fleet.stations.models import PowerBank, Station, StationSlot
from tests.databases import Database
from tests.factories import add_banks, add_rider, add_station, add_tariff
from tests.fleet.parallel import together, wide_engine
from tests.fleet.rentals.world import POLICY
from tests.system.invariants import broken_rules

MANY = 50


class Town:
    """Committed stations, banks and riders on an engine with room for everybody."""

    def __init__(self, engine: Engine, now: datetime) -> None:
        self.engine = engine
        self.now = now
        self._seq = 1
        with session_scope(engine) as session:
            add_tariff(session, now)

    def station(self, code: str, slots: int, banks: int) -> int:
        serials = [f"{code}-{n}" for n in range(1, banks + 1)]
        entries = tuple(
            SlotInventory(slot=n, state=SlotState.OCCUPIED, serial=f"{code}-{n}", charge_pct=50 + n % 50)
            if n <= banks
            else SlotInventory(slot=n, state=SlotState.EMPTY)
            for n in range(1, slots + 1)
        )
        with session_scope(self.engine) as session:
            add_banks(session, self.now, serials)
            station_id = add_station(session, self.now, code, slots).id
            fact = self.fact(station_id, code, Inventory(slots=entries))
            apply_fact(session, fact, POLICY, self.now)
        return station_id

    def fact(self, station_id: int, code: str, message: Inventory | PowerBankEjected | PowerBankInserted) -> DeviceFact:
        self._seq += 1
        return DeviceFact(station_id, code, 1, self._seq, self.now, self.now, False, message)

    def riders(self, count: int) -> list[UUID]:
        with session_scope(self.engine) as session:
            return [add_rider(session, self.now) for _ in range(count)]

    def start(self, rider: UUID, code: str) -> UUID:
        with session_scope(self.engine) as session:
            return self.start_in(session, rider, code)

    def start_in(self, session: Session, rider: UUID, code: str) -> UUID:
        return starts.start(
            session, user_id=rider, station_code=code, slot=None, now=self.now, policy=POLICY, request_id=None
        ).id

    def send(self, rental_id: UUID) -> bool:
        """What the gateway does to claim the order."""
        with session_scope(self.engine) as session:
            claimed = session.execute(
                update(DeviceCommand)
                .where(DeviceCommand.rental_id == rental_id, DeviceCommand.state == CommandState.QUEUED)
                .values(state=CommandState.SENT, sent_at=self.now)
                .returning(DeviceCommand.id)
            ).all()
            return bool(claimed)

    def apply(self, fact: DeviceFact) -> None:
        with session_scope(self.engine) as session:
            apply_fact(session, fact, POLICY, self.now)

    def balance(self, rider: UUID) -> tuple[int, int]:
        with session_scope(self.engine) as session:
            found = wallets.balance(session, wallets.wallet_of(session, rider, "EUR", self.now))
            return found.available_minor, found.held_minor

    def check_books(self) -> None:
        """The ledger's proof, and what holds of rentals, banks, slots and money whatever happened."""
        with session_scope(self.engine) as session:
            assert proof.prove(session, self.now).problems == ()
        assert broken_rules(self.engine) == []


@pytest.fixture
def town(clean_database: Database, now: datetime) -> Iterator[Town]:
    with wide_engine(clean_database.url, MANY) as engine:
        yield Town(engine, now)


def outcomes(results: list[UUID | Exception]) -> Counter[str]:
    return Counter("won" if isinstance(result, UUID) else type(result).__name__ for result in results)


def test_fifty_riders_and_one_bank(town: Town) -> None:
    town.station("A", 4, banks=1)
    riders = town.riders(MANY)
    results = together(MANY, lambda n: town.start(riders[n], "A"))
    assert outcomes(results) == {"won": 1, NoBankAvailable.__name__: MANY - 1}
    held = [town.balance(rider) for rider in riders]
    assert Counter(held) == {(4500, 500): 1, (5000, 0): MANY - 1}
    with session_scope(town.engine) as session:
        assert session.scalar(select(func.count()).select_from(Rental)) == 1
        assert session.scalar(select(func.count()).select_from(DeviceCommand)) == 1
    town.check_books()


def test_fifty_starts_of_one_rider(town: Town) -> None:
    for code in "ABCDE":
        town.station(code, 12, banks=10)
    [rider] = town.riders(1)
    results = together(MANY, lambda n: town.start(rider, "ABCDE"[n % 5]))
    assert outcomes(results) == {"won": 1, TooManyOpenRentals.__name__: MANY - 1}
    assert town.balance(rider) == (4500, 500)
    with session_scope(town.engine) as session:
        assert session.scalar(select(func.count()).where(StationSlot.reserved_for.is_not(None))) == 1
    town.check_books()


def test_as_many_riders_as_there_are_banks_get_one_each(town: Town) -> None:
    town.station("A", 20, banks=20)
    riders = town.riders(MANY)
    results = together(MANY, lambda n: town.start(riders[n], "A"))
    assert outcomes(results) == {"won": 20, NoBankAvailable.__name__: MANY - 20}
    with session_scope(town.engine) as session:
        assert len(set(session.scalars(select(Rental.power_bank_id)))) == 20
        assert len(set(session.scalars(select(StationSlot.reserved_for)))) == 20
    town.check_books()


def test_cancelling_and_sending_at_once(town: Town) -> None:
    """Either the order goes out or the rental is cancelled, never both and never neither."""
    town.station("A", 25, banks=25)
    riders = town.riders(25)
    rentals = [town.start(rider, "A") for rider in riders]

    def act(n: int) -> bool:
        if n % 2:
            return town.send(rentals[n // 2])
        with session_scope(town.engine) as session:
            cancels.cancel(session, user_id=riders[n // 2], rental_id=rentals[n // 2], now=town.now, policy=POLICY)
        return True

    results = together(MANY, act)
    for cancelled, sent in zip(results[::2], results[1::2], strict=True):
        assert (cancelled is True) != (sent is True)
        assert cancelled is True or isinstance(cancelled, RentalNotCancellable)
    town.check_books()


def test_sweeps_at_once_change_each_row_once(town: Town) -> None:
    for number in range(12):
        town.station(f"S{number}", 2, banks=1)
    riders = town.riders(12)
    rentals = [town.start(rider, f"S{number}") for number, rider in enumerate(riders)]
    for rental_id in rentals[:6]:
        town.send(rental_id)
    later = town.now + timedelta(minutes=1)

    def sweep(work: Callable[[Session], int]) -> int:
        with session_scope(town.engine) as session:
            return work(session)

    results = together(MANY, lambda _: sweep(lambda session: deadlines.sweep_commands(session, later, POLICY)))
    assert sum(result for result in results if isinstance(result, int)) == 12
    assert not [result for result in results if isinstance(result, Exception)]
    with session_scope(town.engine) as session:
        states = Counter(session.scalars(select(Rental.state)))
    assert states == {RentalState.EJECT_UNKNOWN: 6, RentalState.EJECT_FAILED: 6}

    much_later = town.now + POLICY.eject_unknown_limit
    results = together(MANY, lambda _: sweep(lambda session: deadlines.sweep_rentals(session, much_later, POLICY)))
    assert sum(result for result in results if isinstance(result, int)) == 6
    assert not [result for result in results if isinstance(result, Exception)]
    assert {town.balance(rider) for rider in riders} == {(5000, 0)}
    town.check_books()


def test_fifty_gateways_apply_the_same_return(town: Town) -> None:
    a, b = town.station("A", 4, banks=1), town.station("B", 4, banks=0)
    [rider] = town.riders(1)
    rental_id = town.start(rider, "A")
    town.send(rental_id)
    with session_scope(town.engine) as session:
        command = last_eject(session, rental_id)
        assert command is not None
        command_id = str(command.id)
    town.apply(town.fact(a, "A", PowerBankEjected(slot=1, serial="A-1", command_id=command_id)))
    town.now += timedelta(hours=1)
    fact = town.fact(b, "B", PowerBankInserted(slot=1, serial="A-1", charge_pct=20))
    assert together(MANY, lambda _: town.apply(fact)) == [None] * MANY
    with session_scope(town.engine) as session:
        rental = session.get_one(Rental, rental_id)
        assert (rental.state, rental.charged_minor) == (RentalState.COMPLETED, 200)
    assert town.balance(rider) == (4800, 0)
    town.check_books()


def test_one_bank_told_to_be_in_two_cabinets(town: Town) -> None:
    """Two stations, two gateways, one serial: it ends in one slot, and neither gateway fails."""
    stations = {code: town.station(code, 25, banks=0) for code in "AB"}
    facts = [
        town.fact(stations[code], code, PowerBankInserted(slot=slot, serial=f"X-{slot}", charge_pct=20))
        for slot in range(1, 26)
        for code in "AB"
    ]
    results = together(len(facts), lambda n: town.apply(facts[n]))
    assert results == [None] * len(facts)
    with session_scope(town.engine) as session:
        held = session.execute(
            select(PowerBank.serial, func.count())
            .join(StationSlot, StationSlot.power_bank_id == PowerBank.id)
            .join(Station, Station.id == StationSlot.station_id)
            .group_by(PowerBank.serial)
        ).all()
        assert {tuple(row) for row in held} == {(f"X-{slot}", 1) for slot in range(1, 26)}
