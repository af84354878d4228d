"""Every frame of the guide, both ways; whatever the bytes, only declared errors."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_protocol.dialects.volinks import codec, envelope
from firmware_protocol.dialects.volinks.boards import Hole, Inventory
from firmware_protocol.dialects.volinks.codes import NAMED_ONLY, PopOutcome, Revision, learn
from firmware_protocol.dialects.volinks.describe import describe
from firmware_protocol.dialects.volinks.frames import (
    Heartbeat,
    NamedFrame,
    PopByHoleResult,
    PopBySerialResult,
    ReturnResult,
    SelfTestReturn,
    UpFrame,
    WifiScan,
)
from firmware_protocol.errors import (
    ChecksumMismatch,
    FrameTooLarge,
    FrameTruncated,
    InvalidField,
    LengthMismatch,
    ProtocolError,
    UnknownMessageType,
    WrongHead,
)
from tests.firmware_protocol.vectors import Vector, load
from tests.firmware_protocol.volinks.strategies import inventories, small_frames

UPLINKS = [vector for vector in load("volinks") if vector.expect is not None]
BINARY = [vector for vector in UPLINKS if vector.payload[:1] == b"\xa8"]


@pytest.mark.parametrize("vector", [v for v in BINARY if v.accepted], ids=lambda v: v.name)
def test_golden_frames_encode_to_their_own_bytes(vector: Vector) -> None:
    assert codec.encode_up(codec.decode_up(vector.payload)) == vector.payload


@pytest.mark.parametrize("vector", [v for v in BINARY if not v.accepted], ids=lambda v: v.name)
def test_golden_rejects_say_what_the_vector_says(vector: Vector) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.decode_up(vector.payload)
    assert f"reject_{caught.value.code}" == vector.expect


@given(frame=small_frames)
@settings(max_examples=300, deadline=None)
def test_frames_round_trip(frame: UpFrame) -> None:
    payload = codec.encode_up(frame)
    assert envelope.checksum_ok(payload)
    assert codec.decode_up(payload) == frame
    with suppress(ProtocolError):
        msgspec.json.encode(describe(payload))


@given(frame=inventories())
@settings(max_examples=150, deadline=None)
def test_a_commissioned_inventory_round_trips(frame: Inventory) -> None:
    payload = codec.encode_up(frame)
    assert codec.decode_up(payload, layout=frame.shape) == frame
    with suppress(ProtocolError):  # without the layout: right, or refused
        assert codec.decode_up(payload).shape == frame.shape  # type: ignore[union-attr]  # a 0x10 is an Inventory


@given(payload=st.binary(max_size=400))
@settings(max_examples=500, deadline=None)
def test_random_bytes(payload: bytes) -> None:
    for given_payload in (payload, b"\xa8" + payload, envelope.write(payload[0] if payload else 0, payload[1:])):
        for tolerate in (False, True):
            with suppress(ProtocolError):
                codec.decode_up(given_payload, tolerate_checksum=tolerate)
            with suppress(ProtocolError):
                msgspec.json.encode(describe(given_payload, tolerate_checksum=tolerate))


@given(frame=small_frames | inventories(), at=st.integers(0, 10_000), byte=st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_one_wrong_byte_never_passes(frame: UpFrame, at: int, byte: int) -> None:
    payload = bytearray(codec.encode_up(frame))
    payload[at % len(payload)] ^= byte
    with pytest.raises(ProtocolError):
        codec.decode_up(bytes(payload))


FRAME = bytes.fromhex("A8000921100101021A")


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", FrameTruncated),
        (b"\xa8\x00\x04\x21", FrameTruncated),
        (b"\xa9" + FRAME[1:], WrongHead),
        (FRAME + b"\0", LengthMismatch),  # sums to zero all the same
        (FRAME[:-1], LengthMismatch),
        (FRAME[:-1] + b"\0", ChecksumMismatch),
        (bytes(0x10000), FrameTooLarge),
        (envelope.write(0x21, b"\x10\x01\x01"), FrameTruncated),
        (envelope.write(0x31, b"\x10\x01\x01"), FrameTruncated),
        (envelope.write(0x28, b"\x10\x01\x01"), FrameTruncated),
        (envelope.write(0x40, bytes(7)), FrameTruncated),
        (envelope.write(0x40, bytes(11)), LengthMismatch),
        (envelope.write(0x7A, b""), FrameTruncated),
        (envelope.write(0xAB, b""), UnknownMessageType),
    ],
)
def test_what_is_refused(payload: bytes, error: type[ProtocolError]) -> None:
    with pytest.raises(error) as caught:
        codec.decode_up(payload)
    assert "got" in str(caught.value)


def test_a_station_may_tolerate_checksums() -> None:
    wrong = FRAME[:-1] + b"\0"
    assert codec.decode_up(wrong, tolerate_checksum=True) == codec.decode_up(FRAME)
    with pytest.raises(LengthMismatch):
        codec.decode_up(wrong + b"\0", tolerate_checksum=True)


@pytest.mark.parametrize("command", sorted(NAMED_ONLY))
def test_commands_with_a_name_only_are_no_error(command: int) -> None:
    frame = codec.decode_up(envelope.write(command, b"abc"))
    assert isinstance(frame, NamedFrame)
    assert (frame.name, frame.data) == (NAMED_ONLY[command], b"abc")


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (PopByHoleResult(board=256, hole=1, state=1), "PopByHoleResult"),
        (PopBySerialResult(byte4=0, sn=-1, state=1), "PopBySerialResult"),
        (ReturnResult(board=1, hole=1, area=0, sn=1, state=1, soc_raw=80), "charge"),
    ],
)
def test_values_that_fit_no_field_are_not_sent(frame: UpFrame, field: str) -> None:
    with pytest.raises(InvalidField, match=field):
        codec.encode_up(frame)


def test_sentinels_are_none() -> None:
    unread = Hole(hole=1, state=1, sn=0xFFFF_FFFF, soc_raw=255, temp_raw=255, charge_v_raw=255, charge_a_raw=255)
    assert (unread.serial, unread.soc, unread.temp_c, unread.charge_v, unread.charge_a) == (None,) * 5
    assert (unread.battery_mv, unread.occupied, unread.rentable) == (None, True, False)
    assert Hole(hole=1, state=1, sn=0, soc_raw=101).soc is None
    assert Hole(hole=1, state=1, sn=85000001, battery_raw=236, temp_raw=0).battery_mv == 4360
    garbage = Hole(hole=1, state=0, sn=0x00040000, battery_raw=0x6D)
    assert not garbage.occupied
    assert not garbage.rentable


def test_a_return_by_its_length() -> None:
    full = ReturnResult(board=1, hole=2, area=0, sn=93198088, state=1, soft=202, soc_raw=95)
    assert [len(codec.encode_up(frame)) for frame in (full, msgspec.structs.replace(full, soc_raw=None))] == [15, 14]
    bare = msgspec.structs.replace(full, soc_raw=None, soft=None)
    decoded = codec.decode_up(codec.encode_up(bare))
    assert decoded == bare
    assert (bare.variant, bare.soc, bare.soft) == (13, None, None)


@pytest.mark.parametrize(
    ("text", "csq", "bp"),
    [
        ("CSQ:27;BP:0", 27, 0),
        ("BP:3;CSQ:99;X:1", 99, 3),
        ("csq: 5", 5, None),
        ("CSQ:;BP:x", None, None),
        ("CSQ:45;BP:9", None, None),
        ("CSQ:-1", None, None),
        ("CSQ:" + "1" * 60, None, None),
        ("", None, None),
    ],
)
def test_heartbeats_are_read_tolerantly(text: str, csq: int | None, bp: int | None) -> None:
    beat = Heartbeat(board=16, data=text.encode())
    assert (beat.csq, beat.bp) == (csq, bp)


@pytest.mark.parametrize(
    ("text", "ssids"),
    [
        ('["Cafe-5G","Guest"]', ("Cafe-5G", "Guest")),
        ('["A, B","C"]', ("A, B", "C")),
        ("[Cafe,Guest]", ("Cafe", "Guest")),
        ('["Cafe","Gu"est"]', ("Cafe", 'Gu"est')),
        ("[]", ()),
        ("", ()),
    ],
)
def test_wifi_names(text: str, ssids: tuple[str, ...]) -> None:
    assert WifiScan(data=text.encode()).ssids == ssids


#: Of the guide's result codes (volinks.md §5.3), in both revisions.
DID_NOT = {0x00, 0x87, 0x88, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF}


@pytest.mark.parametrize("state", range(256))
def test_every_pop_code_has_a_safe_outcome(state: int) -> None:
    results = PopByHoleResult(board=1, hole=1, state=state), PopBySerialResult(byte4=1, sn=5, state=state)
    for result in results:
        if state == 1:
            assert result.outcome is PopOutcome.DISPENSED
        elif state in DID_NOT:
            assert result.outcome is PopOutcome.NOT_DISPENSED
        else:
            assert result.outcome is PopOutcome.UNCERTAIN


def test_revisions_are_learnt_from_codes_that_only_one_guide_has() -> None:
    def pop(state: int) -> Revision:
        return PopBySerialResult(byte4=1, sn=5, state=state).revision

    assert [pop(state) for state in (0, 1, 0x11, 0x12, 0x77)] == [Revision.UNKNOWN] * 5
    assert pop(0xFC) is Revision.NEW
    assert pop(0x24) is Revision.OLD
    returned = [ReturnResult(board=1, hole=1, area=0, sn=1, state=state).revision for state in (1, 3, 0x24)]
    assert returned == [Revision.UNKNOWN, Revision.OLD, Revision.NEW]
    assert learn(Revision.OLD, Revision.UNKNOWN) is Revision.OLD
    assert learn(Revision.UNKNOWN, Revision.NEW) is Revision.NEW


def test_the_return_states_that_end_a_rental() -> None:
    taken = {state for state in range(256) if SelfTestReturn(board=1, hole=1, state=state).returned}
    assert taken == {0x01, 0x03}
