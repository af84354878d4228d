"""Commands: every answer, and never twice."""

import pytest

from firmware_protocol.commands import (
    CollectLogs,
    Command,
    EjectPowerBank,
    GetConfig,
    LockSlot,
    QueryInventory,
    Reboot,
    SetConfig,
    SetVolume,
    UnlockSlot,
    UpdateFirmware,
)
from firmware_protocol.limits import REMEMBERED_COMMANDS
from firmware_protocol.messages import (
    Booted,
    CommandResult,
    ConfigReport,
    Inventory,
    LogChunk,
    PowerBankEjected,
    SlotLocked,
    SlotUnlocked,
)
from firmware_protocol.topics import DownKind, down
from firmware_protocol.types import CommandOutcome, SlotFaultKind, SlotState
from simulators.battery import PowerBank
from simulators.errors import CannotInsert
from simulators.faults import Fault, FaultKind
from simulators.spec import default_fleet
from simulators.tuning import Tuning
from tests.simulators.virtual import START_MS, Bench, only

AT_ONCE = Tuning(eject_ms=(0, 0))


def test_an_eject_takes_its_time_then_the_bank_leaves_and_then_the_result_comes() -> None:
    bench = Bench(Tuning(eject_ms=(300, 1200))).ready()
    slot, serial = bench.occupied[0]
    ident = bench.command(EjectPowerBank(slot=slot, serial=serial))
    bench.run(299)
    assert bench.events() == []
    bench.run(901)
    left, result = bench.events()
    assert isinstance(left, PowerBankEjected)
    assert (left.slot, left.serial, left.command_id) == (slot, serial, ident)
    assert result == CommandResult(command_id=ident, outcome=CommandOutcome.SUCCEEDED, slot=slot, serial=serial)
    assert serial in bench.hands
    assert slot in bench.empty


@pytest.mark.parametrize("by", ["slot", "serial"])
def test_slot_or_serial_alone_names_the_bank(by: str) -> None:
    bench = Bench(AT_ONCE).ready()
    slot, serial = bench.occupied[1]
    bench.command(EjectPowerBank(slot=slot) if by == "slot" else EjectPowerBank(serial=serial))
    result = only(CommandResult, bench.events())
    assert (result.slot, result.serial) == (slot, serial)


def test_what_cannot_be_ejected_is_refused_with_its_reason_and_nothing_moves() -> None:
    bench = Bench(AT_ONCE).ready()
    (_, serial), (locked, _), (jammed, _), (other, _) = bench.occupied[:4]
    bench.cabinet.board.slots.get(locked).locked = True  # type: ignore[union-attr]  # the slot is there
    bench.cabinet.slot_fault(jammed, SlotFaultKind.JAM, bench.now_ms, cleared=False)
    cases: list[tuple[EjectPowerBank, CommandOutcome, str]] = [
        (EjectPowerBank(slot=99), CommandOutcome.INVALID, "no_such_slot"),
        (EjectPowerBank(slot=bench.empty[0]), CommandOutcome.FAILED, "slot_empty"),
        (EjectPowerBank(serial="PB-elsewhere"), CommandOutcome.FAILED, "bank_not_here"),
        (EjectPowerBank(slot=other, serial=serial), CommandOutcome.FAILED, "serial_mismatch"),
        (EjectPowerBank(slot=locked), CommandOutcome.FAILED, "slot_locked"),
        (EjectPowerBank(slot=jammed), CommandOutcome.FAILED, "slot_fault"),
    ]
    before = bench.occupied
    bench.run(0)
    bench.take()
    for number, (eject, outcome, code) in enumerate(cases, start=1):
        bench.command(eject, number=number)
        result = only(CommandResult, bench.events())
        assert (result.outcome, result.code) == (outcome, code)
    assert bench.occupied == before


