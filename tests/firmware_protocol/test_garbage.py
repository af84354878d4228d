"""Whatever the bytes, only declared errors come out, quickly and without eating memory."""

import time
import tracemalloc
from contextlib import nullcontext, suppress
from itertools import product

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_protocol import examples, topics
from firmware_protocol.channels import up_kind
from firmware_protocol.dialects.native import NATIVE, Encoding
from firmware_protocol.errors import FrameTooLarge, FrameTruncated, MalformedFrame, ProtocolError
from firmware_protocol.limits import MAX_FRAME_BYTES
from firmware_protocol.messages import UpFrame
from tests.firmware_protocol.strategies import any_command, any_control, any_up

KINDS = st.sampled_from(topics.UpKind)
CONTENT_TYPES = st.sampled_from([None, "application/json", "application/cbor"]) | st.text(max_size=20)
#: Bytes that open something: these get further than random ones do.
HEADS = st.sampled_from([b"", b"{", b'{"v":1,', b"\xa1", b"\xb8\xff", b"\xa5av\x01"])


def decode_everywhere(payload: bytes, kind: topics.UpKind, content_type: str | None) -> None:
    """Every entrance; anything but a declared error fails the test."""
    with suppress(ProtocolError):
        NATIVE.decode(topics.up("A", kind), payload, content_type)
    with suppress(ProtocolError):
        NATIVE.decode_command(payload, content_type)
    with suppress(ProtocolError):
        NATIVE.decode_control(payload, content_type)
    with suppress(ProtocolError):
        NATIVE.decode_any(payload)


@given(head=HEADS, tail=st.binary(max_size=300), kind=KINDS, content_type=CONTENT_TYPES)
@settings(max_examples=1500, deadline=None)
def test_random_bytes(head: bytes, tail: bytes, kind: topics.UpKind, content_type: str | None) -> None:
    decode_everywhere(head + tail, kind, content_type)


@given(topic=st.text(max_size=80) | st.from_regex(r"vb/v1/[^/]*/(up|down)/[a-z]*", fullmatch=True))
@settings(max_examples=300, deadline=None)
def test_random_topics(topic: str) -> None:
    with suppress(ProtocolError):
        NATIVE.decode(topic, b"{}")
    with suppress(ProtocolError):
        NATIVE.decode_down(topic, b"{}")


