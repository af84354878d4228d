"""A simulated Volinks cabinet does what real ones do, quirks included."""

import json
from uuid import uuid4

import pytest
from msgspec.structs import replace

from firmware_protocol.commands import CommandFrame, QueryInventory
from firmware_protocol.dialects.volinks import codec, topics
from firmware_protocol.dialects.volinks.boards import Inventory
from firmware_protocol.dialects.volinks.commands import (
    Plain,
    PopByHole,
    PopBySerial,
    SetVolume,
    Word,
    decode_down,
    encode_down,
)
from firmware_protocol.dialects.volinks.frames import (
    Heartbeat,
    PopByHoleResult,
    PopBySerialResult,
    ReturnResult,
    SelfTestReturn,
    WifiScan,
)
from firmware_protocol.dialects.volinks.signature import sign_ok
from firmware_protocol.dialects.volinks.translate import VOLINKS
from firmware_protocol.errors import AmbiguousLayout, ChecksumMismatch, LengthMismatch
from firmware_protocol.vendor import Known, KnownQuestion
from simulators.faults import Fault, FaultKind
from simulators.outputs import ConnectVendor
from simulators.spec import Kind
from simulators.tuning import Tuning
from simulators.uplink import Phase
from tests.simulators.vendor_bench import CALM, Volinks, only

CHECK = Plain(Word.CHECK)
#: Of both guides (volinks.md §5.3).
POP_CODES = [
    0x00,
    *range(0x02, 0x07),
    0x08,
    0x11,
    0x12,
    0x13,
    0x14,
    0x21,
    0x22,
    0x23,
    0x24,
    0x87,
    0x88,
    *range(0xFB, 0x100),
]


def inventory_of(bench: Volinks, command: Plain = CHECK) -> Inventory:
    bench.say(command)
    return only(Inventory, bench.frames())


def seen(bench: Volinks) -> list[tuple[int, str]]:
    """Hole and serial of every bank that an inventory shows."""
    return [(hole.hole, str(hole.sn)) for hole in inventory_of(bench).holes if hole.occupied]


def test_an_inventory_is_what_is_inside() -> None:
    bench = Volinks()
    frame = inventory_of(bench)
    assert frame.shape == (4, 4)
    assert [(hole.hole, str(hole.sn)) for hole in frame.holes if hole.rentable] == bench.occupied
    for hole in frame.holes:
        if hole.occupied:
            assert hole.soc is not None
            assert hole.battery_mv is not None
            assert 3000 < hole.battery_mv < 4500
        else:  # as real ones: anything but zeros
            assert hole.micro_switch_open
            assert hole.sn


def test_old_cabinets_have_boards_of_six_and_tell_of_five_banks_unless_asked_for_all() -> None:
    bench = Volinks(Kind.VOLINKS_OLD)
    for slot in bench.empty[:-1]:
        bench.insert(str(85_000_000 + slot), slot)
    bench.frames()
    frame = inventory_of(bench, Plain(Word.CHECK_ALL))
    assert frame.shape == (6, 2)
    assert [board.address for board in frame.boards] == [0x10, 0x20]
    assert [(hole.hole, str(hole.sn)) for hole in frame.holes if hole.occupied] == bench.occupied
    bench.say(CHECK)
    with pytest.raises(AmbiguousLayout):
        codec.decode_up(bench.sent[-1].payload, layout=None)


def test_an_old_cabinet_of_which_nothing_is_known_is_commissioned_by_the_second_question() -> None:
    bench = Volinks(Kind.VOLINKS_OLD)
    for slot in bench.empty[:-1]:
        bench.insert(str(85_000_000 + slot), slot)
    station = bench.cabinet.board.station
    known = Known(station="V", hardware_id=station.identity, slot_count=8, inventory_asked=str(uuid4()))
    topic = topics.topic(station.identity, topics.Kind.UPDATE)

    def asked(known: Known) -> bytes:
        frame = CommandFrame(command_id="any", deadline_ms=0, attempt=1, command=QueryInventory())
        payload = VOLINKS.encode(known, frame).payload
        bench.say(decode_down(payload))
        return payload

    first = asked(known)
    with pytest.raises(AmbiguousLayout):
        VOLINKS.read(topic, bench.sent[-1].payload, known)
    refused = replace(known, stale=True, last_question=KnownQuestion(command_id=str(uuid4()), payload=first))
    second = asked(refused)
    assert (decode_down(first), decode_down(second)) == (Plain(Word.CHECK), Plain(Word.CHECK_ALL))
    question = KnownQuestion(command_id=str(known.inventory_asked), payload=second)
    reading = VOLINKS.read(topic, bench.sent[-1].payload, replace(refused, last_question=question))
    assert reading.layout is not None
    assert ([len(board) for board in reading.layout], reading.revision) == ([6, 2], "old")


