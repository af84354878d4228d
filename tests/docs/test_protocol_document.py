"""docs/protocol.md: the reference is current, every example decodes, every number and code is the code's."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from firmware_protocol import errors, examples, limits, reference
from firmware_protocol.channels import COMMANDS, CONTROLS, UP_MESSAGES, type_name
from firmware_protocol.commands import CommandFrame
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import UpFrame
from firmware_protocol.types import CommandOutcome

PATH = Path(__file__).parents[2] / "docs" / "protocol.md"
TEXT = PATH.read_text(encoding="utf-8")
_EXAMPLE = re.compile(
    r"^### A\.\d\.\d+ `(?P<type>\w+)`\n(?:(?!^###).*\n)*?"
    r"```json\n(?P<json>.*)\n```\n\n```cbor\n(?P<cbor>[0-9a-f\n]+)```",
    re.MULTILINE,
)


class Example(NamedTuple):
    type: str
    as_json: bytes
    as_cbor: bytes


def _printed() -> Iterator[Example]:
    for found in _EXAMPLE.finditer(TEXT):
        yield Example(found["type"], found["json"].encode(), bytes.fromhex(found["cbor"]))


PRINTED = list(_printed())
MEANT: dict[str, object] = {
    **{type_name(type(frame.message)): frame for frame in examples.UP},
    **{type_name(type(frame.command)): frame for frame in examples.COMMANDS},
    **{type_name(type(control)): control for control in examples.CONTROLS},
}


def test_the_reference_is_current() -> None:
    assert reference.with_reference(TEXT) == TEXT, "run: python -m firmware_protocol.reference"


def test_a_serial_is_bounded_the_same_wherever_one_is_told() -> None:
    """In a sample too, whose serials are held against the pattern all at once."""
    rows = re.findall(r"^\| `serial` \| (.*?) \|", TEXT, re.MULTILINE)
    assert len(rows) > 5
    assert {row.removesuffix(" or null") for row in rows} == {"text, 1 to 64 characters, `^[A-Za-z0-9._:-]+$`"}


def test_every_message_has_an_example() -> None:
    types = [type_name(cls) for cls in (*UP_MESSAGES, *COMMANDS, *CONTROLS)]
    assert sorted(example.type for example in PRINTED) == sorted(types)


@pytest.mark.parametrize("example", PRINTED, ids=lambda example: example.type)
def test_both_forms_of_an_example_mean_the_same(example: Example) -> None:
    meant = MEANT[example.type]
    topic = None
    if isinstance(meant, UpFrame):
        topic = NATIVE.publish_up(meant).topic
    elif isinstance(meant, CommandFrame):
        topic = "vb/v1/VB-0001/down/command"
    for payload in (example.as_json, example.as_cbor):
        assert NATIVE.decode_any(payload, topic) == meant


def test_every_error_outcome_and_type_is_explained() -> None:
    native = {"too_large", "truncated", "malformed", "version", "unknown_type", "invalid_field", "wrong_channel"}
    assert native <= {cls.code for cls in errors.ProtocolError.__subclasses__()}
    for word in (*native, *CommandOutcome):
        assert f"| `{word}` |" in TEXT


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("| frame | {} bytes |", limits.MAX_FRAME_BYTES),
        ("| nesting | {} levels |", limits.MAX_NESTING),
        ("| slots | {} |", limits.MAX_SLOTS),
        ("| text fields, unless said otherwise | {} characters |", limits.MAX_TEXT_CHARS),
        ("| station code, serial, command id | {} characters |", limits.MAX_SERIAL_CHARS),
        ("| clocks | {} ms (year 9999) |", limits.MAX_CLOCK_MS),
        ("| ranges in `journal` and `resend` | {} |", limits.MAX_JOURNAL_RANGES),
        ("| configuration keys | {} |", limits.MAX_CONFIG_KEYS),
        ("| playlist entries | {} |", limits.MAX_PLAYLIST),
        ("| log chunk | {} bytes before base64 |", limits.MAX_LOG_CHUNK_BYTES),
        ("| command results to remember | {} |", limits.REMEMBERED_COMMANDS),
    ],
)
def test_limits_are_those_of_the_code(words: str, number: int) -> None:
    plain = words.format(number)
    grouped = words.format(f"{number:,}".replace(",", " "))
    assert plain in TEXT or grouped in TEXT
    assert limits.MAX_STATION_CODE_CHARS == limits.MAX_COMMAND_ID_CHARS == limits.MAX_SERIAL_CHARS


def test_sections_are_numbered_without_repetition() -> None:
    body = TEXT.partition("## Appendix A")[0]
    numbers = re.findall(r"\*\*(\d+(?:\.\d+)+)", body)
    assert len(numbers) > 80
    assert len(numbers) == len(set(numbers))
