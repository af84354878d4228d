"""Each fault does what it says, as long as it should, and nothing else."""

from random import Random

import pytest

from firmware_protocol.commands import EjectPowerBank, QueryInventory
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.errors import ProtocolError
from firmware_protocol.messages import CommandResult, Inventory, PowerBankEjected, PowerBankInserted
from firmware_protocol.types import CommandOutcome, ResetCause
from simulators.faults import Fault, FaultKind, FaultSet
from simulators.tuning import Tuning
from tests.simulators.virtual import Bench, only

AT_ONCE = Tuning(eject_ms=(0, 0))


def faulty(fault: Fault, tuning: Tuning = AT_ONCE) -> Bench:
    bench = Bench(tuning).ready()
    bench.cabinet.add_fault(fault, bench.now_ms)
    bench.run(0)
    return bench


def test_count_and_probability() -> None:
    faults = FaultSet(Random(1))
    faults.add(Fault(kind=FaultKind.WRONG_BANK, count=2))
    assert [faults.strikes(FaultKind.WRONG_BANK) is not None for _ in range(3)] == [True, True, False]
    faults.add(Fault(kind=FaultKind.LOST_ACK, probability=0.5))
    struck = sum(faults.strikes(FaultKind.LOST_ACK) is not None for _ in range(1000))
    assert 400 < struck < 600
    faults.clear()
    assert not faults


def test_no_answer() -> None:
    bench = faulty(Fault(kind=FaultKind.NO_ANSWER, count=1))
    slot, serial = bench.occupied[0]
    bench.command(EjectPowerBank(slot=slot), number=1)
    bench.run(60_000)
    assert bench.events() == []
    assert (slot, serial) in bench.occupied
    bench.command(EjectPowerBank(slot=slot), number=1, attempt=2)
    assert [type(event) for event in bench.events()] == [PowerBankEjected, CommandResult]


def test_no_answer_though_the_bank_left_is_settled_by_the_inventory() -> None:
    bench = faulty(Fault(kind=FaultKind.NO_ANSWER, count=1, moves=True))
    slot, serial = bench.occupied[0]
    bench.command(EjectPowerBank(slot=slot), number=1)
    assert bench.events() == []
    assert serial in bench.hands
    bench.command(QueryInventory(), number=2)
    inventory = only(Inventory, [bench.events()[0]])
    assert serial not in {entry.serial for entry in inventory.slots}
    bench.command(EjectPowerBank(slot=slot), number=1, attempt=2)
    left, result = bench.events()
    assert isinstance(left, PowerBankEjected)
    assert result == CommandResult(
        command_id=left.command_id or "", outcome=CommandOutcome.SUCCEEDED, slot=slot, serial=serial
    )


@pytest.mark.parametrize("moves", [False, True])
def test_late_answer(moves: bool) -> None:
    bench = faulty(Fault(kind=FaultKind.LATE_ANSWER, delay_s=40, moves=moves))
    slot, serial = bench.occupied[0]
    bench.command(EjectPowerBank(slot=slot), deadline_s=15)
    bench.run(39_999)
    assert bench.events() == []
    assert (serial in bench.hands) is moves
    bench.run(1)
    assert [type(event) for event in bench.events()] == [PowerBankEjected, CommandResult]
    assert serial in bench.hands


@pytest.mark.parametrize("moves", [False, True])
def test_failed_eject(moves: bool) -> None:
    bench = faulty(Fault(kind=FaultKind.FAILED_EJECT, code="jammed_motor", moves=moves))
    slot, serial = bench.occupied[0]
    bench.command(EjectPowerBank(slot=slot))
    events = bench.events()
    result = events[-1]
    assert isinstance(result, CommandResult)
    assert (result.outcome, result.code) == (CommandOutcome.FAILED, "jammed_motor")
    assert [type(event) for event in events[:-1]] == ([PowerBankEjected] if moves else [])
    assert (serial in bench.hands) is moves


