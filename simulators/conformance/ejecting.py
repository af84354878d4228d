"""Chapter 9 with metal that moves: only when somebody stands before the cabinet."""

from typing import Final

from firmware_protocol.commands import EjectPowerBank
from firmware_protocol.messages import PowerBankEjected, SlotInventory
from firmware_protocol.types import CommandOutcome, SlotState
from simulators.conformance.bench import Bench
from simulators.conformance.checks import Check
from simulators.conformance.verdicts import BrokenRequirement, NotRunHere


def _need_metal(bench: Bench) -> SlotInventory:
    if not bench.ejects:
        raise NotRunHere("a bank leaves the cabinet: say --eject")
    occupied = [entry for entry in bench.inventory().slots if entry.state is SlotState.OCCUPIED and not entry.locked]
    if not occupied:
        raise NotRunHere("it takes a bank in an unlocked slot")
    return occupied[0]


def gives_a_bank(bench: Bench) -> None:
    entry = _need_metal(bench)
    since = bench.mark
    order = EjectPowerBank(slot=entry.slot, serial=entry.serial)
    command_id = bench.order(order)
    told, result = bench.result(command_id, timeout_s=bench.patience.eject_s)
    left = [(f, m) for f, m in bench.frames(PowerBankEjected, since) if m.command_id == command_id]
    if result.outcome is not CommandOutcome.SUCCEEDED:
        raise BrokenRequirement(f"the eject ended {result.outcome}, code {result.code}")
    if len(left) != 1 or left[0][0].seq > told.seq:
        raise BrokenRequirement(f"expected power_bank_ejected, then the result; {len(left)} of the former")
    moved = left[0][1]
    if (moved.slot, moved.serial) != (result.slot, result.serial):
        raise BrokenRequirement(f"the result names another bank than left: {result} / {moved}")
    again = [each for each in bench.inventory().slots if each.slot == moved.slot]
    if again and again[0].serial == moved.serial and again[0].state is SlotState.OCCUPIED:
        raise BrokenRequirement(f"the inventory still shows {moved.serial} in slot {moved.slot}")
    _moves_once(bench, order, command_id)


def _moves_once(bench: Bench, order: EjectPowerBank, command_id: str) -> None:
    since = bench.mark
    bench.order(order, command_id=command_id)
    bench.result(command_id, number=2)
    if bench.frames(PowerBankEjected, since):
        raise BrokenRequirement("a repeated eject moved a bank")


def one_at_a_time(bench: Bench) -> None:
    entry = _need_metal(bench)
    since = bench.mark
    ids = [bench.order(EjectPowerBank(slot=entry.slot)) for _ in range(2)]
    results = [bench.result(command_id, timeout_s=bench.patience.eject_s)[1] for command_id in ids]
    if results[0].outcome is not CommandOutcome.SUCCEEDED:
        raise BrokenRequirement(f"the first eject ended {results[0].outcome}, code {results[0].code}")
    second = results[1]
    # A quick motor is done before the second one arrives, and then the slot is empty.
    if (second.outcome, second.code) not in {
        (CommandOutcome.BUSY, "eject_in_flight"),
        (CommandOutcome.FAILED, "slot_empty"),
    }:
        raise BrokenRequirement(f"the second eject ended {second.outcome}, code {second.code}")
    if len(bench.frames(PowerBankEjected, since)) != 1:
        raise BrokenRequirement("two ejects of one slot moved more than one bank")


EJECTS: Final = (
    Check("9.2", "eject: power_bank_ejected, then the result; again: nothing moves", gives_a_bank),
    Check("9.1", "A second eject while one is under way: eject_in_flight", one_at_a_time),
)
