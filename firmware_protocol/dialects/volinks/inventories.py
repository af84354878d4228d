"""0x10: what is in the holes, as slots of this backend."""

from collections.abc import Mapping
from itertools import count
from typing import Final

from firmware_protocol.dialects.volinks import commands
from firmware_protocol.dialects.volinks.boards import Hole, Inventory
from firmware_protocol.dialects.volinks.codes import HoleState, Revision
from firmware_protocol.errors import LayoutMismatch
from firmware_protocol.messages import (
    CheckNeeded,
    CommandResult,
    Deduced,
    EventMessage,
    SlotFault,
    SlotInventory,
    SlotSample,
    SlotTelemetry,
)
from firmware_protocol.messages import Inventory as Picture
from firmware_protocol.types import CommandOutcome, SlotFaultKind, SlotState
from firmware_protocol.vendor import Known, Layout, Reading

_FAULTS: Final[Mapping[int, SlotFaultKind]] = {
    HoleState.CHARGING_ABNORMAL: SlotFaultKind.CHARGE,
    HoleState.COMMUNICATION_FAILURE: SlotFaultKind.COMMUNICATION,
    HoleState.STUCK: SlotFaultKind.JAM,
    HoleState.FORCED: SlotFaultKind.JAM,
    HoleState.SOLENOID: SlotFaultKind.JAM,
    HoleState.ANTI_THEFT: SlotFaultKind.ANTI_THEFT,
    HoleState.SHORT_CIRCUIT: SlotFaultKind.SHORT,
    HoleState.NOT_PUSHED_OUT: SlotFaultKind.JAM,
}
_MILLI: Final = 1000
#: A bank whose voltage byte is beyond this is misread.
_MAX_MA: Final = 20_000
#: Of the result of a question that was answered by part of the cabinet.
PARTIAL: Final = "inventory_partial"


def question(known: Known) -> commands.Word:
    """How to ask for the whole cabinet. `check` tells of five banks only by the old guide, the new one has no
    `check_all`: while nobody knows which one it is, a question that brought no whole cabinet is put the other way.
    """
    if known.revision is not None:
        return commands.Word.CHECK_ALL if known.revision == Revision.OLD else commands.Word.CHECK
    last = known.last_question
    in_vain = last is not None and (known.stale or last.code == PARTIAL)
    return commands.Word.CHECK_ALL if in_vain and _asked(known) is commands.Word.CHECK else commands.Word.CHECK


def _asked(known: Known) -> commands.Word | None:
    """The word of the last question; None: it was another, or nobody needs to know."""
    payload = None if known.last_question is None else known.last_question.payload
    words = (commands.Word.CHECK, commands.Word.CHECK_ALL)
    return next((word for word in words if commands.encode_down(commands.Plain(word)) == payload), None)


def inventory(frame: Inventory, known: Known) -> Reading:
    """Complete only when it has the holes that the cabinet was commissioned with; LayoutMismatch for other ones.

    One that nobody asked for may be any age: it moves nothing, and is reason to ask (decision 0086).
    """
    layout = tuple(tuple(hole.hole for hole in board.holes) for board in frame.boards)
    slots = _slots(frame, layout, known)
    samples = _telemetry(slots)
    revision = None if frame.revision is Revision.UNKNOWN else frame.revision.value
    asked = known.inventory_asked
    if asked is None:
        return Reading(events=(CheckNeeded(why="inventory_unasked"),), samples=samples, revision=revision)
    complete = len(slots) == known.slot_count
    told = [entry for slot, hole in slots if (entry := _entry(slot, hole)).state is not SlotState.EMPTY or complete]
    events: list[EventMessage | Deduced] = [Picture(slots=tuple(told), complete=complete, command_id=asked)]
    events += _faults(slots, known)
    code = None if complete else PARTIAL
    events.append(CommandResult(command_id=asked, outcome=CommandOutcome.SUCCEEDED, code=code))
    last = known.last_question
    word = _asked(known) if last is not None and last.command_id == asked else None
    if revision is None and known.revision is None:
        if complete and word is commands.Word.CHECK_ALL:
            revision = Revision.OLD.value  # only the old guide has the word, and it was asked after `check` had failed
        elif not complete and word is commands.Word.CHECK:
            events.append(CheckNeeded(why=PARTIAL))
    learned = layout if complete and known.layout is None else None
    return Reading(events=tuple(events), samples=samples, layout=learned, revision=revision)


def _slots(frame: Inventory, layout: Layout, known: Known) -> list[tuple[int, Hole]]:
    """Slots are counted on over the boards: hole numbers leave gaps, and begin again after 255."""
    if known.layout is not None and known.layout != layout:
        raise LayoutMismatch(f"expected holes {_shown(known.layout)}, got {_shown(layout)}")
    holes = frame.holes
    if len(holes) > known.slot_count:
        raise LayoutMismatch(f"expected {known.slot_count} holes as the station has slots, got {len(holes)}")
    if len(holes) == known.slot_count:
        return list(zip(count(1), holes, strict=False))
    # Part of a cabinet whose layout nobody knows yet: hole numbers are all there is to go by.
    return [(hole.hole, hole) for hole in holes if 1 <= hole.hole <= known.slot_count]


def _shown(layout: Layout) -> str:
    return ", ".join(f"{board[0]}-{board[-1]}" for board in layout if board)


def _entry(slot: int, hole: Hole) -> SlotInventory:
    if not hole.occupied:
        return SlotInventory(slot=slot, state=SlotState.EMPTY)
    state = SlotState.OCCUPIED if hole.state == HoleState.NORMAL else SlotState.FAULT
    return SlotInventory(slot=slot, state=state, serial=serial_of(hole.serial), charge_pct=hole.soc)


def serial_of(number: int | None) -> str | None:
    """Printed in decimal, as the label shows it."""
    return None if number is None else str(number)


def _faults(slots: list[tuple[int, Hole]], known: Known) -> list[SlotFault]:
    """What changed against our books; only faults that this cabinet could have told of are cleared."""
    found = []
    ours = set(_FAULTS.values())
    for slot, hole in slots:
        now, before = _FAULTS.get(hole.state), known.faults.get(slot)
        if now is not None and now.value != before:
            found.append(SlotFault(slot=slot, kind=now, detail=f"hole state {hole.state:02X}"))
        elif now is None and before in ours:
            found.append(SlotFault(slot=slot, kind=SlotFaultKind(before), cleared=True))
    return found


def _telemetry(slots: list[tuple[int, Hole]]) -> tuple[SlotTelemetry, ...]:
    """Measurements of the holes that hold a bank; an empty one is full of garbage."""
    samples = tuple(
        SlotSample(
            slot=slot,
            serial=serial_of(hole.serial),
            charge_pct=hole.soc,
            voltage_mv=hole.battery_mv,
            current_ma=_milliamps(hole),
            temperature_c=hole.temp_c,
        )
        for slot, hole in slots
        if hole.occupied
    )
    return (SlotTelemetry(slots=samples),) if samples else ()


def _milliamps(hole: Hole) -> int | None:
    amps = hole.charge_a
    return None if amps is None or amps * _MILLI > _MAX_MA else round(amps * _MILLI)