def test_wrong_bank() -> None:
    bench = faulty(Fault(kind=FaultKind.WRONG_BANK, count=1))
    slot, serial = bench.occupied[0]
    bench.command(EjectPowerBank(slot=slot, serial=serial))
    left, result = bench.events()
    assert isinstance(left, PowerBankEjected)
    assert isinstance(result, CommandResult)
    assert result.outcome is CommandOutcome.SUCCEEDED
    assert (left.slot, left.serial) == (result.slot, result.serial)
    assert left.slot != slot
    assert left.serial is not None
    assert left.serial in bench.hands
    assert (slot, serial) in bench.occupied


def test_duplicate() -> None:
    bench = faulty(Fault(kind=FaultKind.DUPLICATE))
    bench.cabinet.remove(bench.occupied[0][0], bench.now_ms)
    bench.run(0)
    first, second = bench.take()
    assert first == second


def test_reorder_shuffles_and_loses_nothing() -> None:
    bench = faulty(Fault(kind=FaultKind.REORDER, window=5))
    for slot, _ in bench.occupied[:5]:
        bench.cabinet.remove(slot, bench.now_ms)
    bench.run(0)
    order = [frame.seq for frame in bench.take()]
    assert sorted(order) == [2, 3, 4, 5, 6]
    assert order != sorted(order)


def test_a_held_back_event_does_not_wait_for_ever() -> None:
    bench = faulty(Fault(kind=FaultKind.REORDER, window=5))
    bench.cabinet.remove(bench.occupied[0][0], bench.now_ms)
    bench.run(0)
    assert bench.take() == []
    bench.run(300)
    assert [frame.seq for frame in bench.take()] == [2]


def test_lost_ack() -> None:
    bench = faulty(Fault(kind=FaultKind.LOST_ACK))
    bench.cabinet.remove(bench.occupied[0][0], bench.now_ms)
    bench.ack()
    assert len(bench.cabinet.board.journal) == 1
    bench.cabinet.clear_faults(FaultKind.LOST_ACK)
    bench.ack()
    assert len(bench.cabinet.board.journal) == 0


@pytest.mark.parametrize("moves", [False, True])
def test_reboot_mid_command_is_settled_by_the_cabinet_itself(moves: bool) -> None:
    bench = faulty(Fault(kind=FaultKind.REBOOT_MID_COMMAND, count=1, moves=moves))
    slot, serial = bench.occupied[0]
    ident = bench.command(EjectPowerBank(slot=slot), number=1)
    bench.run(10_000)
    bench.welcome()
    events = bench.events()
    assert [type(event) for event in events] == [Inventory, *([PowerBankEjected] if moves else []), CommandResult]
    outcome = CommandOutcome.SUCCEEDED if moves else CommandOutcome.FAILED
    result = only(CommandResult, events)
    assert (result.command_id, result.outcome, result.serial) == (ident, outcome, serial if moves else None)
    bench.command(EjectPowerBank(slot=slot), number=1, attempt=2)
    assert bench.events() == [result]


@pytest.mark.parametrize("moves", [False, True])
def test_reboot_mid_command_without_a_word_about_it(moves: bool) -> None:
    bench = faulty(Fault(kind=FaultKind.REBOOT_MID_COMMAND, count=1, moves=moves, silent=True))
    slot, serial = bench.occupied[0]
    bench.command(EjectPowerBank(slot=slot), number=1)
    assert bench.events() == []
    bench.run(10_000)
    assert bench.booted().reset_cause is ResetCause.BROWNOUT
    bench.welcome()
    inventory = only(Inventory, bench.events())
    assert (serial in {entry.serial for entry in inventory.slots}) is not moves
    bench.command(EjectPowerBank(slot=slot), number=1, attempt=2)
    result = bench.events()[-1]
    assert isinstance(result, CommandResult)
    assert result.outcome is (CommandOutcome.SUCCEEDED if moves else CommandOutcome.FAILED)
    assert (serial in bench.hands) is moves


def test_offline_with_journal() -> None:
    bench = faulty(Fault(kind=FaultKind.OFFLINE_WITH_JOURNAL, duration_s=600))
    slot, serial = bench.occupied[0]
    bench.cabinet.remove(slot, bench.now_ms)
    bench.run(300_000)
    later = bench.now_ms
    bench.cabinet.insert(bench.hands.give_back(serial, bench.now_ms), slot, bench.now_ms)
    bench.run(299_999)
    assert bench.take() == []
    bench.run(1)
    bench.welcome()
    frames = [frame for frame in bench.take() if frame.seq]
    assert [type(frame.message) for frame in frames] == [PowerBankEjected, PowerBankInserted]
    assert [frame.replayed for frame in frames] == [True, True]
    assert frames[1].at_ms == later


