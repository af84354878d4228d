"""Inventories in which nothing has left and nothing has moved: those of a whole fleet, in a few statements.

`inventory.take_inventory` takes any inventory, one at a time, and says what changed. Most show what is known, or banks
that were in no slot; when a broker or a gateway comes back, thousands of them come at once (decision 0291). This takes
only those, and does with them what the other would do.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy.orm import Session

from firmware_protocol.messages import SlotInventory
from firmware_protocol.types import SlotState
from fleet.common.bulk import array, instants, raw_cursor, words
from fleet.stations import registers
from fleet.stations.models import MovementKind
from fleet.stations.picture import Observation
from fleet.stations.registers import Shown

#: Slots before banks, each by id, as everywhere; with them the slots that hold what the inventories name.
_LOCK_SLOTS: Final = """
SELECT id, station_id, number, power_bank_id, reserved_for IS NOT NULL, observed_boot, observed_seq, observed_at,
       told_bank_id, proven_at
  FROM station_slot
 WHERE station_id = ANY(%(stations)s::int[])
    OR power_bank_id = ANY(ARRAY(SELECT id FROM power_bank WHERE serial = ANY(%(serials)s::text[])))
 ORDER BY id FOR NO KEY UPDATE
"""
_LOCK_BANKS: Final = """
SELECT id, serial, state_set_by IS NOT NULL, seen_station_id, seen_boot, seen_seq, seen_at FROM power_bank
 WHERE serial = ANY(%(serials)s::text[]) OR id = ANY(%(held)s::int[])
 ORDER BY id FOR NO KEY UPDATE
"""
#: A bank may have been moved by another transaction before it could be locked.
_MOVED: Final = "SELECT power_bank_id FROM station_slot WHERE power_bank_id = ANY(%(banks)s::int[])"
_MOVEMENTS: Final = """
INSERT INTO power_bank_movement (power_bank_id, station_id, slot_number, kind, charge_pct, boot, seq, at)
SELECT * FROM unnest(%(banks)s::int[], %(stations)s::int[], %(numbers)s::int[], %(kinds)s::text[], %(charges)s::int[],
                     %(boots)s::bigint[], %(seqs)s::bigint[], %(at)s::timestamptz[])
