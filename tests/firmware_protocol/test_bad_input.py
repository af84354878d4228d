"""Each kind of bad input has its declared error, and the error says where, what was expected and what came."""

from typing import Any

import cbor2
import msgspec
import pytest

from firmware_protocol.dialects.native import NATIVE, Encoding
from firmware_protocol.errors import (
    FrameTruncated,
    InvalidField,
    MalformedFrame,
    ProtocolError,
    UnknownMessageType,
    UnsupportedVersion,
    WrongChannel,
    quote,
)
from firmware_protocol.messages import ConfigReport, PowerBankInserted, SlotLocked

EVENT = "vb/v1/VB-0001/up/event"


def frame(data: Any = None, **envelope: Any) -> dict[str, Any]:
    """A valid slot_locked with some keys replaced."""
    return {
        "v": 1,
        "boot": 1,
        "seq": 1,
        "type": "slot_locked",
        "data": {"slot": 1} if data is None else data,
        **envelope,
    }


def without(key: str) -> dict[str, Any]:
    tree = frame()
    del tree[key]
    return tree


def config(values: dict[Any, Any]) -> dict[str, Any]:
    return frame({"version": 1, "values": values}, type="config_report")


def inserted(**data: Any) -> dict[str, Any]:
    return frame({"slot": 1, **data}, type="power_bank_inserted")


def packed(tree: Any, encoding: Encoding) -> bytes:
    return msgspec.json.encode(tree) if encoding is Encoding.JSON else cbor2.dumps(tree)


#: Trees that both encodings can say.
CASES: dict[str, tuple[Any, type[ProtocolError], str]] = {
    "empty": ({}, MalformedFrame, "frame: the envelope lacks type, v, boot, seq, data"),
    "no boot": (without("boot"), MalformedFrame, "frame: the envelope lacks boot"),
    "no data": (without("data"), MalformedFrame, "frame: the envelope lacks data"),
    "version 2": (frame(v=2, type="new"), UnsupportedVersion, "v: expected 1, got 2"),
    "version text": (frame(v="1"), UnsupportedVersion, "v: expected 1, got '1'"),
    "version true": (frame(v=True), UnsupportedVersion, "v: expected 1, got True"),
    "unknown type": (frame(type="slot_loked"), UnknownMessageType, "config_report, got 'slot_loked'"),
    "type of a command": (frame(type="reboot"), UnknownMessageType, "got 'reboot'"),
    "type is no text": (frame(type=7), InvalidField, "type: expected `str`, got 7"),
    "wrong JSON type": (frame({"slot": "3"}), InvalidField, "data.slot: expected `int`, got '3'"),
    "a fraction": (frame({"slot": 1.5}), InvalidField, "data.slot: expected `int`, got 1.5"),
    "a boolean": (frame({"slot": True}), InvalidField, "data.slot: expected `int`, got True"),
    "missing field": (frame({}), InvalidField, "data: object missing required field `slot`"),
    "data is a list": (frame([1]), InvalidField, "data: expected `object`, got an array of 1"),
    "slot 0": (frame({"slot": 0}), InvalidField, "data.slot: expected `int` >= 1, got 0"),
    "negative slot": (frame({"slot": -1}), InvalidField, "data.slot: expected `int` >= 1, got -1"),
    "slot beyond all": (frame({"slot": 513}), InvalidField, "data.slot: expected `int` <= 512, got 513"),
    "boot 0": (frame(boot=0), InvalidField, "boot: expected `int` >= 1, got 0"),
    "seq negative": (frame(seq=-1), InvalidField, "seq: expected `int` >= 0, got -1"),
    "seq 2^63": (frame(seq=2**63), InvalidField, "seq: expected `int` <= 9223372036854775807, got 9223372036854775808"),
    "event with seq 0": (frame(seq=0), InvalidField, "seq: expected 1 or more for slot_locked, got 0"),
    "time negative": (frame(at=-1), InvalidField, "at: expected `int` >= 0, got -1"),
    "time in year 10000": (frame(at=253_402_300_800_000), InvalidField, "at: expected `int` <= 253402300799999"),
    "time in seconds as text": (frame(at="now"), InvalidField, "at: expected `int | null`, got 'now'"),
    "serial with a newline": (inserted(serial="PB1\n"), InvalidField, "data.serial: expected `str` matching regex"),
    "serial empty": (inserted(serial=""), InvalidField, "data.serial: expected `str` of length >= 1, got ''"),
    "serial long": (inserted(serial="A" * 65), InvalidField, "data.serial: expected `str` of length <= 64, got 'AAA"),
    "charge 255": (inserted(charge_pct=255), InvalidField, "data.charge_pct: expected `int` <= 100, got 255"),
    "foreign type in data": (frame({"slot": 1, "type": "x"}), InvalidField, "data.type: expected the type of the"),
    "unknown state": (
        frame({"slots": [{"slot": 1, "state": "empty"}, {"slot": 2, "state": "emty"}]}, type="inventory"),
        InvalidField,
        "data.slots[1].state: expected one of empty, occupied, fault, unknown, got 'emty'",
    ),
    "one slot twice": (
        frame({"slots": [{"slot": 2, "state": "empty"}] * 2}, type="inventory"),
        InvalidField,
        "data: `slots` must name each slot once",
    ),
    "a serial of many that no label has": (
        frame({"slots": [{"slot": 1}, {"slot": 2, "serial": "PB 1"}]}, type="slot_telemetry"),
        InvalidField,
        "data: `slots[1].serial` must match regex '^[A-Za-z0-9._:-]+$(?!\\\\n)', is 'PB 1'",
    ),
    "a serial of many beyond ASCII": (
        frame({"slots": [{"slot": 1, "serial": "PB\u00e9"}]}, type="slot_telemetry"),
        InvalidField,
        "data: `slots[0].serial` must match regex",
    ),
    "range backwards": (
        frame({"boot": 1, "first": 5, "last": 4}, type="journal_lost", seq=0),
        InvalidField,
        "data: `last` (4) must not be below `first` (5)",
    ),
    "telemetry on the event topic": (
        frame({"mains": True}, type="heartbeat"),
        WrongChannel,
        "type: heartbeat belongs on vb/v1/VB-0001/up/telemetry, came on …/up/event",
    ),
    "an object as a setting": (config({"a": {"b": 1}}), InvalidField, "data.values[...]: expected `bool | int | float"),
    "a setting beyond 64 bits": (
        config({"a": 2**63}),
        InvalidField,
        "data.values[...]: expected `int` <= 92233720368547",
    ),
    "U+0000 in text": (config({"a": "x\0"}), InvalidField, r"data.values.a: expected text without U+0000, got 'x\x00'"),
    "U+0000 in a key": (config({"x\0": 1}), InvalidField, "a key of data.values: expected text without U+0000"),
    "too deep": (frame({"slot": 1, "x": [[[[[[[1]]]]]]]}), MalformedFrame, "8"),
}


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("name", CASES)
def test_declared_error(name: str, encoding: Encoding) -> None:
    tree, error, words = CASES[name]
    with pytest.raises(error) as caught:
        NATIVE.decode(EVENT, packed(tree, encoding))
    assert words in str(caught.value)
    assert str(caught.value).isprintable()
    assert type(caught.value) is error