#: Edits of a valid frame: what to do, where, and with which byte.
EDITS = st.lists(
    st.tuples(st.sampled_from(["set", "insert", "delete", "cut", "double"]), st.integers(0, 2000), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)

#: Three for each frame: to make a frame takes longer than to damage and decode it.
DAMAGES = st.lists(EDITS, min_size=3, max_size=3)


def edited(payload: bytes, edits: list[tuple[str, int, int]]) -> bytes:
    work = bytearray(payload)
    for what, where, byte in edits:
        at = where % (len(work) + 1)
        if what == "set" and at < len(work):
            work[at] = byte
        elif what == "insert":
            work.insert(at, byte)
        elif what == "delete":
            del work[at : at + 1 + byte % 4]
        elif what == "cut":
            del work[at:]
        elif what == "double":
            work[at:at] = work[at : at + byte]
    return bytes(work)


@given(frame=any_up, encoding=st.sampled_from(Encoding), damages=DAMAGES)
@settings(max_examples=500, deadline=None)
def test_damaged_messages(frame: UpFrame, encoding: Encoding, damages: list[list[tuple[str, int, int]]]) -> None:
    payload = NATIVE.encode_up(frame, encoding)
    for edits in damages:
        decode_everywhere(edited(payload, edits), up_kind(frame.message), None)


@given(command=any_command, control=any_control, encoding=st.sampled_from(Encoding), damages=DAMAGES)
@settings(max_examples=200, deadline=None)
def test_damaged_downlinks(
    command: object, control: object, encoding: Encoding, damages: list[list[tuple[str, int, int]]]
) -> None:
    sent = NATIVE.encode_command("A", command, encoding), NATIVE.encode_control("A", control, encoding)  # type: ignore[arg-type]  # drawn from unions
    for payload, edits in product((published.payload for published in sent), damages):
        decode_everywhere(edited(payload, edits), topics.UpKind.EVENT, None)


def _json(data: bytes) -> bytes:
    return b'{"v":1,"boot":1,"seq":1,"type":"slot_locked","data":{"slot":1,"x":' + data + b"}}"


HOSTILE = {
    "deep arrays": _json(b"[" * 30_000 + b"]" * 30_000),
    "deep objects": _json(b'{"a":' * 12_000 + b"1" + b"}" * 12_000),
    "unclosed deep arrays": b'{"x":' + b"[" * 65_000,
    "escaped quotes": b"{" * 9 + b'"' + b'\\"' * 32_000,
    "quotes": b"{" * 9 + b'"' * 64_000,
    "backslashes": b"{" * 9 + b'"' + b"\\" * 64_001,
    "many keys": b"{" + b",".join(b'"%d":1' % n for n in range(6000)) + b"}",
    "surrogates": _json(b'"' + b"\\ud800" * 10_000 + b'"'),
    "spaces": b" " * 65_536,
    "deep cbor arrays": b"\xa1av" + b"\x81" * 65_000,
    "deep cbor tags": b"\xa1av" + b"\xc1" * 65_000,
    "cbor array of 2^64": b"\xa1av\x9b" + b"\xff" * 8,
    "cbor map of 2^64": b"\xbb" + b"\xff" * 8,
    "cbor bytes of 2^62": b"\xa1av\x5b\x3f" + b"\xff" * 7,
    "cbor text of 2^32": b"\xa1av\x7a\xff\xff\xff\xff",
    "cbor array of 2^20": b"\xa1av\x9a\x00\x10\x00\x00",
    "cbor bignum": b"\xa1av\xc2\x59\xff\x00" + b"\xff" * 0xFF00,
    "cbor regular expression": b"\xa1av\xd8\x23\x78\x20" + b"(a+)+" * 6 + b"$$",
    "cbor shared reference to itself": b"\xa1av\xd8\x1c\x81\xd8\x1d\x00",
    "cbor decimal of a huge exponent": b"\xa1av\xc4\x82\x1a\x7f\xff\xff\xff\x01",
    "cbor indefinite map": b"\xbfav\x01\xff",
    "cbor indefinite text": b"\xa1av\x7f" + b"\x60" * 60_000 + b"\xff",
    "cbor half float NaN": b"\xa1av\xf9\x7e\x00",
    "cbor reserved": b"\xa1av\xfc",
    "cbor break": b"\xa1av\xff",
    "cbor many keys": cbor2.dumps({f"{n:x}": 1 for n in range(9000)}),
}
#: Below a key that nobody knows, whatever JSON allows is allowed.
IGNORED = {
    "long number": _json(b"9" * 65_000),
    "long fraction": _json(b"0." + b"9" * 65_000),
    "huge exponent": _json(b"1e" + b"9" * 60_000),
}


@pytest.mark.parametrize("name", [*HOSTILE, *IGNORED])
def test_hostile_frames_cost_little(name: str) -> None:
    payload = HOSTILE.get(name) or IGNORED[name]
    expected = pytest.raises(ProtocolError) if name in HOSTILE else nullcontext()
    tracemalloc.start()
    started = time.process_time()
    with expected:
        NATIVE.decode("vb/v1/A/up/event", payload)
    spent = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < 0.5  # tracing slows down; a quadratic scan of 64 KiB takes minutes
    assert peak < 100 * MAX_FRAME_BYTES


def test_one_byte_too_many() -> None:
    payload = _json(b"1")
    largest = payload + b" " * (MAX_FRAME_BYTES - len(payload))
    assert NATIVE.decode("vb/v1/A/up/event", largest).seq == 1
    with pytest.raises(FrameTooLarge, match=r"at most 65536 bytes, got 7b22.*\(65537 bytes\)"):
        NATIVE.decode("vb/v1/A/up/event", largest + b" ")


@pytest.mark.parametrize("encoding", Encoding)
def test_every_truncation_is_an_error(encoding: Encoding) -> None:
    for frame in examples.UP:
        sent = NATIVE.publish_up(frame, encoding)
        for length in range(len(sent.payload)):
            with pytest.raises((FrameTruncated, MalformedFrame)):
                NATIVE.decode(sent.topic, sent.payload[:length])
