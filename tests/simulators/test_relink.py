"""A simulated Relink cabinet of either generation does what real ones do."""

import pytest

from firmware_protocol.dialects.relink import codec, down, up
from firmware_protocol.dialects.relink.codes import Command, Event
from firmware_protocol.dialects.relink.packet import close_packet
from firmware_protocol.dialects.relink.records import Bank
from simulators.faults import Fault, FaultKind
from simulators.outputs import ConnectTcp
from simulators.spec import Kind
from simulators.tuning import Tuning
from simulators.uplink import Phase
from tests.simulators.vendor_bench import CALM, Relink, only

BOTH = pytest.mark.parametrize("kind", [Kind.RELINK, Kind.RELINK_1])


def stock(bench: Relink) -> list[tuple[int, str | None]]:
    """Slot and id of every bank that an inventory shows."""
    bench.say(down.Ask(Command.INVENTORY))
    (frame,) = bench.frames()
    assert isinstance(frame, up.Inventory1 | up.Inventory2)
    return [(bank.slot, bank.bank) for bank in frame.banks]


def returned(frames: list[up.UpMessage]) -> tuple[int, str | None]:
    (frame,) = frames
    assert isinstance(frame, up.Return1 | up.Return2)
    told = frame.bank if isinstance(frame, up.Return2) else frame
    return told.slot, told.bank


@BOTH
def test_login_then_inventory(kind: Kind) -> None:
    bench = Relink(kind)
    assert bench.opened == [ConnectTcp()]
    (login,) = bench.frames()
    assert isinstance(login, up.Login1 | up.Login2)
    assert login.box_id == bench.station.identity
    if isinstance(login, up.Login2):
        assert [(bank.slot, bank.bank) for bank in login.banks] == bench.occupied
        assert (login.slots_num, login.timestamp) == (8, 0)
    bench.ready()
    assert bench.cabinet.phase is Phase.WELCOMED
    assert stock(bench) == bench.occupied


def test_the_second_login_says_what_the_first_was_answered() -> None:
    bench = Relink().ready()
    told_s = bench.now_ms // 1000
    bench.cabinet.restart(bench.now_ms)
    bench.run(5000)
    login = only(up.Login2, bench.frames())
    assert login.timestamp == told_s
    assert login.nonce == 0


@BOTH
def test_a_login_that_is_refused_or_not_answered_is_tried_again(kind: Kind) -> None:
    bench = Relink(kind)
    bench.say(down.LoginReply2(result=0, nonce=0, timestamp=0) if kind is Kind.RELINK else down.LoginReply1(0))
    assert bench.hangups == 1
    bench.run(60_000)
    assert bench.hangups > 1
    assert len(bench.opened) >= bench.hangups


@BOTH
@pytest.mark.parametrize("staff", [False, True])
def test_a_bank_is_given(kind: Kind, staff: bool) -> None:
    bench = Relink(kind).ready()
    slot, bank = bench.occupied[0]
    command: down.DownMessage = down.Eject(slot) if staff else down.Borrow(slot)
    bench.say(command)
    (result,) = bench.frames()
    assert isinstance(result, up.EjectResult if staff else up.BorrowResult)
    assert (result.slot, result.result, result.bank) == (slot, 1, bank)
    if isinstance(result, up.BorrowResult):
        assert len(result.locks) == (3 if kind is Kind.RELINK else 0)
    assert bank in bench.hands
    bench.say(command)
    (again,) = bench.frames()
    assert isinstance(again, up.EjectResult | up.BorrowResult)
    assert (again.result, again.bank) == (0, None)
    assert bench.cabinet.executor.moves == 1


@pytest.mark.parametrize("moves", [False, True])
def test_a_failed_borrow(moves: bool) -> None:
    bench = Relink().ready()
    slot, bank = bench.occupied[0]
    bench.fault(Fault(kind=FaultKind.RESULT_CODE, result=7, moves=moves, count=1))
    bench.say(down.Borrow(slot))
    assert only(up.BorrowResult, bench.frames()).result == 7
    assert (bank in bench.hands) is moves
    assert ((slot, bank) in stock(bench)) is not moves


def test_no_answer_though_the_bank_left() -> None:
    bench = Relink().ready()
    slot, bank = bench.occupied[0]
    bench.fault(Fault(kind=FaultKind.NO_ANSWER, count=1, moves=True))
    bench.say(down.Borrow(slot))
    assert bench.frames() == []
    assert (slot, bank) not in stock(bench)


@BOTH
def test_a_return_is_told_until_it_is_answered(kind: Kind) -> None:
    bench = Relink(kind).ready()
    slot = bench.insert("VBRA00000999", bench.empty[0])
    for _ in range(3):
        assert returned(bench.frames()) == (slot, "VBRA00000999")
        bench.run(CALM.return_repeat_ms)
    if kind is Kind.RELINK_1:
        bench.say(down.ReturnReply1(slot=slot, result=1))
    else:
        (told,) = bench.frames()
        assert isinstance(told, up.Return2)
        bench.say(down.ReturnReply2(result=1, bank=told.bank))
    bench.frames()
    bench.run(60_000)
    assert bench.frames() == []


def test_a_return_without_a_connection_is_told_after_the_next_login() -> None:
    bench = Relink().ready()
    bench.cabinet.disconnect(bench.now_ms)
    slot = bench.insert("VBRA00000999", bench.empty[0])
    bench.cabinet.connect(bench.now_ms)
    bench.run(0)
    only(up.Login2, bench.frames())
    bench.say(down.LoginReply2(result=1, nonce=1, timestamp=1))
    assert returned(bench.frames()) == (slot, "VBRA00000999")


