"""What cabinets tell of slots and banks: only newer words count, and operators' words stand."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from firmware_protocol.messages import SlotInventory
from firmware_protocol.types import SlotFaultKind, SlotState, StationFaultKind
from fleet.stations import inventory
from fleet.stations.availability import best_bank
from fleet.stations.errors import NoSuchSlot
from fleet.stations.inventory import Change
from fleet.stations.models import (
    MovementKind,
    PowerBank,
    PowerBankMovement,
    PowerBankState,
    Station,
    StationFaultState,
    StationSlot,
)
from fleet.stations.picture import Observation, look
from tests.factories import add_banks, add_station

OCCUPIED, EMPTY, FAULT, UNKNOWN = SlotState.OCCUPIED, SlotState.EMPTY, SlotState.FAULT, SlotState.UNKNOWN


class Cabinet:
    def __init__(self, session: Session, now: datetime, code: str = "A", slots: int = 4) -> None:
        self.session = session
        self.now = now
        self.station: Station = add_station(session, now, code, slots)
        self.seq = 0

    def seen(self, seq: int | None = None, boot: int = 1) -> Observation:
        if seq is None:
            self.seq += 1
        number = self.seq if seq is None else seq
        return Observation(self.station.id, boot, number, self.now + timedelta(seconds=number))

    def take(self, *entries: SlotInventory, seq: int | None = None, boot: int = 1) -> list[tuple[MovementKind, str]]:
        serials = [entry.serial for entry in entries if entry.serial is not None]
        picture = look(self.session, self.station.id, None, serials, self.now)
        changes = inventory.take_inventory(self.session, picture, self.seen(seq, boot), entries)
        self.session.flush()
        return self.told(changes)

    def insert(self, slot: int, serial: str | None, charge: int | None = None, seq: int | None = None) -> list[Change]:
        picture = look(self.session, self.station.id, {slot}, [serial] if serial else [], self.now)
        bank = picture.banks[serial] if serial else None
        changes = inventory.insert_bank(picture, self.seen(seq), slot, bank, charge)
        self.session.flush()
        return changes

    def told(self, changes: list[Change]) -> list[tuple[MovementKind, str]]:
        return [(change.kind, change.bank.serial) for change in changes]

    def holds(self) -> dict[int, str]:
        query = (
            select(StationSlot.number, PowerBank.serial)
            .join(PowerBank, PowerBank.id == StationSlot.power_bank_id)
            .where(StationSlot.station_id == self.station.id)
        )
        return dict(self.session.execute(query).all())

    def slot(self, number: int) -> StationSlot:
        query = select(StationSlot).where(StationSlot.station_id == self.station.id, StationSlot.number == number)
        return self.session.scalars(query.execution_options(populate_existing=True)).one()

    def bank(self, serial: str) -> PowerBank:
        query = select(PowerBank).where(PowerBank.serial == serial).execution_options(populate_existing=True)
        return self.session.scalars(query).one()


def entry(slot: int, serial: str | None = None, state: SlotState | None = None, **more: int | bool) -> SlotInventory:
    return SlotInventory(slot=slot, serial=serial, state=state or (OCCUPIED if serial else EMPTY), **more)  # type: ignore[arg-type]  # charge_pct and locked


@pytest.fixture
def cabinet(session: Session, now: datetime) -> Cabinet:
    add_banks(session, now, ["X", "Y", "Z"])
    return Cabinet(session, now)


def test_an_inventory_finds_and_misses(cabinet: Cabinet) -> None:
    found, vanished = MovementKind.FOUND, MovementKind.VANISHED
    assert cabinet.take(entry(1, "X"), entry(2, "Y"), entry(3)) == [(found, "X"), (found, "Y")]
    assert cabinet.take(entry(1, "X"), entry(2), entry(3, "Z")) == [(vanished, "Y"), (found, "Z")]
    assert cabinet.holds() == {1: "X", 3: "Z"}
    assert cabinet.bank("Y").state is PowerBankState.MISSING


def test_banks_that_changed_places_have_not_left(cabinet: Cabinet) -> None:
    cabinet.take(entry(1, "X"), entry(2, "Y"))
    assert cabinet.take(entry(1, "Y"), entry(2, "X")) == [(MovementKind.FOUND, "Y"), (MovementKind.FOUND, "X")]
    assert cabinet.holds() == {1: "Y", 2: "X"}
    assert cabinet.bank("X").state is PowerBankState.AVAILABLE


def test_an_incomplete_inventory_tells_of_what_it_lists(cabinet: Cabinet) -> None:
    cabinet.take(entry(1, "X"), entry(2, "Y"))
    assert cabinet.take(entry(2)) == [(MovementKind.VANISHED, "Y")]
    assert cabinet.holds() == {1: "X"}


@pytest.mark.parametrize("state", [OCCUPIED, FAULT, UNKNOWN])
def test_what_cannot_be_read_is_what_was_there(cabinet: Cabinet, state: SlotState) -> None:
    cabinet.take(entry(1, "X"), entry(2))
    assert cabinet.take(entry(1, None, state), entry(2, None, state)) == []
    assert cabinet.holds() == {1: "X"}
    assert [cabinet.slot(n).state for n in (1, 2)] == [state, state]


def test_an_older_inventory_changes_nothing(cabinet: Cabinet) -> None:
    cabinet.take(entry(1, "X"), entry(2), seq=7)
    assert cabinet.take(entry(1), entry(2, "Y"), seq=6) == []
    assert cabinet.take(entry(1), entry(2, "Y"), seq=7) == []
    assert cabinet.holds() == {1: "X"}
    assert cabinet.take(entry(1), entry(2, "Y"), seq=1, boot=2) != []
    assert cabinet.holds() == {2: "Y"}


def test_a_cabinet_that_reads_one_serial_twice(cabinet: Cabinet) -> None:
    cabinet.take(entry(1, "X"), entry(2, "X"))
    assert cabinet.holds() == {1: "X"}


def test_operators_words_stand(cabinet: Cabinet) -> None:
    cabinet.take(entry(1, "X"), entry(2))
    slot, bank = cabinet.slot(1), cabinet.bank("X")
    slot.disabled_reason, bank.state, bank.quarantine_reason = "broken", PowerBankState.QUARANTINED, "swollen"
    cabinet.session.flush()
    cabinet.take(entry(1), entry(2, "X"))
    cabinet.insert(1, "X")
    assert cabinet.slot(1).disabled_reason == "broken"
    assert (cabinet.bank("X").state, cabinet.holds()) == (PowerBankState.QUARANTINED, {1: "X"})


def test_an_inventory_tells_of_locks_too(cabinet: Cabinet) -> None:
    slot = cabinet.slot(2)
    slot.locked, slot.lock_boot, slot.lock_seq = True, 1, 50
    cabinet.session.flush()
    cabinet.take(entry(1, locked=True), entry(2, locked=False), entry(3), seq=9)
    assert [cabinet.slot(n).locked for n in (1, 2, 3)] == [True, True, None]
    cabinet.take(entry(2, locked=False), seq=51)
    assert (cabinet.slot(2).locked, cabinet.slot(2).lock_seq) == (False, 51)


def test_an_old_charge_does_not_replace_a_newer_one(cabinet: Cabinet) -> None:
    """Pitfall: a return with an old battery level."""
    cabinet.take(entry(1, "X", charge_pct=40))
    bank = cabinet.bank("X")
    bank.charge_pct, bank.charge_at = 75, cabinet.now + timedelta(hours=1)
    cabinet.session.flush()
    cabinet.take(entry(1, "X", charge_pct=41))
    cabinet.insert(2, "X", 42)
    assert cabinet.bank("X").charge_pct == 75


def test_a_told_charge_does_not_make_an_old_temperature_fresh(cabinet: Cabinet) -> None:
    sampled_at = cabinet.now - timedelta(hours=1)
    cabinet.take(entry(1, "X"))
    bank = cabinet.bank("X")
    bank.temperature_c, bank.sampled_at = 60.0, sampled_at
    cabinet.session.flush()
    cabinet.take(entry(1, "X", charge_pct=41))
    cabinet.insert(2, "X", 42)
    bank = cabinet.bank("X")
    assert (bank.charge_pct, bank.charge_at, bank.sampled_at) == (42, bank.seen_at, sampled_at)


def test_a_cabinets_word_that_a_bank_is_charged_stands_until_a_charge_is_told_or_the_bank_moves(
    cabinet: Cabinet,
) -> None:
    cabinet.take(entry(1, "X", ready=True), entry(2, "Y", ready=False), entry(3, "Z"))

    def offered() -> list[int]:
        free = [best_bank(cabinet.session, cabinet.station.id, 20, cabinet.now, slot=n, lock=False) for n in (1, 2, 3)]
        return [slot.number for slot in free if slot is not None]

    assert offered() == [1]
    cabinet.take(entry(1, "X"), entry(2, "Y", charge_pct=80))
    assert (cabinet.bank("X").ready, cabinet.bank("Y").ready, offered()) == (True, None, [1, 2])
    best = best_bank(cabinet.session, cabinet.station.id, 20, cabinet.now, lock=False)
    assert best is not None
    assert best.number == 2  # whose charge is known
    cabinet.insert(4, "X")
    assert (cabinet.bank("X").ready, offered()) == (None, [2])


def test_unknown_serials_become_foreign_banks(cabinet: Cabinet) -> None:
    cabinet.take(entry(1, "STRANGER"))
    cabinet.insert(2, "OTHER")
    assert [cabinet.bank(serial).known for serial in ("STRANGER", "OTHER", "X")] == [False, False, True]


def test_a_late_insertion_where_the_slot_is_known_to_be_empty_since(cabinet: Cabinet) -> None:
    cabinet.take(entry(1), seq=9)
    assert cabinet.told(cabinet.insert(1, "X", seq=5)) == [
        (MovementKind.INSERTED, "X"),
        (MovementKind.VANISHED, "X"),
    ]
    assert (cabinet.holds(), cabinet.bank("X").state) == ({}, PowerBankState.MISSING)


def test_a_bank_that_was_put_where_another_was_thought_to_be(cabinet: Cabinet) -> None:
    cabinet.take(entry(1, "X"))
    assert cabinet.told(cabinet.insert(1, "Y")) == [(MovementKind.VANISHED, "X"), (MovementKind.INSERTED, "Y")]
    assert cabinet.told(cabinet.insert(1, None)) == [(MovementKind.VANISHED, "Y")]
    assert cabinet.slot(1).state is FAULT


def test_between_stations_time_decides(cabinet: Cabinet) -> None:
    other = Cabinet(cabinet.session, cabinet.now, "B")
    cabinet.take(entry(1, "X"), seq=60)
    [late] = other.insert(1, "X", seq=30)
    assert (late.current, other.holds(), cabinet.holds()) == (False, {}, {1: "X"})
    [moved] = other.insert(2, "X", seq=90)
    assert (moved.current, other.holds(), cabinet.holds()) == (True, {2: "X"}, {})


@pytest.mark.parametrize("displaced", [True, False])
def test_a_bank_that_went_unseen_may_have_come_elsewhere_before_it_was_missed(
    cabinet: Cabinet, displaced: bool
) -> None:
    other = Cabinet(cabinet.session, cabinet.now, "B")
    cabinet.take(entry(1, "X"), seq=10)
    if displaced:
        cabinet.insert(1, "Y", seq=60)
    else:
        cabinet.take(entry(1, None), seq=60)
    [before] = other.insert(1, "X", seq=9)
    assert (before.current, other.holds()) == (False, {})
    [since] = other.insert(2, "X", seq=30)
    assert (since.current, other.holds()) == (True, {2: "X"})


def test_a_slot_that_is_not_there(cabinet: Cabinet) -> None:
    with pytest.raises(NoSuchSlot):
        cabinet.take(entry(5, "X"))
    with pytest.raises(NoSuchSlot):
        cabinet.insert(9, "X")


def test_movements_are_recorded_once(cabinet: Cabinet) -> None:
    seen = cabinet.seen()
    picture = look(cabinet.session, cabinet.station.id, {1}, ["X"], cabinet.now)
    [change] = inventory.insert_bank(picture, seen, 1, picture.banks["X"], 50)
    assert inventory.record_first(cabinet.session, seen, change, None) is True
    assert inventory.record_first(cabinet.session, seen, change, None) is False
    assert cabinet.session.scalar(select(func.count()).select_from(PowerBankMovement)) == 1


def test_faults_of_slots(cabinet: Cabinet) -> None:
    picture = look(cabinet.session, cabinet.station.id, {1}, (), cabinet.now)

    def fault(kind: SlotFaultKind, seq: int, *, cleared: bool = False) -> str | None:
        inventory.set_slot_fault(picture, cabinet.seen(seq), 1, kind, cleared=cleared)
        return picture.slots[1].fault

    assert fault(SlotFaultKind.JAM, 3) == "jam"
    assert fault(SlotFaultKind.SENSOR, 4, cleared=True) == "jam"
    assert fault(SlotFaultKind.JAM, 6, cleared=True) is None
    assert fault(SlotFaultKind.JAM, 5) is None


def test_faults_of_stations(cabinet: Cabinet) -> None:
    def fault(seq: int, *, cleared: bool) -> tuple[bool, int]:
        inventory.set_station_fault(
            cabinet.session, cabinet.seen(seq), StationFaultKind.SMOKE, cleared=cleared, detail="d"
        )
        query = select(StationFaultState).execution_options(populate_existing=True)
        row = cabinet.session.scalars(query).one()
        return row.active, row.seq

    assert fault(2, cleared=False) == (True, 2)
    assert fault(4, cleared=True) == (False, 4)
    assert fault(3, cleared=False) == (False, 4)