def test_a_pop_by_serial() -> None:
    bench = Volinks()
    slot, serial = bench.occupied[0]
    bench.say(PopBySerial(sn=int(serial)))
    result = only(PopBySerialResult, bench.frames())
    assert (result.sn, result.byte4, result.state, result.outcome) == (int(serial), slot, 1, "dispensed")
    assert serial in bench.hands
    bench.say(PopBySerial(sn=int(serial)))
    assert only(PopBySerialResult, bench.frames()).state == 0xFC
    assert bench.cabinet.executor.moves == 1


def test_a_stale_pop_is_carried_out_all_the_same() -> None:
    bench = Volinks()
    long_ago = bench.now_ms // 1000 - 7200
    bench.say(PopBySerial(sn=int(bench.occupied[0][1]), timestamp=long_ago, ttl=30))
    bench.say(PopByHole(hole=bench.occupied[0][0], timestamp=long_ago, ttl=30))
    assert [frame.state for frame in bench.frames() if isinstance(frame, PopBySerialResult | PopByHoleResult)] == [1, 1]


def test_a_pop_by_hole_gives_whatever_is_in_it_each_time() -> None:
    bench = Volinks()
    slot, first = bench.occupied[0]
    command = PopByHole(hole=slot)
    bench.say(command)
    bench.insert("85000999", slot)
    bench.say(command)
    bench.say(command)
    states = [frame.state for frame in bench.frames() if isinstance(frame, PopByHoleResult)]
    assert states == [1, 1, 0]
    assert {first, "85000999"} <= {bank.serial for bank in bench.hands}


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("code", POP_CODES)
def test_every_result_code_can_be_had_with_and_without_the_bank(code: int, moves: bool) -> None:
    bench = Volinks()
    slot, serial = bench.occupied[0]
    bench.fault(Fault(kind=FaultKind.RESULT_CODE, result=code, moves=moves, count=1))
    bench.say(PopBySerial(sn=int(serial)))
    assert only(PopBySerialResult, bench.frames()).state == code
    assert (serial in bench.hands) is moves
    bench.run(5000)
    assert ((slot, serial) in seen(bench)) is not moves


def test_pop_faults_that_native_cabinets_have_too() -> None:
    bench = Volinks()
    sn = int(bench.occupied[0][1])
    bench.fault(Fault(kind=FaultKind.NO_ANSWER, count=1))
    bench.say(PopBySerial(sn=sn))
    assert bench.frames() == []
    bench.fault(Fault(kind=FaultKind.FAILED_EJECT, count=1))
    bench.say(PopBySerial(sn=sn))
    assert only(PopBySerialResult, bench.frames()).state == 0x12
    bench.fault(Fault(kind=FaultKind.LATE_ANSWER, count=1, delay_s=20, moves=True))
    bench.say(PopBySerial(sn=sn))
    bench.say(PopBySerial(sn=int(bench.occupied[0][1])))
    assert only(PopBySerialResult, bench.frames()).state == 0xFE
    assert str(sn) in bench.hands
    bench.run(20_000)
    assert only(PopBySerialResult, bench.frames()).state == 1
    bench.fault(Fault(kind=FaultKind.NOT_TAKEN, count=1, delay_s=8))
    slot, serial = bench.occupied[0]
    bench.say(PopBySerial(sn=int(serial)))
    assert only(PopBySerialResult, bench.frames()).state == 1
    bench.run(8000)
    assert only(ReturnResult, bench.frames()).sn == int(serial)
    assert (slot, serial) in bench.occupied


