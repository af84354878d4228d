"""0x64: what is in the slots. 0x65 and 0x80: what became of an eject. 0x83: something happened in a slot."""

from collections.abc import Mapping
from typing import Final

from firmware_protocol.dialects.relink import up
from firmware_protocol.dialects.relink.codes import Event
from firmware_protocol.dialects.relink.records import Bank
from firmware_protocol.dialects.returning import Events, look
from firmware_protocol.errors import LayoutMismatch
from firmware_protocol.messages import (
    CommandResult,
    CommandUncertain,
    Deduced,
    EventMessage,
    Inventory,
    PowerBankEjected,
    SlotFault,
    SlotInventory,
    SlotSample,
    SlotTelemetry,
)
from firmware_protocol.types import CommandOutcome, SlotFaultKind, SlotState
from firmware_protocol.vendor import Known, Reading

#: A lock answers within a second or so; the switch of the slot follows it.
LOOK_AFTER_S: Final = 3.0
_FAULTS: Final[Mapping[int, SlotFaultKind]] = {
    Event.NO_UNLOCK_COMMAND: SlotFaultKind.ANTI_THEFT,
    Event.MALFUNCTION: SlotFaultKind.SENSOR,
    Event.JAMMED: SlotFaultKind.JAM,
    Event.COMMUNICATION_ERROR: SlotFaultKind.COMMUNICATION,
}
#: Below this step of an unknown scale nobody rents a bank of the first generation out (relink.md 2).
_MIN_LEVEL: Final = 4
_MOST_MA: Final = 20_000


def inventory_1(message: up.Inventory1, known: Known) -> Reading:
    """Occupied slots only; complete when it has as many records as it says. The level is no percentage."""
    if len(message.banks) != message.remain:
        return Reading(events=(look("inventory_inconsistent", LOOK_AFTER_S),))
    told = {
        bank.slot: SlotInventory(
            slot=bank.slot,
            state=SlotState.OCCUPIED,
            serial=bank.bank,
            ready=bank.level >= _MIN_LEVEL,
        )
        for bank in message.banks
    }
    return Reading(events=_picture(told, known))


def inventory_2(message: up.Inventory2, known: Known) -> Reading:
    """Occupied slots only, of a number that must be the station's."""
    if message.slots_num != known.slot_count:
        raise LayoutMismatch(f"expected {known.slot_count} slots as the station has, got {message.slots_num}")
    told = {bank.slot: _entry(bank) for bank in message.banks}
    samples = tuple(_sample(bank) for bank in message.banks if 1 <= bank.slot <= known.slot_count)
    return Reading(events=_picture(told, known), samples=(SlotTelemetry(slots=samples),) if samples else ())


def _entry(bank: Bank) -> SlotInventory:
    state = SlotState.FAULT if bank.dead else SlotState.OCCUPIED
    return SlotInventory(slot=bank.slot, state=state, serial=bank.bank, charge_pct=bank.level)


def _sample(bank: Bank) -> SlotSample:
    return SlotSample(
        slot=bank.slot,
        serial=bank.bank,
        charge_pct=bank.level,
        voltage_mv=bank.mv if bank.mv <= 60_000 else None,
        current_ma=bank.ma if bank.ma <= _MOST_MA else None,
        temperature_c=float(bank.temp_c) if bank.temp_c >= -60 else None,
        health_pct=bank.health,
    )


def _picture(told: dict[int, SlotInventory], known: Known) -> Events:
    if any(not 1 <= slot <= known.slot_count for slot in told):
        raise LayoutMismatch(f"expected slots 1 to {known.slot_count}, got {sorted(told)[:20]}")
    asked = known.inventory_asked
    if asked is None:
        return (look("inventory_unasked", 0),)
    empty = (SlotInventory(slot=n, state=SlotState.EMPTY) for n in range(1, known.slot_count + 1) if n not in told)
    slots = tuple(sorted((*told.values(), *empty), key=lambda entry: entry.slot))
    events: list[EventMessage | Deduced] = [Inventory(slots=slots, complete=True, command_id=asked)]
    ours = {kind.value for kind in _FAULTS.values()}
    events += [
        SlotFault(slot=slot, kind=SlotFaultKind(fault), cleared=True)
        for slot, fault in known.faults.items()
        if fault in ours
    ]
    events.append(CommandResult(command_id=asked, outcome=CommandOutcome.SUCCEEDED))
    return tuple(events)


def borrowed(message: up.BorrowResult | up.EjectResult, known: Known) -> Events:
    """Matched by slot with the eject in flight, else by the bank with one that was judged already."""
    eject = known.eject_in_flight
    if eject is not None and eject.slot == message.slot:
        if not message.ok:
            code = f"result_{message.result:02x}"
            return (CommandUncertain(command_id=eject.command_id, code=code, look_after_s=LOOK_AFTER_S),)
        # The rental follows the bank that left, whichever was meant.
        return (_succeeded(eject.command_id, message.slot, message.bank or eject.serial),)
    if not message.ok:
        return (look("eject_unordered", LOOK_AFTER_S),)
    late = None if message.bank is None else known.last_eject_of(message.bank)
    if late is not None and not late.in_flight:
        return (_succeeded(late.command_id, message.slot, message.bank),)
    if message.bank is not None and 1 <= message.slot <= known.slot_count:
        return (
            PowerBankEjected(slot=message.slot, serial=message.bank),
            look("eject_unordered", LOOK_AFTER_S),
        )
    return (look("eject_unordered", LOOK_AFTER_S),)


def _succeeded(command_id: str, slot: int, serial: str | None) -> CommandResult:
    return CommandResult(command_id=command_id, outcome=CommandOutcome.SUCCEEDED, slot=slot, serial=serial)


def abnormal(message: up.Abnormal, known: Known) -> Events:
    """An alarm for people, and a look into the slots: what really left is a matter of the inventory."""
    kind = _FAULTS.get(message.event)
    asked = look(f"event_{message.event}", LOOK_AFTER_S)
    if kind is None or not 1 <= message.slot <= known.slot_count:
        return (asked,)
    detail = f"event {message.event}, bank {message.bank or 'unknown'}"
    return (SlotFault(slot=message.slot, kind=kind, detail=detail), asked)