def test_a_repeated_id_is_answered_from_memory_and_moves_nothing() -> None:
    bench = Bench(AT_ONCE).ready()
    slot, serial = bench.occupied[0]
    bench.command(EjectPowerBank(slot=slot))
    first = only(CommandResult, bench.events())
    bench.cabinet.insert(bench.hands.give_back(serial, bench.now_ms), slot, bench.now_ms)
    bench.run(0)
    bench.take()
    bench.command(EjectPowerBank(slot=slot), attempt=2)
    assert bench.events() == [first]
    assert (slot, serial) in bench.occupied


def test_a_repeat_while_the_motor_turns_is_not_a_second_eject() -> None:
    bench = Bench(Tuning(eject_ms=(500, 500))).ready()
    slot, _ = bench.occupied[0]
    bench.command(EjectPowerBank(slot=slot))
    bench.run(200)
    bench.command(EjectPowerBank(slot=slot), attempt=2)
    bench.run(1_000)
    assert [type(event) for event in bench.events()] == [PowerBankEjected, CommandResult]


def test_the_memory_survives_a_restart_and_holds_as_many_ids_as_promised() -> None:
    bench = Bench(AT_ONCE).ready()
    slot, serial = bench.occupied[0]
    bench.command(EjectPowerBank(slot=slot), number=1)
    for number in range(2, REMEMBERED_COMMANDS + 1):
        bench.command(SetVolume(volume_pct=10), number=number)
    bench.cabinet.restart(bench.now_ms)
    bench.run(10_000)
    bench.welcome()
    bench.cabinet.insert(bench.hands.give_back(serial, bench.now_ms), slot, bench.now_ms)
    bench.run(0)
    bench.take()
    bench.command(EjectPowerBank(slot=slot), number=1, attempt=2)
    assert [type(event) for event in bench.events()] == [CommandResult]
    bench.command(SetVolume(volume_pct=10), number=REMEMBERED_COMMANDS + 1)
    assert bench.cabinet.board.memory.get("00000000-0000-0000-0000-000000000001") is None


def test_a_passed_deadline_is_refused_by_the_backends_clock() -> None:
    bench = Bench(AT_ONCE).power_on()
    # The cabinet's own clock is an hour behind the backend's, and the welcome told it so.
    bench.welcome(ahead_ms=3_600_000)
    bench.take()
    bench.command(EjectPowerBank(slot=bench.occupied[0][0]), number=1, deadline_s=3_599)
    assert only(CommandResult, bench.events()).outcome is CommandOutcome.EXPIRED
    bench.command(EjectPowerBank(slot=bench.occupied[0][0]), number=2, deadline_s=3_601)
    assert only(CommandResult, [e for e in bench.events() if isinstance(e, CommandResult)]).outcome is (
        CommandOutcome.SUCCEEDED
    )


def test_one_eject_at_a_time() -> None:
    bench = Bench(Tuning(eject_ms=(500, 500))).ready()
    (first, _), (second, _) = bench.occupied[:2]
    bench.command(EjectPowerBank(slot=first), number=1)
    bench.command(EjectPowerBank(slot=second), number=2)
    assert only(CommandResult, bench.events()).outcome is CommandOutcome.BUSY
    bench.run(500)
    assert [type(event) for event in bench.events()] == [PowerBankEjected, CommandResult]


def test_commands_before_the_welcome_are_ignored() -> None:
    bench = Bench(AT_ONCE).power_on()
    bench.take()
    bench.command(EjectPowerBank(slot=bench.occupied[0][0]))
    assert bench.take() == []
    assert len(bench.hands) == 0


def test_an_inventory_shows_every_slot_and_names_its_question() -> None:
    bench = Bench().ready()
    bench.cabinet.insert(_unreadable(), bench.empty[0], bench.now_ms)
    unreadable = next(slot.number for slot in bench.cabinet.board.slots if slot.bank and slot.bank.serial is None)
    bench.run(0)
    bench.take()
    ident = bench.command(QueryInventory())
    events = bench.events()
    inventory = only(Inventory, events)
    assert only(CommandResult, events).outcome is CommandOutcome.SUCCEEDED
    assert (inventory.command_id, inventory.complete) == (ident, True)
    assert [entry.slot for entry in inventory.slots] == list(range(1, 9))
    assert {(e.slot, e.serial) for e in inventory.slots if e.state is SlotState.OCCUPIED} == set(bench.occupied)
    assert [e.slot for e in inventory.slots if e.state is SlotState.FAULT] == [unreadable]