def test_a_power_cut_in_the_middle_says_nothing_ever() -> None:
    bench = Volinks()
    serial = bench.occupied[0][1]
    bench.fault(Fault(kind=FaultKind.REBOOT_MID_COMMAND, count=1, moves=True))
    bench.say(PopBySerial(sn=int(serial)))
    bench.run(60_000)
    assert bench.frames() == []
    assert serial in bench.hands
    assert len(bench.opened) == 2


def test_the_self_check_still_sees_the_bank_for_3_s() -> None:
    bench = Volinks()
    slot, serial = bench.occupied[0]
    bench.say(PopBySerial(sn=int(serial)))
    bench.frames()
    assert (slot, serial) in seen(bench)
    bench.run(2999)
    assert (slot, serial) in seen(bench)
    bench.run(1)
    assert (slot, serial) not in seen(bench)


def test_returns() -> None:
    bench = Volinks()
    slot = bench.insert("85000999", bench.empty[0])
    told = only(ReturnResult, bench.frames())
    assert (told.hole, told.sn, told.state, told.soc, told.variant) == (slot, 85000999, 1, 50, 15)
    bench.insert(None, bench.empty[0])
    unread = only(ReturnResult, bench.frames())
    assert (unread.serial, unread.state, unread.soc) == (None, 0x11, None)
    bench.fault(Fault(kind=FaultKind.RETURN_CODE, result=0, moves=True, count=1))
    pushed = bench.insert("85000888")
    assert only(ReturnResult, bench.frames()).state == 0
    assert "85000888" in bench.hands
    assert pushed in bench.empty


def test_a_return_that_failed_the_check_is_found_by_the_self_test() -> None:
    bench = Volinks()
    bench.fault(Fault(kind=FaultKind.RETURN_CODE, result=0x24, count=1))
    slot = bench.insert("85000999", bench.empty[0])
    assert only(ReturnResult, bench.frames()).state == 0x24
    bench.run(CALM.self_test_ms)
    found = only(SelfTestReturn, bench.frames())
    assert (found.hole, found.sn, found.state, found.returned) == (slot, 85000999, 1, True)


def test_a_bank_that_came_without_power_is_found_by_the_self_test() -> None:
    bench = Volinks()
    bench.cabinet.restart(bench.now_ms)
    slot = bench.insert("85000999", bench.empty[0])
    assert bench.frames() == []
    bench.run(10_000)
    found = only(SelfTestReturn, bench.frames())
    assert (found.hole, found.sn) == (slot, 85000999)


def test_what_happens_without_a_network_is_seen_in_the_next_inventory_only() -> None:
    bench = Volinks()
    bench.cabinet.disconnect(bench.now_ms)
    slot = bench.insert("85000999", bench.empty[0])
    bench.cabinet.connect(bench.now_ms)
    bench.run(10_000)
    assert bench.frames() == []
    assert (slot, "85000999") in seen(bench)


def test_it_restarts_when_its_heartbeats_do_not_come_back() -> None:
    bench = Volinks(tuning=Tuning(reboot_ms=(1000, 1000)))
    for _ in range(5):
        bench.run(540_000)
        beat = bench.sent[-1]
        assert beat.topic == topics.topic(bench.station.identity, topics.Kind.HEART)
        assert isinstance(codec.decode_up(beat.payload), Heartbeat)
        bench.raw(beat.payload, topics.Kind.HEART)
    assert bench.hangups == 0
    bench.run(3 * 540_000)
    assert bench.hangups == 1
    assert len(bench.opened) == 2


@pytest.mark.parametrize(
    ("kind", "error"), [(FaultKind.WRONG_LENGTH, LengthMismatch), (FaultKind.WRONG_CHECKSUM, ChecksumMismatch)]
)
def test_damaged_frames(kind: FaultKind, error: type[Exception]) -> None:
    bench = Volinks()
    bench.fault(Fault(kind=kind, count=1))
    bench.say(CHECK)
    with pytest.raises(error):
        bench.frames()
    assert seen(bench) == bench.occupied