ON CONFLICT DO NOTHING
"""


class _Slot(NamedTuple):
    id: int
    station_id: int
    number: int
    power_bank_id: int | None
    reserved: bool
    observed_boot: int
    observed_seq: int
    observed_at: datetime | None
    told_bank_id: int | None
    proven_at: datetime | None


class _Bank(NamedTuple):
    id: int
    serial: str
    #: Somebody said on purpose what it is.
    marked: bool
    seen_station_id: int | None
    seen_boot: int
    seen_seq: int
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Plain:
    """An inventory whose rows are locked, and what it leaves in them."""

    seen: Observation
    shown: list[Shown] = field(default_factory=list)
    #: Banks that these slots told of before.
    told_before: set[int] = field(default_factory=set)
    #: When the contents of slots in which banks were found had last been proven.
    proven_at: list[datetime | None] = field(default_factory=list)

    @property
    def told(self) -> list[tuple[int, int]]:
        """(bank, slot) by the serials that it shows."""
        return [(each.told_id, each.slot_id) for each in self.shown if each.told_id is not None]

    @property
    def found(self) -> list[int]:
        """Banks in slots where none was known to be."""
        return [each.held_id for each in self.shown if each.found and each.held_id is not None]

    @property
    def found_since(self) -> datetime:
        """The earliest time at which one of those can have come."""
        return min((at or self.seen.at for at in self.proven_at), default=self.seen.at)


def look(session: Session, inventories: Sequence[tuple[Observation, Sequence[SlotInventory]]]) -> list[Plain | None]:
    """Lock what these inventories, at most one of each station and of cabinets that number what they tell, are about.

    None: it is not so plain, or names what is not known, and is for `take_inventory`.
    """
    serials = words({entry.serial for _, entries in inventories for entry in entries if entry.serial is not None})
    stations = array(seen.station_id for seen, _ in inventories)
    with raw_cursor(session) as cursor:
        cursor.execute(_LOCK_SLOTS, {"stations": stations, "serials": serials})
        slots = [_Slot(*row) for row in cursor]
        held = array(slot.power_bank_id for slot in slots if slot.power_bank_id is not None)
        cursor.execute(_LOCK_BANKS, {"serials": serials, "held": held})
        banks = [_Bank(*row) for row in cursor]
        places = _Places(slots, banks)
        cursor.execute(_MOVED, {"banks": array(places.unheld())})
        places.moved.update(row[0] for row in cursor)
    return [_judge(seen, entries, places) for seen, entries in inventories]


def write(session: Session, plain: Collection[Plain]) -> None:
    """What `look` found to be plain, in the same transaction."""
    registers.write(session, [each for one in plain for each in one.shown])
    came = [each for one in plain for each in one.shown if each.found]
    if not came:
        return
    numbers = [each.entry.slot for each in came]
    with raw_cursor(session) as cursor:
        cursor.execute(
            _MOVEMENTS,
            {
                "banks": array(each.held_id for each in came),
                "stations": array(each.seen.station_id for each in came),
                "numbers": array(numbers),
                "kinds": words(MovementKind.FOUND.value for _ in came),
                "charges": array(each.entry.charge_pct for each in came),
                "boots": array(each.seen.boot for each in came),
                "seqs": array(each.seen.seq for each in came),
                "at": instants(each.seen.at for each in came),
            },
        )


class _Places:
    """Which slot holds what, as it is locked."""

    def __init__(self, slots: Iterable[_Slot], banks: Iterable[_Bank]) -> None:
        self.slots: dict[tuple[int, int], _Slot] = {}
        self._holders: dict[int, int] = {}
        for slot in slots:
            self.slots[slot.station_id, slot.number] = slot
            if slot.power_bank_id is not None:
                self._holders[slot.power_bank_id] = slot.id
        self.banks: Mapping[str, _Bank] = {bank.serial: bank for bank in banks}
        #: In slots that were not theirs when slots were locked.
        self.moved: set[int] = set()

    def unheld(self) -> list[int]:
        return [bank.id for bank in self.banks.values() if bank.id not in self._holders]

    def is_free(self, bank: _Bank) -> bool:
        return bank.id not in self._holders and bank.id not in self.moved


def _judge(seen: Observation, entries: Sequence[SlotInventory], places: _Places) -> Plain | None:
    plain = Plain(seen)
    numbers: set[int] = set()
    banks: set[int] = set()
    for entry in entries:
        slot = places.slots.get((seen.station_id, entry.slot))
        # What an eject is under way for, and what a newer event told of, is not plain.
        if slot is None or entry.slot in numbers or slot.reserved or not seen.newer_than_slot(slot):
            return None
        numbers.add(entry.slot)
        shown = _unread(seen, entry, slot) if entry.serial is None else _read(seen, entry, slot, places)
        if shown is None or shown.told_id in banks:
            return None
        if shown.told_id is not None:
            banks.add(shown.told_id)
        if slot.told_bank_id is not None:
            plain.told_before.add(slot.told_bank_id)
        if shown.found:
            plain.proven_at.append(slot.proven_at)
        plain.shown.append(shown)
    return plain


def _unread(seen: Observation, entry: SlotInventory, slot: _Slot) -> Shown | None:
    """Something that cannot be read is taken for what was there; None: a bank has gone."""
    if slot.power_bank_id is not None and entry.state is SlotState.EMPTY:
        return None
    return Shown(slot.id, seen, entry, entry.state, told_id=None, held_id=slot.power_bank_id, found=False)


def _read(seen: Observation, entry: SlotInventory, slot: _Slot, places: _Places) -> Shown | None:
    """The bank that is known to be there, or one that is nowhere; None: anything else."""
    bank = places.banks.get(entry.serial or "")
    if bank is None or not seen.newer_than_bank(bank):
        return None
    here = slot.power_bank_id == bank.id
    if not here and (slot.power_bank_id is not None or bank.marked or not places.is_free(bank)):
        return None
    state = SlotState.OCCUPIED if entry.state is SlotState.EMPTY else entry.state  # a serial proves a bank
    return Shown(slot.id, seen, entry, state, told_id=bank.id, held_id=bank.id, found=not here)
