"""`voltbay decode` of the vendors' frames: every golden vector, as it is typed."""

import json
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from cli.decode import decode, from_hex
from firmware_protocol.dialects.volinks import envelope
from tests.firmware_protocol.vectors import Vector, load

app = typer.Typer()
app.command()(decode)
runner = CliRunner()

VECTORS = [pytest.param(name, v, id=f"{name}-{v.name}") for name in ("volinks", "relink") for v in load(name)]
#: What `expect` says of a frame, and how the line on stderr begins.
SAYS = {"reject_checksum": "checksum: ", "bad_checksum": "checksum: ", "reject_length": "length: "}


def run(dialect: str, *arguments: str, stdin: str | bytes = "") -> Result:
    return runner.invoke(app, ["--dialect", dialect, *arguments], input=stdin)


def shown(result: Result) -> dict[str, Any]:
    assert (result.exit_code, result.stderr) == (0, "")
    decoded: dict[str, Any] = json.loads(result.stdout)
    return decoded


@pytest.mark.parametrize(("dialect", "vector"), VECTORS)
def test_golden_vectors(dialect: str, vector: Vector) -> None:
    result = run(dialect, vector.hex)
    if vector.accepted:
        decoded = shown(result)
        assert decoded == vector.decoded
        assert list(decoded) == list(vector.decoded)
        return
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(SAYS[vector.expect or ""])
    assert result.stderr.count("\n") == 1
    assert "expected " in result.stderr
    assert "got " in result.stderr
    if "error" not in vector.decoded:
        assert shown(run(dialect, "--tolerate-checksum", vector.hex)) == vector.decoded


@pytest.mark.parametrize("vector", [v for v in load("relink") if v.secret_for_token], ids=lambda v: v.name)
def test_tokens_are_verified_with_a_secret(vector: Vector) -> None:
    given = run("relink", "--secret", vector.secret_for_token or "", vector.hex)
    assert shown(given)["token_ok"] is True
    assert shown(run("relink", "--secret", "another", vector.hex))["token_ok"] is False


HEART = "A800117A104353513A32373B42503A30FC"


@pytest.mark.parametrize(
    "typed",
    [
        HEART.lower(),
        f"0x{HEART}",
        "0xA8 0x00 0x11 0x7A 10 43 53 51 3A 32 37 3B 42 50 3A 30 FC",
        "a8:00:11:7a:10:43:53:51:3a:32:37:3b:42:50:3a:30:fc",
        "A8,00,11,7A,10,43,53,51,3A,32,37,3B,42,50,3A,30,FC",
        "A800 117A\n1043 5351 3A32 373B 4250 3A30 FC\n",
    ],
)
def test_hex_as_people_have_it(typed: str) -> None:
    for result in (run("volinks", typed), run("volinks", *typed.split()), run("volinks", "-", stdin=typed)):
        assert shown(result)["csq"] == 27
    assert shown(run("volinks", "-", stdin=from_hex(typed)))["bp"] == 0


@pytest.mark.parametrize(
    ("dialect", "typed", "line"),
    [
        ("volinks", "A80005ABA8", "unknown_type: expected a known command, got 0xAB in a80005aba8"),
        ("volinks", envelope.write(0x1A, b"ab").hex(), "unknown_layout: 0x1A is known by name only (version): "),
        ("volinks", "A8000921100101021A00", "length: expected 9 bytes as the frame says, got 10: "),
        ("volinks", "A80009", "truncated: expected at least 5 bytes, got 3: a80009"),
        ("volinks", "00" * 8, "head: expected the head a8, got 00"),
        ("volinks", '{"cmd":"popup","data":16}', "invalid_field: expected an object whose values are all strings: "),
        ("volinks", '{"cmd":"fly"}', "unknown_type: cmd: expected a known command, got 'fly'"),
        ("volinks", "A800", "truncated: "),
        ("volinks", "", "truncated: expected a frame, got an empty payload"),
        ("relink", "00076101", "truncated: expected at least 9 bytes, got 4: 00076101"),
        ("relink", "0006610100", "length: expected a length of 7 or more, got 6: "),
        ("relink", "FFFF610100", "too_large: expected a length of at most 1022, got 65535: "),
        ("relink", "000799010011223344", "unknown_type: expected a command of generation 1, got 0x99"),
        ("relink", "000761030011223344", "version: expected version 1 or 2, got 3"),
        (
            "relink",
            "001C640200" + "00" * 25,
            "length: 0x64 from the cabinet: expected records of 17 bytes, got ",
        ),
        ("relink", "000F600230000000000000000102330000", "version: magic: expected 0xA0A0, got 0x0233"),
        ("relink", "000A680100112233440A0A00", "unknown_layout: 0x68: no known layout, got 0a0a00"),
    ],
)
def test_what_is_wrong_is_one_line(dialect: str, typed: str, line: str) -> None:
    result = run(dialect, typed)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1


def test_a_stream_shows_its_rest() -> None:
    beat = "000761010011223344"
    assert shown(run("relink", beat + beat + "0007")) == {"frames": [shown(run("relink", beat))] * 2, "rest": "0007"}


def test_large_inventories_are_short_unless_asked() -> None:
    large = next(v for v in load("volinks") if v.decoded.get("form") == "compact")
    assert len(shown(run("volinks", "--full", large.hex))["boards"][-1]["holes"]) == 20
