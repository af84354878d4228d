"""`voltbay decode`: one frame as JSON, or what is wrong with it."""

import sys
from typing import Annotated, Any

import msgspec
import typer

from firmware_protocol.channels import DOWN_KIND, type_name
from firmware_protocol.commands import CommandFrame, Control
from firmware_protocol.dialects import get_dialect
from firmware_protocol.errors import ProtocolError
from firmware_protocol.limits import MAX_FRAME_BYTES
from firmware_protocol.messages import UpFrame
from firmware_protocol.topics import DownKind

_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
#: What people paste between the digits: spaces, lines, colons, dashes.
_SEPARATORS = frozenset(" \t\r\n:-_")
#: A largest frame in hex with separators, and one more, so that a larger one is seen to be too large.
_MOST_INPUT = 4 * MAX_FRAME_BYTES


class NotHexError(ValueError):
    """The argument is neither hex nor JSON text."""


def from_hex(text: str) -> bytes:
    """Bytes of hex digits with or without separators and 0x; raises NotHexError that names the character."""
    start = 2 if text[:2].lower() == "0x" else 0
    digits = []
    for position, char in enumerate(text[start:], start + 1):
        if char in _HEX_DIGITS:
            digits.append(char)
        elif char not in _SEPARATORS:
            raise NotHexError(f"character {position}: expected a hex digit, got {char!r}")
    if len(digits) % 2:
        raise NotHexError(f"expected two hex digits for each byte, got {len(digits)} digits: the last byte is cut")
    return bytes.fromhex("".join(digits))


def from_argument(text: str) -> bytes:
    """A frame as typed: JSON text, which begins with a brace, or hex."""
    return text.encode() if text.lstrip().startswith("{") else from_hex(text)


def from_stdin(raw: bytes) -> bytes:
    """A frame as piped: hex text when it is nothing else, or the bytes themselves."""
    text = raw.decode("ascii", errors="replace").strip()
    if text and all(char in _HEX_DIGITS or char in _SEPARATORS for char in text.removeprefix("0x")):
        return from_hex(text)
    return raw


def _body(message: msgspec.Struct) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(message)
    body.pop("type", None)
    return body


def describe(frame: UpFrame | CommandFrame | Control) -> dict[str, Any]:
    """A frame as JSON values under field names that stay. Bytes are base64; what the cabinet did not say is null."""
    if isinstance(frame, UpFrame):
        return {
            "direction": "up",
            "station": frame.station or None,
            "boot": frame.boot,
            "seq": frame.seq,
            "at_ms": frame.at_ms,
            "replayed": frame.replayed,
            "type": type_name(type(frame.message)),
            "data": _body(frame.message),
        }
    if isinstance(frame, CommandFrame):
        return {
            "direction": "down",
            "kind": str(DownKind.COMMAND),
            "command_id": frame.command_id,
            "deadline_ms": frame.deadline_ms,
            "attempt": frame.attempt,
            "type": type_name(type(frame.command)),
            "data": _body(frame.command),
        }
    return {
        "direction": "down",
        "kind": str(DOWN_KIND[type(frame)]),
        "type": type_name(type(frame)),
        "data": _body(frame),
    }


def decode(
    frame: Annotated[
        list[str],
        typer.Argument(metavar="HEX|JSON|-", help="the payload in hex or as JSON, or - for stdin (or raw bytes)"),
    ],
    dialect: Annotated[str, typer.Option(help="the dialect that the cabinet speaks")] = "native",
    topic: Annotated[
        str | None, typer.Option(help="the MQTT topic; the frame is then checked against it as the gateway does")
    ] = None,
) -> None:
    """Print one frame as one JSON object, or say what is wrong with it."""
    try:
        given = " ".join(frame)
        payload = from_stdin(sys.stdin.buffer.read(_MOST_INPUT)) if given == "-" else from_argument(given)
        decoded = get_dialect(dialect).decode_any(payload, topic)
    except NotHexError as error:
        typer.echo(f"not hex: {error}", err=True)
        raise typer.Exit(1) from None
    except ProtocolError as error:
        typer.echo(f"{error.code}: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(msgspec.json.encode(describe(decoded)).decode())
