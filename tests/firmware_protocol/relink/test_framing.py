"""Frames out of a stream, however it was cut into reads."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_protocol.dialects.relink import codec, up
from firmware_protocol.dialects.relink.codes import Generation
from firmware_protocol.dialects.relink.framing import Framer
from firmware_protocol.errors import FrameTooLarge, LengthMismatch, ProtocolError
from tests.firmware_protocol.relink.strategies import up_2
from tests.firmware_protocol.vectors import Vector, load


def taken(framer: Framer) -> list[bytes]:
    frames = []
    while (frame := framer.take()) is not None:
        frames.append(frame)
    return frames


@given(messages=st.lists(up_2, min_size=1, max_size=8), cuts=st.lists(st.integers(0, 2000), max_size=12))
@settings(max_examples=150, deadline=None)
def test_reads_may_be_cut_anywhere(messages: list[up.UpMessage], cuts: list[int]) -> None:
    frames = [codec.encode_up(message, Generation.TWO, b"s") for message in messages]
    stream = b"".join(frames)
    ends = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    framer = Framer()
    seen = []
    for start, end in pairwise(ends):
        framer.feed(stream[start:end])
        seen += taken(framer)
    assert seen == frames
    assert framer.pending == b""


@pytest.mark.parametrize("vector", [v for v in load("relink") if v.expect == "split"], ids=lambda v: v.name)
def test_golden_streams(vector: Vector) -> None:
    framer = Framer()
    framer.feed(vector.payload)
    assert len(taken(framer)) == len(vector.decoded["frames"])
    assert framer.pending.hex().upper() == vector.decoded["rest"]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\x00\x06", LengthMismatch),
        (b"\x00\x00" * 20, LengthMismatch),
        (b"\x03\xff", FrameTooLarge),
        (b"\xff\xff", FrameTooLarge),
        (b"GET / HTTP/1.1\r\n", FrameTooLarge),
    ],
)
def test_a_lost_stream_stays_lost_and_loses_nothing_before(data: bytes, error: type[ProtocolError]) -> None:
    frame = bytes.fromhex("00076102006D8F53F9")
    framer = Framer()
    framer.feed(frame + data)
    assert framer.take() == frame
    for _ in range(2):
        with pytest.raises(error, match=r"expected a length .*got"):
            framer.take()
        framer.feed(frame)


@given(data=st.binary(max_size=3000))
@settings(max_examples=200, deadline=None)
def test_random_streams(data: bytes) -> None:
    framer = Framer()
    framer.feed(data)
    try:
        frames = taken(framer)
    except ProtocolError:
        return
    assert b"".join(frames) + framer.pending == data
    assert len(framer.pending) < 1024
