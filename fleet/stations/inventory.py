"""What cabinets tell of slots and banks, as two registers that only move forward (decision 0031).

A slot keeps the newest event about it, a bank the newest event about where it is. A bank is in a slot when both say so:
an event that is late, or comes twice, changes nothing that is newer. Nothing here touches what operators set.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from firmware_protocol.messages import SlotInventory
from firmware_protocol.types import SlotFaultKind, SlotState, StationFaultKind
from fleet.common.prepared import table_of, write, write_later
from fleet.stations import registers
from fleet.stations.models import MovementKind, PowerBank, PowerBankMovement, StationFaultState, StationSlot
from fleet.stations.picture import Observation, Picture
from fleet.stations.registers import Shown

_MOVEMENTS: Final = table_of(PowerBankMovement)
_MOVE: Final = insert(_MOVEMENTS).on_conflict_do_nothing().inline()
_MOVE_AND_TELL: Final = insert(_MOVEMENTS).on_conflict_do_nothing().returning(_MOVEMENTS.c.id)
#: Two cabinets' clocks, as corrected, agree to so much: frames are on their way for longer or shorter.
CLOCKS_DIFFER: Final = timedelta(seconds=1)
#: What `registers` writes behind the session's back.
_SLOT_REGISTER: Final = (
    "observed_boot", "observed_seq", "observed_at", "proven_at", "told_bank_id", "told_since", "locked", "lock_boot",
    "lock_seq",
)  # fmt: skip
_BANK_REGISTER: Final = ("seen_station_id", "seen_boot", "seen_seq", "seen_at", "charge_pct", "charge_at", "ready")


@dataclass(frozen=True, slots=True)
class Change:
    """A bank came or went. `since`: the earliest time at which it can have been there, or for one that went without an
    event, when it was last known to be there (None: nobody knows).

    `current` False: a newer event tells where the bank is; only the record is kept.
    """

    kind: MovementKind
    bank: PowerBank
    slot: StationSlot
    charge_pct: int | None
    since: datetime | None
    current: bool = True
    #: The slot was known to hold the bank that went.
    expected: bool = False

    @property
    def came(self) -> bool:
        return self.kind in {MovementKind.INSERTED, MovementKind.FOUND}


def insert_bank(
    picture: Picture, seen: Observation, number: int, bank: PowerBank | None, charge: int | None
) -> list[Change]:
    """A bank was put into a slot; `bank` None: its serial could not be read."""
    slot = picture.slot(number)
    fresh = seen.newer_than_slot(slot)
    changes = _displaced(picture, seen, slot, bank) if fresh else []
    if fresh:
        _observe(slot, seen, SlotState.FAULT if bank is None else SlotState.EMPTY, told=bank)
    if bank is None:
        return changes
    if not fresh and slot.told_bank_id == bank.id and slot.told_since is not None:
        slot.told_since = min(slot.told_since, seen.at)  # what a newer word found there came now
    current = seen.newer_than_bank(bank)
    changes.append(Change(MovementKind.INSERTED, bank, slot, charge, seen.at, current))
    if not current:
        return changes
    picture.take(bank)
    _locate(bank, seen, charge)
    if fresh:
        slot.state = SlotState.OCCUPIED
        picture.put(bank, slot)
    else:  # it came, and a newer event found the slot without it
        changes.append(Change(MovementKind.VANISHED, bank, slot, None, seen.at))
    return changes


def eject_bank(
    picture: Picture,
    seen: Observation,
    number: int,
    bank: PowerBank,
    charge: int | None,
    *,
    ordered: bool,
    overtaken: bool,
) -> list[Change]:
    """A bank left its slot. `ordered`: by an order, which had not been sent sooner; `overtaken`: it is known to have
    come back since, whatever the clocks say.
    """
    slot = picture.slot(number)
    since, expected = slot.proven_at, slot.power_bank_id == bank.id
    changes = []
    if seen.newer_than_slot(slot):
        changes = _displaced(picture, seen, slot, bank)
        _observe(slot, seen, SlotState.EMPTY, told=None)
    left = seen if ordered else _leaving(bank, seen)
    current = not overtaken and left.newer_than_bank(bank)
    if current:
        picture.take(bank)
        _locate(bank, seen, charge)
        bank.seen_at = left.at
    changes.append(Change(MovementKind.EJECTED, bank, slot, charge, since, current, expected))
    return changes


def take_inventory(
    session: Session, picture: Picture, seen: Observation, entries: Sequence[SlotInventory]
) -> list[Change]:
    """Make slots and banks as the cabinet sees them now. Only what it lists is touched, and only what it knows."""
    changes: list[Change] = []
    fresh = [(picture.slot(entry.slot), entry) for entry in sorted(entries, key=lambda entry: entry.slot)]
    fresh = [(slot, entry) for slot, entry in fresh if seen.newer_than_slot(slot)]
    before = {slot.id: picture.bank_in(slot) for slot, _ in fresh}
    after = _claims(picture, seen, fresh)
    here = {bank.id for bank in after.values() if bank is not None}
    for slot, entry in fresh:
        old, new = before[slot.id], after[slot.id]
        if old is not None and old is not new:
            picture.take(old)
            if old.id not in here:
                _lose(old, seen, slot.proven_at)
                changes.append(Change(MovementKind.VANISHED, old, slot, None, slot.proven_at))
        slot.state = _state(picture, entry, new, here)
    for slot, entry in fresh:
        new = after[slot.id]
        if new is not None and new is not before[slot.id]:
            picture.take(new)
            picture.put(new, slot)
            changes.append(Change(MovementKind.FOUND, new, slot, entry.charge_pct, slot.proven_at))
    session.flush()  # what slots hold, one by one, before their registers, which are written past the session
    _touch(session, picture, seen, fresh, after)
    return changes


def _state(picture: Picture, entry: SlotInventory, bank: PowerBank | None, here: set[int]) -> SlotState:
    """What the slot shows. `bank`: what it holds by all that is known; `here`: what the inventory's slots hold."""
    if entry.serial is None:
        return entry.state
    if bank is not None:
        return SlotState.OCCUPIED if entry.state is SlotState.EMPTY else entry.state  # a serial proves a bank
    # Another slot of this inventory has that serial too: something is inside. Otherwise it has gone elsewhere since.
    return SlotState.FAULT if picture.banks[entry.serial].id in here else SlotState.EMPTY