BYTES: dict[str, tuple[bytes, type[ProtocolError], str]] = {
    "nothing": (b"", FrameTruncated, "expected a JSON object or a CBOR map, got an empty payload"),
    "spaces": (b"  ", FrameTruncated, "byte 2: JSON ends too early"),
    "json cut behind a sign": (b'{"seq":-', FrameTruncated, "byte 8: JSON ends too early, after "),
    "json cut behind a point": (b'{"seq":31.', FrameTruncated, "byte 10: JSON ends too early, after "),
    "json and one byte": (b"{}x", MalformedFrame, "byte 2: not JSON: trailing characters, got b'x'"),
    "json cut": (b'{"v":1,"bo', FrameTruncated, 'byte 10: JSON ends too early, after \'{"v":1,"bo\''),
    "json array": (
        b"[1]",
        MalformedFrame,
        "byte 0: expected '{' (JSON) or a CBOR map (0xa0 to 0xbf), got 0x5b in 5b315d",
    ),
    "byte order mark": (b"\xef\xbb\xbf{}", MalformedFrame, "byte 0: expected '{' (JSON)"),
    "single quotes": (b"{'v':1}", MalformedFrame, "byte 1: not JSON: object keys must be strings"),
    "not a number": (b'{"v":NaN}', MalformedFrame, "byte 5: not JSON: invalid character"),
    "two frames": (b'{"v":2} {}', MalformedFrame, "byte 8: not JSON: trailing characters"),
    "half a pair": (rb'{"v":"\ud83d"}', MalformedFrame, "byte 6: half of a surrogate pair"),
    "latin-1": (b'{"\xe4":1}', MalformedFrame, "byte 2: not UTF-8"),
    "beyond every float": (b'{"v":1e999}', InvalidField, ": number out of range"),
    "cbor cut": (bytes.fromhex("a26176"), FrameTruncated, "byte 3: CBOR ends too early, in a26176"),
    "cbor array": (bytes.fromhex("8101"), MalformedFrame, "got 0x81 in 8101"),
    "cbor tag": (bytes.fromhex("a16176c101"), MalformedFrame, "CBOR tag 1 is not allowed"),
    "cbor bignum": (bytes.fromhex("a16176c24101"), MalformedFrame, "CBOR tag 2 is not allowed"),
    "cbor indefinite": (bytes.fromhex("bf617601ff"), MalformedFrame, "indefinite length"),
    "cbor key twice": (bytes.fromhex("a2617601617601"), MalformedFrame, "Duplicate map key: 'v'"),
    "cbor key a number": (bytes.fromhex("a10102"), MalformedFrame, "map key must be a text string"),
    "cbor not UTF-8": (bytes.fromhex("a162ff7601"), MalformedFrame, "can't decode byte 0xff"),
    "cbor more": (bytes.fromhex("a0dead"), MalformedFrame, "byte 1: expected the end, got 2 more: dead"),
}