def test_a_return_is_told_before_the_switch_closes() -> None:
    bench = Relink().ready()
    slot = bench.insert("VBRA00000999", bench.empty[0])
    told = only(up.Return2, bench.frames()).bank
    assert not told.status.inserted
    assert told.status.locked

    def inside() -> Bank:
        bench.say(down.Ask(Command.INVENTORY))
        return next(bank for bank in only(up.Inventory2, bench.frames()).banks if bank.slot == slot)

    assert not inside().status.inserted
    bench.run(CALM.switch_ms)
    bench.sent.clear()
    assert inside().status.inserted


def test_a_bank_taken_by_force_is_an_event() -> None:
    bench = Relink().ready()
    slot, bank = bench.occupied[0]
    bench.take_out(slot)
    event = only(up.Abnormal, bench.frames())
    assert (event.event, event.slot, event.bank) == (Event.NO_UNLOCK_COMMAND, slot, bank)
    old = Relink(Kind.RELINK_1).ready()
    old.take_out(old.occupied[0][0])
    assert old.frames() == []


def test_a_dead_bank_looks_like_one() -> None:
    bench = Relink().ready()
    slot = next(iter(bench.cabinet.board.slots.with_bank()))
    assert slot.bank is not None
    slot.bank.charge, slot.bank.as_of_ms = 0.0, bench.now_ms
    bench.say(down.Ask(Command.INVENTORY))
    dead = only(up.Inventory2, bench.frames()).banks[0]
    assert (dead.level, dead.mv, dead.dead) == (0, 2010, True)


def test_a_bank_that_cannot_be_read_has_no_id() -> None:
    bench = Relink().ready()
    slot = bench.insert(None, bench.empty[0])
    assert returned(bench.frames()) == (slot, None)


def test_several_frames_in_one_write_and_one_frame_in_two() -> None:
    bench = Relink().ready()
    bench.fault(Fault(kind=FaultKind.GLUED, window=2))
    bench.say(down.Ask(Command.VOLUME))
    assert bench.sent == []
    bench.say(down.Ask(Command.INVENTORY))
    assert len(bench.sent) == 1
    assert [type(frame) for frame in bench.frames()] == [up.Volume, up.Inventory2]
    bench.say(down.Ask(Command.VOLUME))
    bench.run(300)
    only(up.Volume, bench.frames())
    bench.cabinet.clear_faults()
    bench.fault(Fault(kind=FaultKind.SPLIT, delay_s=0.5, count=1))
    bench.say(down.Ask(Command.VOLUME))
    bench.say(down.Ask(Command.INVENTORY))
    assert len(bench.sent) == 1
    bench.run(500)
    assert [type(frame) for frame in bench.frames()] == [up.Volume, up.Inventory2]


def test_several_frames_in_one_read_and_one_frame_in_two() -> None:
    bench = Relink().ready()
    asked = codec.encode_down(down.Ask(Command.VOLUME), bench.generation, bench.secret)
    bench.raw(asked + asked + asked[:4])
    assert len(bench.frames()) == 2
    bench.raw(asked[4:])
    only(up.Volume, bench.frames())


def test_frames_with_another_token_are_not_obeyed() -> None:
    bench = Relink().ready()
    bench.raw(close_packet(Command.BORROW, 1, bytes([bench.occupied[0][0]]), b"another secret"))
    assert bench.frames() == []
    assert bench.cabinet.unreadable == 1
    bench.raw(b"\xff\xff")
    assert bench.hangups == 1


def test_it_connects_anew_when_heartbeats_are_not_answered() -> None:
    bench = Relink(tuning=Tuning()).ready()
    for _ in range(6):
        bench.run(30_000)
        only(up.Heartbeat, bench.frames())
        bench.say(down.Ask(Command.HEARTBEAT))
    assert bench.hangups == 0
    bench.run(4 * 30_000)
    assert bench.hangups >= 1


def test_maintenance_commands() -> None:
    bench = Relink(Kind.RELINK_1).ready()
    for command in (Command.VERSION, Command.ICCID, Command.SERVER, Command.NETWORK, Command.NETWORK_EARLY):
        bench.say(down.Ask(command))
    bench.say(down.SetVolume(3))
    bench.say(down.AskApn(1))
    bench.say(down.SetApn(index=1, valid=0, mccmnc="26801", apn="internet"))
    bench.say(down.SetServer(address="127.0.0.1", port="9066", heartbeat_s=30))
    kinds = [up.Version, up.Iccid, up.Server, up.Network, up.Network, up.VolumeSet, up.Apn, up.ApnSet, up.Done]
    assert [type(frame) for frame in bench.frames()] == kinds
    bench.say(down.Ask(Command.RESTART))
    assert bench.hangups == 1
    bench.run(2000)
    assert len(bench.opened) == 2


@BOTH
def test_the_same_seed_gives_the_same_bytes(kind: Kind) -> None:
    def life() -> list[bytes]:
        bench = Relink(kind, Tuning()).ready()
        bench.say(down.Ask(Command.INVENTORY))
        bench.say(down.Borrow(bench.occupied[0][0]))
        bench.run(20_000)
        return [each.payload for each in bench.sent]

    assert life() == life()