def _claims(
    picture: Picture, seen: Observation, fresh: Sequence[tuple[StationSlot, SlotInventory]]
) -> dict[int, PowerBank | None]:
    """What each slot holds now. Something that cannot be read is taken for what was there."""
    named = _slots_of_serials(picture, fresh)
    claims: dict[int, PowerBank | None] = {}
    for slot, entry in fresh:
        if entry.serial is not None:
            read = picture.banks[entry.serial]
            claims[slot.id] = read if named[read.id] is slot and seen.newer_than_bank(read) else None
        else:
            held = None if entry.state is SlotState.EMPTY else picture.bank_in(slot)
            # Unless it is read in another slot of the same cabinet.
            claims[slot.id] = held if held is not None and held.id not in named else None
    return claims


def _slots_of_serials(picture: Picture, fresh: Sequence[tuple[StationSlot, SlotInventory]]) -> dict[int, StationSlot]:
    """Where each bank read is. A serial in two slots is a misreading: the one known to hold it counts, or the first."""
    named: dict[int, StationSlot] = {}
    for slot, entry in fresh:
        if entry.serial is None:
            continue
        bank = picture.banks[entry.serial]
        if bank.id not in named or picture.slot_with(bank) is slot:
            named[bank.id] = slot
    return named


def _touch(
    session: Session,
    picture: Picture,
    seen: Observation,
    fresh: Sequence[tuple[StationSlot, SlotInventory]],
    after: dict[int, PowerBank | None],
) -> None:
    """Move the registers of everything listed. What the slots hold was written before, one by one: a bank is in one
    slot only, at every moment.
    """
    shown = [
        Shown(
            slot.id,
            seen,
            entry,
            slot.state,
            told_id=None if entry.serial is None else picture.banks[entry.serial].id,
            held_id=None if (held := after[slot.id]) is None else held.id,
            found=False,
        )
        for slot, entry in fresh
    ]
    registers.write(session, shown)
    for slot, _ in fresh:
        session.expire(slot, _SLOT_REGISTER)
    for bank in after.values():
        if bank is not None:
            session.expire(bank, _BANK_REGISTER)


