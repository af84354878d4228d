"""0x21, 0x31: what became of an eject. 0x40, 0x28: a bank that came back."""

from collections.abc import Mapping
from typing import Final

from firmware_protocol.dialects.returning import came_back, just_left, look, seen
from firmware_protocol.dialects.volinks.codes import PopOutcome, PopState, Revision, pop_revision, return_revision
from firmware_protocol.dialects.volinks.frames import PopByHoleResult, PopBySerialResult, ReturnResult, SelfTestReturn
from firmware_protocol.dialects.volinks.inventories import serial_of
from firmware_protocol.messages import (
    CheckNeeded,
    CommandResult,
    CommandUncertain,
    PowerBankEjected,
)
from firmware_protocol.types import CommandOutcome
from firmware_protocol.vendor import Known, KnownEject, Reading

#: The cabinet tests its slot for 3 s after an eject; before that an inventory may still list the bank (9.1).
LOOK_AFTER_S: Final = 5.0
#: In our words where native cabinets have one.
_CODES: Final[Mapping[int, str]] = {
    PopState.FAILED: "not_moved",
    PopState.SERIAL_TIMEOUT: "serial_timeout",
    PopState.SERIAL_STILL_READABLE: "serial_still_readable",
    PopState.NO_TIME: "no_clock",
    PopState.TTL_EXCEEDED: "deadline_passed",
    PopState.NO_BANK_QUALIFIES: "no_bank_qualifies",
    PopState.SERIAL_NOT_FOUND: "bank_not_here",
    PopState.NOT_QUEUED: "not_queued",
    PopState.PREVIOUS_RUNNING: "eject_in_flight",
    PopState.NOT_PARSED: "not_parsed",
}


def pop_by_serial(frame: PopBySerialResult, known: Known) -> Reading:
    """Matched by serial: byte 4 is a hole or a board, and nobody can say which."""
    revision = _told(pop_revision(frame.state))
    serial = serial_of(frame.serial)
    if serial is None:
        return _unnamed(frame.state, known, revision)
    eject = known.last_eject_of(serial)
    if eject is not None:
        return _answer(eject, frame.state, eject.slot, serial, revision)
    return _unordered(frame.outcome, known.banks.get(serial), serial, revision)


def pop_by_hole(frame: PopByHoleResult, known: Known) -> Reading:
    """Matched by hole, with the eject in flight only: a late one says nothing about which bank it was."""
    revision = _told(pop_revision(frame.state))
    slot, eject = slot_of(known, frame.hole), known.eject_in_flight
    if eject is None or eject.slot != slot:
        return Reading(events=(_look("pop_unordered"),), revision=revision)
    return _answer(eject, frame.state, slot, eject.serial, revision)


def _answer(eject: KnownEject, state: int, slot: int | None, serial: str | None, revision: str | None) -> Reading:
    if state == PopState.OK:
        outcome = CommandOutcome.SUCCEEDED
        result = CommandResult(command_id=eject.command_id, outcome=outcome, slot=slot, serial=serial)
        return Reading(events=(result,), revision=revision)
    if eject.in_flight:
        return Reading(events=(_uncertain(eject, state),), revision=revision)
    # It was judged already. A failure that contradicts a success is worth a look; of a failure it is the echo.
    return Reading(events=(_look("pop_contradicted"),) if eject.succeeded else (), revision=revision)


def _uncertain(eject: KnownEject, state: int) -> CommandUncertain:
    code = _CODES.get(state, f"state_{state:02x}")
    return CommandUncertain(command_id=eject.command_id, code=code, look_after_s=LOOK_AFTER_S)


def _unnamed(state: int, known: Known, revision: str | None) -> Reading:
    """An answer that names no bank: of whatever is in flight, and never proof that it moved."""
    eject = known.eject_in_flight
    events = (_look("pop_unordered"),) if eject is None else (_uncertain(eject, state),)
    return Reading(events=events, revision=revision)


def _unordered(outcome: PopOutcome, slot: int | None, serial: str, revision: str | None) -> Reading:
    """A bank that nobody ordered, by our memory of some days."""
    if outcome is PopOutcome.DISPENSED and slot is not None:
        return Reading(events=(PowerBankEjected(slot=slot, serial=serial), _look("pop_unordered")), revision=revision)
    return Reading(events=(_look("pop_unordered"),), revision=revision)


def returned(frame: ReturnResult, known: Known) -> Reading:
    """0x40. The cabinet says that it took the bank, or that it does not know: then an inventory decides (6.2)."""
    revision = _told(return_revision(frame.state))
    if not frame.returned:
        return Reading(events=(_look("return_uncertain"),), revision=revision)
    slot, serial = slot_of(known, frame.hole), serial_of(frame.serial)
    return Reading(events=came_back(known, slot, serial, frame.soc, LOOK_AFTER_S), revision=revision)


def self_test_return(frame: SelfTestReturn, known: Known) -> Reading:
    """0x28. Found in the slot: since nobody knows when, at the earliest since we last looked (6.3)."""
    revision = _told(return_revision(frame.state))
    slot, serial = slot_of(known, frame.hole), serial_of(frame.serial)
    uncertain = not frame.returned or serial is None or not 1 <= slot <= known.slot_count
    if uncertain or serial is None or (known.banks.get(serial) != slot and just_left(known, serial, slot)):
        return Reading(events=(_look("return_uncertain"),), revision=revision)
    return Reading(events=(seen(slot, serial, frame.soc), _look("return_confirmed")), revision=revision)


def _look(why: str) -> CheckNeeded:
    return look(why, LOOK_AFTER_S)


def _told(revision: Revision) -> str | None:
    return None if revision is Revision.UNKNOWN else revision.value


def slot_of(known: Known, hole: int) -> int:
    """Where a hole is among the slots; above 255 its number is ambiguous, and 0 stands for that."""
    if known.layout is None:
        return hole
    found = [slot for slot, own in enumerate((own for board in known.layout for own in board), 1) if own == hole]
    return found[0] if len(found) == 1 else 0