@pytest.mark.parametrize("name", BYTES)
def test_declared_error_of_bytes(name: str) -> None:
    payload, error, words = BYTES[name]
    with pytest.raises(error) as caught:
        NATIVE.decode(EVENT, payload)
    assert words in str(caught.value)
    assert type(caught.value) is error


def test_floats_are_finite_in_cbor() -> None:
    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(InvalidField, match="expected `float`"):
            NATIVE.decode(EVENT, cbor2.dumps(config({"a": value})))
        heartbeat = frame({"temperature_c": value}, type="heartbeat")
        with pytest.raises(InvalidField, match=r"data\.temperature_c: expected `float`"):
            NATIVE.decode("vb/v1/A/up/telemetry", cbor2.dumps(heartbeat))


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("vb/v1/VB-0001/up/weather", "expected one of boot, event, telemetry, state, got 'weather'"),
        ("vb/v1/VB 1/up/event", "'VB 1' is no station code"),
        ("vb/v1//up/event", "'' is no station code"),
        (f"vb/v1/{'A' * 65}/up/event", "is no station code"),
        ("vb/v1/VB-0001\n/up/event", "is no station code"),
        ("vb/v2/VB-0001/up/event", "expected vb/v1/{station}/up/{kind}"),
        ("vb/v1/VB-0001/down/command", "expected vb/v1/{station}/up/{kind}"),
        ("vb/v1/VB-0001/up/event/more", "expected vb/v1/{station}/up/{kind}"),
    ],
)
def test_topics_that_are_none(topic: str, words: str) -> None:
    with pytest.raises(WrongChannel) as caught:
        NATIVE.decode(topic, packed(frame(), Encoding.JSON))
    assert words in str(caught.value)


def test_a_control_message_on_another_topic() -> None:
    ack = b'{"v":1,"type":"ack","data":{"boot":1,"through":2}}'
    with pytest.raises(WrongChannel, match=r"type: ack belongs on vb/v1/A/down/ack, came on …/down/welcome"):
        NATIVE.decode_down("vb/v1/A/down/welcome", ack)
    with pytest.raises(MalformedFrame, match="the envelope lacks id, deadline, attempt"):
        NATIVE.decode_down("vb/v1/A/down/command", ack)


@pytest.mark.parametrize(
    ("content_type", "encoding", "words"),
    [
        ("application/cbor", Encoding.JSON, "content type says CBOR, the first byte 0x7b says JSON"),
        ("application/json", Encoding.CBOR, "content type says JSON, the first byte 0xa5 says CBOR"),
        ("text/plain", Encoding.JSON, "content type 'text/plain' is not application/json or application/cbor"),
    ],
)
def test_content_type_against_bytes(content_type: str, encoding: Encoding, words: str) -> None:
    with pytest.raises(MalformedFrame, match=words):
        NATIVE.decode(EVENT, packed(frame(), encoding), content_type)


@pytest.mark.parametrize("content_type", [None, "application/json", "Application/JSON; charset=utf-8"])
def test_content_types_that_fit(content_type: str | None) -> None:
    assert NATIVE.decode(EVENT, packed(frame(), Encoding.JSON), content_type).message == SlotLocked(slot=1)


@pytest.mark.parametrize("encoding", Encoding)
def test_unknown_keys_are_ignored(encoding: Encoding) -> None:
    tree = frame({"slot": 1, "colour": {"r": [1, None]}, "é": "\u2028"}, mac="x", later=[1, 2])
    decoded = NATIVE.decode(EVENT, packed(tree, encoding))
    assert decoded.message == SlotLocked(slot=1)


@pytest.mark.parametrize("encoding", Encoding)
def test_absent_and_null_are_one(encoding: Encoding) -> None:
    absent = NATIVE.decode(EVENT, packed(inserted(), encoding))
    null = NATIVE.decode(EVENT, packed({**inserted(serial=None, charge_pct=None), "at": None}, encoding))
    assert absent == null
    assert null.message == PowerBankInserted(slot=1)


def test_brackets_and_escapes_in_text_are_no_nesting() -> None:
    text = '[{"' * 40 + "\\u0000" + "\\"
    decoded = NATIVE.decode(EVENT, packed(config({text: text}), Encoding.JSON))
    assert decoded.message == ConfigReport(version=1, values={text: text})


@pytest.mark.parametrize("encoding", Encoding)
def test_nesting_at_the_limit(encoding: Encoding) -> None:
    tree = frame({"slot": 1, "x": [[[[[[1]]]]]]})
    assert NATIVE.decode(EVENT, packed(tree, encoding)).message == SlotLocked(slot=1)


def test_messages_are_one_printable_line() -> None:
    with pytest.raises(UnknownMessageType) as caught:
        NATIVE.decode(EVENT, packed(frame(type="a\nb\x1b[31m\u202e"), Encoding.JSON))
    assert str(caught.value).isprintable()
    assert str(ProtocolError("a\n\x00…")) == "a\\n\\x00…"


def test_quotes_are_short() -> None:
    assert quote(b"\x00\xff") == "00ff"
    assert quote(bytes(100)) == "00" * 32 + "… (100 bytes)"