def set_slot_fault(picture: Picture, seen: Observation, number: int, kind: SlotFaultKind, *, cleared: bool) -> None:
    """Raise a fault, or clear it when it is the one that stands."""
    slot = picture.slot(number)
    if (seen.boot, seen.seq) <= (slot.fault_boot, slot.fault_seq):
        return
    slot.fault_boot, slot.fault_seq = seen.boot, seen.seq
    if not cleared:
        slot.fault = kind.value
    elif slot.fault == kind.value:
        slot.fault = None


def set_station_fault(
    session: Session, seen: Observation, kind: StationFaultKind, *, cleared: bool, detail: str | None
) -> None:
    """Note the newest word about one kind of fault of a cabinet."""
    values = {"active": not cleared, "detail": detail, "boot": seen.boot, "seq": seen.seq, "at": seen.at}
    statement = insert(StationFaultState).values(station_id=seen.station_id, kind=kind, **values)
    older = tuple_(StationFaultState.boot, StationFaultState.seq) < tuple_(seen.boot, seen.seq)
    session.execute(statement.on_conflict_do_update(index_elements=["station_id", "kind"], set_=values, where=older))


def record_movement(session: Session, seen: Observation, change: Change, rental_id: UUID | None) -> None:
    """Once per event, bank and kind, whatever is repeated. It goes with the session's next statement."""
    write_later(session, _MOVE, _movement(seen, change, rental_id))


def record_first(session: Session, seen: Observation, change: Change, rental_id: UUID | None) -> bool:
    """`record_movement`; False when it was recorded before."""
    return write(session, _MOVE_AND_TELL, _movement(seen, change, rental_id)) is not None


def _movement(seen: Observation, change: Change, rental_id: UUID | None) -> dict[str, Any]:
    return {
        "power_bank_id": change.bank.id,
        "station_id": change.slot.station_id,
        "slot_number": change.slot.number,
        "kind": change.kind,
        "rental_id": rental_id,
        "charge_pct": change.charge_pct,
        "boot": seen.boot,
        "seq": seen.seq,
        "at": seen.at,
    }


def _displaced(picture: Picture, seen: Observation, slot: StationSlot, bank: PowerBank | None) -> list[Change]:
    """The bank that the slot was thought to hold, when it is another one: it must have left unseen."""
    held = picture.bank_in(slot)
    if held is None or held is bank:
        return []
    since = slot.proven_at
    picture.take(held)
    _lose(held, seen, since)
    return [Change(MovementKind.VANISHED, held, slot, None, since)]


def _observe(slot: StationSlot, seen: Observation, state: SlotState, *, told: PowerBank | None) -> None:
    """The slot's register moves on; `state` is that of a slot without a bank, `told` what the event says is inside."""
    if slot.power_bank_id is None:
        slot.state = state
    slot.observed_boot, slot.observed_seq, slot.observed_at = seen.boot, seen.seq, seen.at
    slot.proven_at = seen.at
    slot.told_bank_id, slot.told_since = (None, None) if told is None else (told.id, seen.at)


def _leaving(bank: PowerBank, seen: Observation) -> Observation:
    """The same word, so much earlier as clocks may differ: a bank leaves one cabinet before it is in another, and
    nobody carries it there faster. What its own cabinet told before stays before.
    """
    at = seen.at - CLOCKS_DIFFER
    if bank.seen_station_id == seen.station_id and bank.seen_at is not None:
        at = min(max(at, bank.seen_at), seen.at)
    return replace(seen, at=at)


def _lose(bank: PowerBank, seen: Observation, proven_at: datetime | None) -> None:
    """It is not where it was. Nobody saw it go: it was certainly there at `proven_at`, and may have come to another
    station at any time since, also before `seen`.
    """
    _locate(bank, seen, None)
    if proven_at is not None:
        bank.seen_at = min(proven_at, seen.at)


def _locate(bank: PowerBank, seen: Observation, charge: int | None) -> None:
    bank.seen_station_id, bank.seen_boot, bank.seen_seq, bank.seen_at = (
        seen.station_id,
        seen.boot,
        seen.seq,
        seen.at,
    )
    bank.ready = None  # that was said of it where it was
    if charge is not None and (bank.charge_at is None or bank.charge_at <= seen.at):
        bank.charge_pct, bank.charge_at = charge, seen.at