def test_unread_values_twice_and_lost_frames() -> None:
    bench = Volinks()
    bench.fault(Fault(kind=FaultKind.SENTINELS, count=1))
    frame = inventory_of(bench)
    assert {(hole.soc, hole.temp_c, hole.charge_v) for hole in frame.holes if hole.occupied} == {(None, None, None)}
    bench.fault(Fault(kind=FaultKind.DUPLICATE, count=1))
    bench.say(CHECK)
    first, second = bench.frames()
    assert first == second
    bench.fault(Fault(kind=FaultKind.DROP_EVENTS, count=1))
    bench.say(CHECK)
    assert bench.frames() == []


def test_a_connection_lost_before_the_acknowledgement() -> None:
    bench = Volinks()
    serial = bench.occupied[0][1]
    bench.fault(Fault(kind=FaultKind.LOST_PUBACK, count=1))
    bench.say(PopBySerial(sn=int(serial)))
    assert bench.hangups == 1
    assert serial in bench.hands
    bench.run(10_000)
    assert bench.cabinet.phase is Phase.WELCOMED


def test_other_commands() -> None:
    bench = Volinks()
    bench.say(Plain(Word.GET_WIFI))
    assert only(WifiScan, bench.frames()).ssids == ("Cafe, upstairs", "Guest")
    bench.say(SetVolume(30))
    bench.raw(b'{"cmd":"popup","data":16}')
    assert only(PopByHoleResult, bench.frames()).state == 0xFF
    bench.raw(b"\xff")
    assert bench.cabinet.unreadable == 2
    bench.say(Plain(Word.REBOOT))
    bench.run(2000)
    assert (bench.hangups, len(bench.opened)) == (1, 2)


def answer(bench: Volinks, data: str, code: int = 200) -> None:
    text = json.dumps({"code": code, "type": 0, "data": data, "msg": "", "time": bench.now_ms})
    bench.cabinet.answered(bench.calls[-1], 200, text, bench.now_ms)
    bench.run(0)


def test_http_gives_the_broker_and_takes_uploads_and_returns() -> None:
    bench = Volinks(http=True)
    uuid = bench.station.identity
    call = bench.calls[-1]
    assert (call.path, call.parameters["uuid"]) == ("/api/rentbox/client/connect", uuid)
    assert call.body is not None
    assert b"software=" in call.body
    answer(bench, f"C-{uuid},powerbank,broker.example,1884,{uuid},secret,{bench.now_ms}")
    session = bench.opened[-1]
    assert isinstance(session, ConnectVendor)
    assert (session.client_id, session.host, session.port) == (f"C-{uuid}", "broker.example", 1884)
    assert (session.username, session.password) == (uuid, "secret")
    bench.run(60_000)
    upload = bench.calls[-2]
    assert upload.path == "/api/rentbox/client/upload"
    assert isinstance(codec.decode_up(upload.body or b""), Inventory)
    assert bench.calls[-1].path == "/api/advert/rentbox/distribute/list"
    bench.insert("85000999", bench.empty[0])
    told = bench.calls[-1]
    assert (told.path, told.parameters["singleSN"]) == ("/api/rentbox/order/return", "85000999")
    bench.fault(Fault(kind=FaultKind.RETURN_CODE, result=0x24, count=1))
    bench.insert("85000888", bench.empty[0])
    assert bench.calls[-1] is told
    assert all(sign_ok(call.parameters) for call in bench.calls)


@pytest.mark.parametrize(("status", "data", "code"), [(200, "a,b", 200), (200, "", 403), (0, "", 0), (404, "", 404)])
def test_a_refused_connect_is_tried_again(status: int, data: str, code: int) -> None:
    bench = Volinks(http=True)
    text = json.dumps({"code": code, "data": data}) if status == 200 else "no"
    bench.cabinet.answered(bench.calls[-1], status, text, bench.now_ms)
    bench.run(60_000)
    assert [call.name for call in bench.calls] == ["connect", "connect"]
    assert bench.opened == []


@pytest.mark.parametrize("kind", [Kind.VOLINKS, Kind.VOLINKS_OLD])
def test_the_same_seed_gives_the_same_bytes(kind: Kind) -> None:
    def life() -> list[bytes]:
        bench = Volinks(kind, Tuning())
        bench.say(Plain(Word.CHECK_ALL))
        bench.say(PopBySerial(sn=int(bench.occupied[0][1])))
        bench.run(3_600_000)
        return [each.payload for each in bench.sent]

    assert life() == life()
    assert encode_down(CHECK)