def _unreadable() -> PowerBank:
    return PowerBank(serial=None, charge=50, cycles=0, health_pct=100, capacity_mah=5000, as_of_ms=START_MS)


def test_a_locked_slot_takes_nothing_and_gives_nothing() -> None:
    bench = Bench(AT_ONCE).ready()
    slot = bench.empty[0]
    bench.command(LockSlot(slot=slot), number=1)
    assert [type(event) for event in bench.events()] == [SlotLocked, CommandResult]
    with pytest.raises(CannotInsert, match="locked"):
        bench.cabinet.insert(_unreadable(), slot, bench.now_ms)
    bench.command(UnlockSlot(slot=slot), number=2)
    assert [type(event) for event in bench.events()] == [SlotUnlocked, CommandResult]
    assert bench.cabinet.insert(_unreadable(), slot, bench.now_ms) == slot


def test_configuration_is_kept_reported_and_never_goes_back() -> None:
    bench = Bench().ready()
    bench.command(SetConfig(version=5, values={"volume": 3}), number=1)
    assert only(ConfigReport, [bench.events()[0]]) == ConfigReport(version=5, values={"volume": 3})
    bench.command(SetConfig(version=4, values={"volume": 9}), number=2)
    refused = only(CommandResult, bench.events())
    assert (refused.outcome, refused.code) == (CommandOutcome.INVALID, "old_version")
    bench.command(GetConfig(), number=3)
    assert bench.events()[0] == ConfigReport(version=5, values={"volume": 3})
    bench.drop_link()
    bench.run(120_000)
    assert bench.booted().config_version == 5


def test_the_log_tells_what_happened() -> None:
    bench = Bench().ready()
    bench.command(CollectLogs(request_id="r1"))
    chunk = bench.events()[0]
    assert isinstance(chunk, LogChunk)
    assert chunk.request_id == "r1"
    assert b"boot 1" in chunk.content


def test_a_reboot_is_answered_before_it_happens() -> None:
    bench = Bench().ready()
    bench.command(Reboot())
    assert only(CommandResult, bench.events()).outcome is CommandOutcome.SUCCEEDED
    bench.run(10_000)
    assert isinstance(bench.take()[-1].message, Booted)
    assert bench.cabinet.board.boot == 2


def test_what_is_not_simulated_says_so() -> None:
    bench = Bench().ready()
    unsupported: Command = UpdateFirmware(manifest=b"{}", url="https://example.org/fw")
    bench.command(unsupported)
    assert only(CommandResult, bench.events()).outcome is CommandOutcome.UNSUPPORTED


def test_a_type_that_it_does_not_know_is_answered_by_its_id_once_the_gate_is_open() -> None:
    topic = down(default_fleet(1).stations[0].code, DownKind.COMMAND)
    unknown = b'{"v":1,"id":"later","deadline":9999999999999,"attempt":1,"type":"dance","data":{}}'
    gated = Bench().power_on()
    gated.cabinet.received(topic, unknown, None, gated.now_ms)
    gated.run(0)
    assert not [frame for frame in gated.take() if isinstance(frame.message, CommandResult)]

    bench = Bench().ready()
    for payload in (unknown, unknown, unknown.replace(b'"id":"later",', b""), unknown.replace(b'"later"', b"7")):
        bench.cabinet.received(topic, payload, None, bench.now_ms)
    bench.run(0)
    assert bench.events() == [CommandResult(command_id="later", outcome=CommandOutcome.UNSUPPORTED)] * 2


def test_faults_do_not_touch_the_cabinets_answers_to_other_cabinets() -> None:
    bench, other = Bench(AT_ONCE).ready(), Bench(AT_ONCE).ready()
    bench.cabinet.add_fault(Fault(kind=FaultKind.NO_ANSWER), bench.now_ms)
    bench.command(QueryInventory())
    other.command(QueryInventory())
    assert bench.events() == []
    assert len(other.events()) == 2
