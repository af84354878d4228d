"""`voltbay decode`, as its own program."""

import json

import pytest
import typer
from typer.testing import CliRunner

from cli.decode import decode, from_hex
from firmware_protocol import examples
from firmware_protocol.channels import type_name
from firmware_protocol.dialects.native import NATIVE, Encoding

app = typer.Typer()
app.command()(decode)
runner = CliRunner()
ACK = '{"v":1,"type":"ack","data":{"boot":1,"through":2}}'


@pytest.mark.parametrize("encoding", Encoding)
def test_every_example_is_told_by_its_shape(encoding: Encoding) -> None:
    for frame in examples.UP:
        shown = json.loads(runner.invoke(app, [NATIVE.encode_up(frame, encoding).hex()]).stdout)
        assert shown["direction"] == "up"
        assert (shown["type"], shown["boot"]) == (type_name(type(frame.message)), frame.boot)
        assert "type" not in shown["data"]
    for command in examples.COMMANDS:
        payload = NATIVE.encode_command("A", command, encoding).payload
        shown = json.loads(runner.invoke(app, [payload.hex(" ")]).stdout)
        assert (shown["kind"], shown["command_id"]) == ("command", command.command_id)
    for control in examples.CONTROLS:
        payload = NATIVE.encode_control("A", control, encoding).payload
        shown = json.loads(runner.invoke(app, ["-"], input=payload).stdout)
        assert (shown["direction"], shown["kind"]) == ("down", type_name(type(control)))


def test_one_line_of_stable_fields() -> None:
    result = runner.invoke(
        app, ["--topic", "vb/v1/VB-7/up/event", '{"v":1,"boot":2,"seq":3,"type":"slot_locked","data":{"slot":4}}']
    )
    assert result.exit_code == 0
    assert result.stdout == (
        '{"direction":"up","station":"VB-7","boot":2,"seq":3,"at_ms":null,"replayed":false,'
        '"type":"slot_locked","data":{"slot":4}}\n'
    )


@pytest.mark.parametrize(
    "given", [ACK.encode(), ACK.encode().hex().encode(), b"0x" + ACK.encode().hex(" ").encode() + b"\n"]
)
def test_stdin_is_bytes_or_hex(given: bytes) -> None:
    assert json.loads(runner.invoke(app, ["-"], input=given).stdout)["data"] == {"boot": 1, "through": 2}


def test_hex_may_come_in_pieces() -> None:
    assert json.loads(runner.invoke(app, ACK.encode().hex(" ").split()).stdout)["kind"] == "ack"
    assert from_hex("0xA1:b2-C3\n") == b"\xa1\xb2\xc3"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["a1z6"], "not hex: character 3: expected a hex digit, got 'z'"),
        (["a16"], "not hex: expected two hex digits for each byte, got 3 digits: the last byte is cut"),
        ([""], "truncated: expected a JSON object or a CBOR map, got an empty payload"),
        (["a1"], "truncated: byte 1: CBOR ends too early, in a1"),
        (["ff"], "malformed: byte 0: expected '{' (JSON) or a CBOR map (0xa0 to 0xbf), got 0xff in ff"),
        (['{"v":3}'], "version: v: expected 1, got 3"),
        (
            ['{"v":1,"type":"ack","data":{"boot":0,"through":1}}'],
            "invalid_field: data.boot: expected `int` >= 1, got 0",
        ),
        (
            ["--topic", "vb/v1/A/down/resend", ACK],
            "wrong_channel: type: ack belongs on vb/v1/A/down/ack, came on …/down/resend",
        ),
        (["--topic", "home/door", ACK], "wrong_channel: topic 'home/door': expected vb/v1/{station}/up/{kind}"),
        (["--dialect", "morse", ACK], "unknown_dialect: expected one of native, volinks, relink, got 'morse'"),
    ],
)
def test_wrong_input_is_one_line_and_exit_1(arguments: list[str], line: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == line + "\n"