def test_clock_drift() -> None:
    bench = faulty(Fault(kind=FaultKind.CLOCK_DRIFT, drift_ms=-7_200_000))
    slot, serial = bench.occupied[0]
    bench.cabinet.remove(slot, bench.now_ms)
    bench.run(0)
    assert bench.take()[0].at_ms == bench.now_ms - 7_200_000
    bench.cabinet.clear_faults(FaultKind.CLOCK_DRIFT)
    bench.cabinet.insert(bench.hands.give_back(serial, bench.now_ms), slot, bench.now_ms)
    bench.run(0)
    assert bench.take()[0].at_ms == bench.now_ms


def test_a_drifting_clock_misjudges_deadlines_until_the_next_welcome() -> None:
    bench = faulty(Fault(kind=FaultKind.CLOCK_DRIFT, drift_ms=60_000))
    bench.command(EjectPowerBank(slot=bench.occupied[0][0]), number=1, deadline_s=30)
    assert only(CommandResult, bench.events()).outcome is CommandOutcome.EXPIRED
    bench.drop_link()
    bench.run(120_000)
    bench.welcome()
    bench.take()
    bench.command(EjectPowerBank(slot=bench.occupied[0][0]), number=2, deadline_s=30)
    assert [type(event) for event in bench.events()] == [PowerBankEjected, CommandResult]


def test_not_taken() -> None:
    bench = faulty(Fault(kind=FaultKind.NOT_TAKEN, delay_s=8))
    slot, serial = bench.occupied[0]
    bench.command(EjectPowerBank(slot=slot))
    assert [type(event) for event in bench.events()] == [PowerBankEjected, CommandResult]
    assert serial not in bench.hands
    bench.run(8_000)
    back = only(PowerBankInserted, bench.events())
    assert (back.slot, back.serial) == (slot, serial)
    assert (slot, serial) in bench.occupied


def test_drop_events_until_they_are_asked_for() -> None:
    bench = faulty(Fault(kind=FaultKind.DROP_EVENTS, count=2))
    for slot, _ in bench.occupied[:3]:
        bench.cabinet.remove(slot, bench.now_ms)
    bench.run(0)
    assert [frame.seq for frame in bench.take()] == [4]
    bench.resend((1, 2, 3))
    assert [frame.seq for frame in bench.take()] == [2, 3]


def test_a_lost_event_comes_again_by_itself_after_a_minute() -> None:
    bench = faulty(Fault(kind=FaultKind.DROP_EVENTS, count=1))
    bench.cabinet.remove(bench.occupied[0][0], bench.now_ms)
    bench.run(59_999)
    assert bench.take() == []
    bench.run(1)
    assert [(frame.seq, frame.replayed) for frame in bench.take()] == [(2, True)]
    bench.run(59_999)
    assert bench.take() == []
    bench.ack()
    bench.run(600_000)
    assert bench.take() == []


def test_each_lost_event_comes_again_a_minute_after_it_was_sent() -> None:
    bench = faulty(Fault(kind=FaultKind.DROP_EVENTS))
    for slot, _ in bench.occupied[:2]:
        bench.cabinet.remove(slot, bench.now_ms)
        bench.run(10_000)
    bench.run(39_999)
    for seq in (2, 3):
        assert bench.take() == []
        bench.run(1)
        assert [frame.seq for frame in bench.take()] == [seq]
        bench.run(9_999)


def test_garbage_comes_beside_the_real_frames() -> None:
    bench = faulty(Fault(kind=FaultKind.GARBAGE))
    before = len(bench.raw)
    for slot, _ in bench.occupied[:5]:
        bench.cabinet.remove(slot, bench.now_ms)
    bench.run(0)
    readable, unreadable = 0, 0
    for sent in bench.raw[before:]:
        assert not sent.retain
        try:
            NATIVE.decode(sent.topic, sent.payload, sent.content_type)
        except ProtocolError:
            unreadable += 1
        else:
            readable += 1
    assert (readable, unreadable) == (5, 5)
