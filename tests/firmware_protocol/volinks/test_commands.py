"""Commands to Volinks cabinets, topics, and the sign of their HTTP calls."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_protocol.commands import CommandFrame, VendorCommand
from firmware_protocol.dialects.volinks import topics
from firmware_protocol.dialects.volinks.commands import (
    DownCommand,
    Plain,
    PopByHole,
    PopBySerial,
    SetVolume,
    TextCommand,
    TextKey,
    Word,
    decode_down,
    encode_down,
)
from firmware_protocol.dialects.volinks.signature import sign, sign_ok
from firmware_protocol.dialects.volinks.translate import VENDOR_COMMANDS, VOLINKS
from firmware_protocol.errors import (
    FrameTooLarge,
    InvalidField,
    MalformedFrame,
    ProtocolError,
    UnknownMessageType,
    WrongChannel,
)
from firmware_protocol.vendor import Known
from tests.firmware_protocol.vectors import Vector, load
from tests.firmware_protocol.volinks.strategies import down_commands

DOWNLINKS = [vector for vector in load("volinks") if vector.direction == "downlink"]


@pytest.mark.parametrize("vector", DOWNLINKS, ids=lambda v: v.name)
def test_golden_commands_byte_for_byte(vector: Vector) -> None:
    assert encode_down(decode_down(vector.payload)) == vector.payload


@given(command=down_commands)
@settings(max_examples=300, deadline=None)
def test_commands_round_trip(command: DownCommand) -> None:
    payload = encode_down(command)
    assert decode_down(payload) == command
    assert all(isinstance(value, str) for value in msgspec.json.decode(payload).values())


@given(payload=st.binary(max_size=200) | st.text(max_size=80).map(lambda text: ('{"cmd":"popup",' + text).encode()))
@settings(max_examples=300, deadline=None)
def test_random_commands(payload: bytes) -> None:
    with suppress(ProtocolError):
        decode_down(payload)


@pytest.mark.parametrize(
    ("payload", "error", "says"),
    [
        (b"", MalformedFrame, "JSON object"),
        (b"[1]", InvalidField, "object"),
        (b'{"cmd":"popup","data":16}', InvalidField, "string"),
        (b'{"data":"16"}', InvalidField, "cmd: expected"),
        (b'{"cmd":"open_sesame"}', UnknownMessageType, "open_sesame"),
        (b'{"cmd":"popup"}', InvalidField, "data: expected"),
        (b'{"cmd":"popup","data":"0","io":"0"}', InvalidField, "1 to 80"),
        (b'{"cmd":"popup","data":"81","io":"0"}', InvalidField, "1 to 80"),
        (b'{"cmd":"popup","data":"1","io":"2"}', InvalidField, "io: "),
        (b'{"cmd":"popup_sn","data":"4294967295"}', InvalidField, "4294967294"),
        (b'{"cmd":"popup_sn","data":"-1"}', InvalidField, "data: "),
        (b'{"cmd":"check","data":"1"}', InvalidField, "does not have"),
        (b'{"cmd":"volume","data":"101"}', InvalidField, "0 to 100"),
        (b'{"cmd":"setMode","data":"5g"}', InvalidField, "wifi or 4g"),
        (b'{"cmd":"setAudio","data":"' + b"x" * 2000 + b'"}', InvalidField, "characters"),
        (b'{"cmd":"' + b"[" * 5000, FrameTooLarge, "4096"),
    ],
)
def test_what_a_cabinet_refuses(payload: bytes, error: type[ProtocolError], says: str) -> None:
    with pytest.raises(error, match=says):
        decode_down(payload)


@pytest.mark.parametrize(
    "command",
    [
        PopByHole(hole=0),
        PopByHole(hole=81),
        PopByHole(hole=1, io=2),
        PopBySerial(sn=0),
        PopBySerial(sn=0xFFFF_FFFF),
        SetVolume(101),
        TextCommand(key=TextKey.SET_AUDIO, data="x" * 2000),
    ],
)
def test_what_no_cabinet_takes_is_not_sent(command: DownCommand) -> None:
    with pytest.raises(InvalidField):
        encode_down(command)


def test_larger_cabinets_when_proven() -> None:
    assert b'"255"' in encode_down(PopByHole(hole=255), most_holes=255)
    assert encode_down(Plain(Word.CHECK)) == b'{"cmd":"check"}'


GOOD = {"setMode": "4g", "buffer_upload": "true"}


@pytest.mark.parametrize("name", VENDOR_COMMANDS)
def test_every_word_of_the_vendor_can_be_said(name: str) -> None:
    """In the form of the golden vectors: all of them can be read back by a cabinet."""
    values = {"data": GOOD.get(name, "https://f.example/x"), "wifi_ssid": "lobby", "wifi_password": "hunter2"}
    command = VendorCommand(name=name, **{each: values[each] for each in VENDOR_COMMANDS[name]})
    said = VOLINKS.encode(
        Known(station="V", hardware_id="86", slot_count=4),
        CommandFrame(command_id="x", deadline_ms=1, attempt=1, command=command),
    )
    assert said.qos == 0
    decode_down(said.payload)
    assert msgspec.json.decode(said.payload)["cmd"] == name


@pytest.mark.parametrize("command", [VendorCommand(name="popup", data="1"), VendorCommand(name="setMode", data="5g")])
def test_what_is_no_word_of_the_vendor_is_not_said(command: VendorCommand) -> None:
    with pytest.raises(ProtocolError):
        VOLINKS.encode(
            Known(station="V", hardware_id="86", slot_count=4),
            CommandFrame(command_id="x", deadline_ms=1, attempt=1, command=command),
        )


def test_topics() -> None:
    uuid = "860000000000017"
    assert topics.topic(uuid, topics.Kind.GET) == f"/powerbank/{uuid}/user/get"
    assert topics.parse(f"/shop/{uuid}/user/heart") == ("shop", uuid, topics.Kind.HEART)
    for wrong in (
        "",
        "powerbank/1/user/get",
        "/powerbank/1/user/set",
        "/powerbank//user/get",
        "/powerbank/a/b/user/get",
    ):
        with pytest.raises(WrongChannel, match="expected"):
            topics.parse(wrong)


@pytest.mark.parametrize("vector", [v for v in load("volinks") if "sign" in v.decoded], ids=lambda v: v.name)
def test_golden_signs(vector: Vector) -> None:
    pairs = (item.partition("=") for item in vector.payload.decode().split("|"))
    parameters = {key: value for key, _, value in pairs}
    assert sign(parameters) == vector.decoded["sign"]
    assert sign_ok(parameters | {"sign": vector.decoded["sign"].upper()})
    assert not sign_ok(parameters | {"uuid": "1", "sign": vector.decoded["sign"]})
    assert not sign_ok(parameters)
