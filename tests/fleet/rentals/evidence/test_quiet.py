"""Inventories taken many at once leave what they leave one by one, and only quiet ones are taken so."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from firmware_protocol.messages import Inventory, SlotInventory
from firmware_protocol.types import SlotState
from fleet.devices.facts import DeviceFact
from fleet.devices.models import StationReconciliation
from fleet.rentals.cases.models import OrphanBankCase
from fleet.rentals.evidence.quiet import take_quiet
from fleet.rentals.evidence.service import apply_fact
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.underway import claims
from fleet.settings import Settings
from fleet.stations.models import PowerBank, PowerBankMovement, PowerBankState, StationSlot
from tests.factories import add_banks, add_station
from tests.fleet.rentals.starts.test_ejects import operators_unknown_eject
from tests.fleet.rentals.world import HOUR, MINUTE, World

POLICY = RentalPolicy.from_settings(Settings())
SLOTS = 4
#: What inventories may change, without what chance or the order of writing gives.
TABLES = {
    "station_slot": (),
    "power_bank": ("created_at", "updated_at"),
    "power_bank_movement": ("id",),
    "orphan_bank_case": ("id",),
    "station_reconciliation": ("due_at",),
    "device_command": ("id",),
}


def stored(session: Session) -> dict[str, list[str]]:
    session.flush()
    found = {}
    for table, chance in TABLES.items():
        query = text(f"SELECT to_jsonb(t) - CAST(:chance AS text[]) FROM {table} t")
        found[table] = sorted(map(str, session.scalars(query, {"chance": list(chance)})))
    return found


@contextmanager
def undone(session: Session) -> Iterator[None]:
    with session.begin_nested() as nested:
        yield
        nested.rollback()
    session.expire_all()


class Fleet:
    """Cabinets whose slots change by chance, and what each shows of them."""

    def __init__(self, session: Session, now: datetime, seed: int) -> None:
        self.rng = Random(seed)
        self.now = now
        self.ids = {code: add_station(session, now, code, SLOTS).id for code in "ABCDE"}
        self.banks = [f"P{number}" for number in range(10)]
        add_banks(session, now, self.banks)
        self.inside: dict[tuple[str, int], str | None] = {
            (code, slot): None for code in self.ids for slot in range(1, SLOTS + 1)
        }
        self.seq = dict.fromkeys(self.ids, 0)
        for serial in self.banks:
            self._put(serial)

    def _put(self, serial: str) -> None:
        self.inside[self.rng.choice([place for place, bank in self.inside.items() if bank is None])] = serial

    def change(self) -> None:
        """Now and then a bank is somewhere else, or nowhere, or back."""
        held = [place for place, serial in self.inside.items() if serial is not None]
        if self.rng.random() < 0.5:
            place = self.rng.choice(held)
            serial, self.inside[place] = self.inside[place], None
            if serial is not None and self.rng.random() < 0.5:
                self._put(serial)
        for serial in set(self.banks) - set(self.inside.values()):
            if self.rng.random() < 0.3:
                self._put(serial)

    def shown(self) -> list[tuple[DeviceFact, Inventory]]:
        """One inventory of each of some stations, in any order."""
        codes = self.rng.sample(sorted(self.ids), self.rng.randint(1, len(self.ids)))
        return [self._inventory(code) for code in codes]

    def _inventory(self, code: str) -> tuple[DeviceFact, Inventory]:
        rng = self.rng
        self.now += timedelta(seconds=1)
        self.seq[code] += 1
        late = rng.random() < 0.1
        slots = tuple(self._slot(code, slot) for slot in range(1, SLOTS + 1) if rng.random() < 0.95)
        told = Inventory(slots=slots, complete=len(slots) == SLOTS)
        at = self.now - (2 * MINUTE if late else timedelta(0))
        seq = max(1, self.seq[code] - (2 if late else 0))
        return DeviceFact(self.ids[code], code, 1, seq, at, self.now, replayed=late, message=told), told

    def _slot(self, code: str, number: int) -> SlotInventory:
        rng, serial = self.rng, self.inside[code, number]
        locked, charge = rng.choice([None, True, False]), rng.choice([None, rng.randint(0, 100)])
        if rng.random() < 0.05:  # a copied label
            serial = rng.choice(self.banks)
        if serial is None or rng.random() < 0.1:
            state = SlotState.EMPTY if serial is None else rng.choice([SlotState.FAULT, SlotState.UNKNOWN])
            return SlotInventory(slot=number, state=state, locked=locked)
        state = rng.choice([SlotState.OCCUPIED, SlotState.OCCUPIED, SlotState.EMPTY])
        return SlotInventory(
            slot=number, state=state, serial=serial, locked=locked, charge_pct=charge, ready=rng.choice([None, True])
        )


@pytest.mark.parametrize("seed", range(3))
def test_many_at_once_leave_what_they_leave_one_by_one(session: Session, now: datetime, seed: int) -> None:
    fleet = Fleet(session, now, seed)
    taken = 0
    for _ in range(16):
        fleet.change()
        facts = fleet.shown()
        with undone(session):
            for fact, _ in facts:
                apply_fact(session, fact, POLICY, fleet.now)
            one_by_one = stored(session)
        quiet = take_quiet(session, facts, POLICY, fleet.now)
        for fact, _ in facts:
            if fact not in quiet:
                apply_fact(session, fact, POLICY, fleet.now)
        together = stored(session)
        assert [set(together[name]) ^ set(rows) for name, rows in one_by_one.items()] == [set() for _ in TABLES]
        taken += len(quiet)
    assert taken >= 10


def test_the_same_ones_again_change_nothing(session: Session, now: datetime) -> None:
    fleet = Fleet(session, now, seed=1)
    facts = fleet.shown()
    for fact, _ in facts:
        apply_fact(session, fact, POLICY, fleet.now)
    before = stored(session)
    assert take_quiet(session, facts, POLICY, fleet.now) == []
    assert stored(session) == before


def shown(world: World, code: str, banks: dict[int, str], **more: Any) -> tuple[DeviceFact, Inventory]:
    """All slots of a station; empty but for `banks`."""
    count = world.stations[code].slot_count
    slots = tuple(
        SlotInventory(
            slot=number,
            state=SlotState.OCCUPIED if number in banks else SlotState.EMPTY,
            serial=banks.get(number),
            charge_pct=50 if number in banks else None,
        )
        for number in range(1, count + 1)
    )
    message = Inventory(slots=slots)
    return world.fact(code, message, **more), message


A_FULL = {1: "A1", 2: "A2", 3: "A3"}


def test_what_is_known_and_what_was_nowhere_is_quiet(world: World) -> None:
    add_banks(world.session, world.now, ["B1"])
    world.session.execute(
        update(PowerBank).where(PowerBank.serial == "B1").values(state=PowerBankState.MISSING, seen_at=None)
    )
    world.later(HOUR)
    facts = [shown(world, "A", A_FULL), shown(world, "B", {2: "B1"})]
    assert take_quiet(world.session, facts, POLICY, world.now) == [fact for fact, _ in facts]
    world.session.expire_all()
    assert (world.place("A1"), world.place("B1")) == ("A1", "B2")
    bank = world.session.scalars(select(PowerBank).where(PowerBank.serial == "B1")).one()
    assert (bank.state, bank.charge_pct, bank.seen_at) == (PowerBankState.AVAILABLE, 50, world.now)
    movement = world.session.scalars(select(PowerBankMovement).where(PowerBankMovement.power_bank_id == bank.id)).one()
    assert (movement.kind, movement.slot_number, movement.rental_id) == ("found", 2, None)
    answered = world.session.scalars(select(StationReconciliation.answered_at)).all()
    assert list(answered) == [world.now, world.now]


def rented(world: World) -> dict[int, str]:
    world.rent()
    return {2: "A2", 3: "A3"}


def claimed(world: World) -> dict[int, str]:
    rental = world.rent()
    world.later(MINUTE)
    claims.claim_return(
        world.session, user_id=world.rider, rental_id=rental.id, station_code="A", slot=5, policy=POLICY, now=world.now
    )
    return {2: "A2", 3: "A3"}


def asked_for(world: World) -> dict[int, str]:
    """A case asks for the bank that is found."""
    world.inventory("A", {2: ("A2", 80), 3: ("A3", 70)})
    assert world.session.scalars(select(OrphanBankCase)).one()
    return A_FULL


def in_doubt(world: World) -> dict[int, str]:
    operators_unknown_eject(world)
    return A_FULL


def reserved(world: World) -> dict[int, str]:
    world.start()
    return A_FULL


def told_by_two(world: World) -> dict[int, str]:
    world.inventory("B", {1: ("A3", 70)})
    return A_FULL


def marked(world: World) -> dict[int, str]:
    world.session.execute(update(StationSlot).where(StationSlot.number == 1).values(power_bank_id=None, state="empty"))
    world.session.execute(update(PowerBank).where(PowerBank.serial == "A1").values(state_set_by="operator"))
    world.session.expire_all()
    return A_FULL


LOUD: dict[str, Callable[[World], dict[int, str]]] = {
    "a rider says that it is back": claimed,
    "a case asks for it": asked_for,
    "an eject is in doubt": in_doubt,
    "an eject is under way": reserved,
    "two places tell of it": told_by_two,
    "somebody said what it is": marked,
    "it has gone": lambda _: {1: "A1"},
    "it has moved": lambda _: {1: "A2", 2: "A1", 3: "A3"},
    "nobody entered it": lambda _: {**A_FULL, 4: "X9"},
}


@pytest.mark.parametrize("why", LOUD)
def test_what_is_not_quiet_is_left_and_nothing_of_it_is_touched(world: World, why: str) -> None:
    banks = LOUD[why](world)
    world.later(HOUR)
    facts = [shown(world, "A", banks)]
    before = stored(world.session)
    assert take_quiet(world.session, facts, POLICY, world.now) == []
    assert stored(world.session) == before


def test_a_rental_elsewhere_is_no_noise_here(world: World) -> None:
    """The bank is out; the slots that it left, and its station, are as quiet as others."""
    banks = rented(world)
    world.later(MINUTE)
    (fact, told) = shown(world, "A", banks)
    assert take_quiet(world.session, [(fact, told)], POLICY, world.now) == [fact]
    back = shown(world, "B", {1: "A1"})
    assert take_quiet(world.session, [back], POLICY, world.now) == []


def test_more_stations_are_no_more_messages_to_the_database(session: Session, now: datetime) -> None:
    numbers = []
    for some in (2, 20):
        codes = [f"T{some}-{number}" for number in range(some)]
        add_banks(session, now, [f"{code}-1" for code in codes])
        facts = []
        for code in codes:
            station = add_station(session, now, code, 1)
            slot = SlotInventory(slot=1, state=SlotState.OCCUPIED, serial=f"{code}-1")
            told = Inventory(slots=(slot,))
            facts.append((DeviceFact(station.id, code, 1, 1, now, now, replayed=False, message=told), told))
        session.flush()
        driver: Any = session.connection().connection.dbapi_connection
        before = driver.round_trips
        assert len(take_quiet(session, facts, POLICY, now)) == some
        numbers.append(driver.round_trips - before)
    assert numbers[0] == numbers[1] <= 12
