"""Both generations, both ways; whatever the bytes, only declared errors."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_protocol.dialects.relink import codec, down, up
from firmware_protocol.dialects.relink.codes import Command, Generation
from firmware_protocol.dialects.relink.describe import describe
from firmware_protocol.dialects.relink.fields import bank_raw, bank_text
from firmware_protocol.dialects.relink.packet import Packet, close_packet, open_packet, token_of
from firmware_protocol.dialects.relink.records import Bank
from firmware_protocol.errors import (
    ChecksumMismatch,
    FrameTooLarge,
    FrameTruncated,
    InvalidField,
    LengthMismatch,
    MalformedFrame,
    ProtocolError,
    TokenMismatch,
    UnknownMessageType,
    UnsupportedVersion,
)
from tests.firmware_protocol.relink.strategies import down_1, down_2, up_1, up_2
from tests.firmware_protocol.vectors import Vector, load

ONE, TWO = Generation.ONE, Generation.TWO
SECRET = b"TESTKEY1"
SINGLE = [vector for vector in load("relink") if vector.expect == "accept"]
#: `expect` of a vector and the code of the error that says so.
CODES = {"bad_checksum": "checksum", "reject_length": "length"}


@pytest.mark.parametrize("vector", SINGLE, ids=lambda v: v.name)
def test_golden_frames_encode_to_their_own_bytes(vector: Vector) -> None:
    packet = open_packet(vector.payload)
    generation = Generation(vector.generation or 0)
    secret = None if vector.secret_for_token is None else vector.secret_for_token.encode()
    if vector.direction == "uplink":
        encoded = codec.encode_up(codec.decode_up(packet, generation), generation, secret)
    else:
        encoded = codec.encode_down(codec.decode_down(packet, generation), generation, secret, version=packet.version)
    if packet.command == Command.ICCID and packet.payload:
        # This one ends without the NUL that every other text has, and that we write.
        assert encoded[9:] == packet.payload[:1] + bytes((packet.payload[1] + 1,)) + packet.payload[2:] + b"\0"
    elif secret is None and generation is TWO:  # made with somebody's secret
        assert encoded[:5] + encoded[9:] == vector.payload[:5] + vector.payload[9:]
    else:
        assert encoded == vector.payload


@pytest.mark.parametrize("vector", [v for v in load("relink") if v.expect in CODES], ids=lambda v: v.name)
def test_golden_rejects_say_what_the_vector_says(vector: Vector) -> None:
    with pytest.raises(ProtocolError) as caught:
        open_packet(vector.payload)
    assert caught.value.code == CODES[vector.expect or ""]


@pytest.mark.parametrize("vector", [v for v in SINGLE if v.decoded["cmd"] == "0x60"], ids=lambda v: v.name)
def test_a_login_decides_the_generation(vector: Vector) -> None:
    packet = open_packet(vector.payload)
    if vector.direction == "downlink":
        return
    assert codec.generation_of(packet) == vector.generation
    other = msgspec.structs.replace(packet, version=3 - packet.version)
    with pytest.raises(UnsupportedVersion, match="expected version"):
        codec.generation_of(other)


def test_only_a_login_opens_a_connection() -> None:
    with pytest.raises(MalformedFrame, match="expected a login"):
        codec.generation_of(Packet(command=0x61, version=1))


@given(message=up_1)
@settings(max_examples=300, deadline=None)
def test_first_generation_from_the_cabinet(message: up.UpMessage) -> None:
    assert codec.decode_up(open_packet(codec.encode_up(message, ONE)), ONE) == message


@given(message=up_2)
@settings(max_examples=300, deadline=None)
def test_second_generation_from_the_cabinet(message: up.UpMessage) -> None:
    packet = open_packet(codec.encode_up(message, TWO, SECRET), secret=SECRET)
    assert packet.version == 2
    assert codec.decode_up(packet, TWO) == message


@given(message=down_1)
@settings(max_examples=200, deadline=None)
def test_first_generation_to_the_cabinet(message: down.DownMessage) -> None:
    packet = open_packet(codec.encode_down(message, ONE))
    assert (packet.version, packet.token.hex()) == (1, "11223344")
    assert codec.decode_down(packet, ONE) == message


@given(message=down_2)
@settings(max_examples=200, deadline=None)
def test_second_generation_to_the_cabinet(message: down.DownMessage) -> None:
    packet = open_packet(codec.encode_down(message, TWO, SECRET), secret=SECRET)
    assert packet.version == (2 if packet.command in {0x60, 0x61, 0x66} else 1)
    assert codec.decode_down(packet, TWO) == message


@given(command=st.sampled_from([*Command]) | st.integers(0, 255), payload=st.binary(max_size=120))
@settings(max_examples=500, deadline=None)
def test_random_payloads(command: int, payload: bytes) -> None:
    raw = close_packet(command, 2, payload)
    for generation in Generation:
        with suppress(ProtocolError):
            codec.decode_up(open_packet(raw), generation)
        with suppress(ProtocolError):
            codec.decode_down(open_packet(raw), generation)
    with suppress(ProtocolError):
        msgspec.json.encode(describe(raw, secret=SECRET))
    with suppress(ProtocolError):
        describe(payload)


GOOD = close_packet(0x65, 1, b"\x03")


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", FrameTruncated),
        (GOOD[:8], FrameTruncated),
        (GOOD + b"\0", LengthMismatch),
        (GOOD[:-1], LengthMismatch),
        (GOOD[:-1] + b"\x02", ChecksumMismatch),
        (bytes(1025), FrameTooLarge),
    ],
)
def test_frames_that_are_refused(raw: bytes, error: type[ProtocolError]) -> None:
    with pytest.raises(error, match=r"expected .*got"):
        open_packet(raw)
    if error is ChecksumMismatch:
        assert open_packet(raw, tolerate_checksum=True).payload == b"\x02"


@pytest.mark.parametrize(
    ("command", "payload", "generation", "error"),
    [
        (0x60, b"\0\0\0\1\x02\x33\0", ONE, FrameTruncated),
        (0x60, b"\0\0\0\1\x02\x33\0\5AB", ONE, FrameTruncated),
        (0x60, b"\0\0\0\1\xa0\xa0\0\0", ONE, UnsupportedVersion),
        (0x60, b"\0\0\0\1\x02\x33\0\3\xff\xffA", ONE, InvalidField),
        (0x60, b"\0\0\0\1\xa0\xa0\0\1A" + bytes(6) + bytes(16), TWO, LengthMismatch),
        (0x64, bytes(2 + 16), TWO, LengthMismatch),
        (0x64, bytes(1 + 11), ONE, LengthMismatch),
        (0x65, bytes(10), TWO, LengthMismatch),
        (0x65, bytes(14), TWO, LengthMismatch),
        (0x65, bytes(12), ONE, LengthMismatch),
        (0x66, bytes(9), TWO, FrameTruncated),
        (0x66, bytes(18), TWO, LengthMismatch),
        (0x61, b"\0", TWO, LengthMismatch),
        (0x83, bytes(10), ONE, UnknownMessageType),
        (0x73, b"\1", TWO, UnknownMessageType),
        (0x99, b"", ONE, UnknownMessageType),
    ],
)
def test_payloads_that_are_refused(
    command: int, payload: bytes, generation: Generation, error: type[ProtocolError]
) -> None:
    with pytest.raises(error, match=r"expected"):
        codec.decode_up(Packet(command=command, version=int(generation), payload=payload), generation)


def test_a_login_is_not_refused_for_its_end() -> None:
    start = b"\0\0\0\1\x02\x33\0\3AB\0"
    for end in (b"\0", b"\0\5AB", b"\0\2A\0rest"):
        login = codec.decode_up(Packet(command=0x60, version=1, payload=start + end), ONE)
        assert isinstance(login, up.Login1)
        assert login.box_id == "AB"
        assert login.reg_data == ("A" if end.endswith(b"rest") else None)


@pytest.mark.parametrize(
    ("message", "generation"),
    [
        (down.Borrow(256), ONE),
        (down.SetVolume(16), TWO),
        (down.AskApn(5), ONE),
        (down.AskApn(1), TWO),
        (down.LoginReply1(1), TWO),
        (down.LoginReply2(result=1, nonce=1, timestamp=2**32), TWO),
        (down.Ask(Command.BORROW), TWO),
        (down.SetServer(address="ünsafe", port="1", heartbeat_s=30), ONE),
        (down.SetServer(address="x" * 300, port="1", heartbeat_s=30), ONE),
    ],
)
def test_what_cannot_be_said_is_not_sent(message: down.DownMessage, generation: Generation) -> None:
    with pytest.raises(InvalidField):
        codec.encode_down(message, generation, SECRET)


def test_tokens_cover_the_payload_only() -> None:
    borrow = codec.encode_down(down.Borrow(1), TWO, SECRET)
    eject = codec.encode_down(down.Eject(1), TWO, SECRET)
    assert borrow[5:9] == eject[5:9] == token_of(b"\x01", SECRET)
    assert open_packet(borrow, secret=SECRET).payload == b"\x01"
    with pytest.raises(TokenMismatch, match="expected the token"):
        open_packet(borrow, secret=b"other")


def test_bank_ids() -> None:
    assert bank_text(b"STWA\x02\x01\x00\x50") == "STWA02010050"
    assert bank_text(bytes(8)) is None
    assert bank_text(b"ST-A\x02\x01\x00\x50") == "53542D4102010050"
    for text in ("STWA02010050", "53542D4102010050", None):
        assert bank_text(bank_raw(text)) == text
    for wrong in ("", "STWA0201005", "STWA0201005G", "ÄTWA02010050", "0" * 16):
        with pytest.raises(InvalidField, match="bank: expected"):
            bank_raw(wrong)


def bank(**values: int) -> Bank:
    shown = {"slot": 1, "level_raw": 80, "mv": 3900, "ma": 0, "temp_c": -5, "status_raw": 0xC0, "soh": 100} | values
    return Bank(bank="DCHA54000016", **shown)


@pytest.mark.parametrize(
    "values",
    [{"status_raw": 0xE0}, {"status_raw": 0xC7}, {"status_raw": 0xC1}, {"level_raw": 0}, {"mv": 2010}, {"mv": 2999}],
)
def test_a_dead_bank_is_not_rented_out(values: dict[str, int]) -> None:
    assert bank(**values).dead
    assert not bank().dead
    assert not bank(status_raw=0x48).dead


def test_values_that_make_no_sense_are_none() -> None:
    assert (bank(level_raw=101).level, bank(soh=255).health) == (None, None)
    assert bank().level == 80
