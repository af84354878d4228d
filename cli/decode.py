"""`voltbay decode`: one frame as JSON, or what is wrong with it."""

import re
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
import typer

from firmware_protocol.channels import DOWN_KIND, type_name
from firmware_protocol.commands import CommandFrame, Control
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.dialects.relink.describe import describe as describe_relink
from firmware_protocol.dialects.volinks.describe import describe as describe_volinks
from firmware_protocol.errors import ProtocolError, UnknownDialect
from firmware_protocol.limits import MAX_FRAME_BYTES
from firmware_protocol.messages import UpFrame
from firmware_protocol.topics import DownKind
from simulators.spec import RELINK_SECRET

_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
#: What people paste between the digits: spaces, lines, colons, dashes, commas.
_SEPARATORS = frozenset(" \t\r\n:-_,")
#: 0x at the beginning, or before each byte.
_PREFIX = re.compile(r"(^|[\s:,_-])0[xX](?=[0-9a-fA-F])")
#: A largest frame in hex with separators, and one more, so that a larger one is seen to be too large.
_MOST_INPUT = 4 * MAX_FRAME_BYTES


class NotHexError(ValueError):
    """The argument is neither hex nor JSON text."""


def from_hex(text: str) -> bytes:
    """Bytes of hex digits with or without separators and 0x; raises NotHexError that names the character."""
    digits = []
    # Blanks instead of 0x, so that positions stay those of what was typed.
    for position, char in enumerate(_PREFIX.sub(r"\1  ", text), 1):
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
    if text and all(char in _HEX_DIGITS or char in _SEPARATORS for char in _PREFIX.sub(r"\1", text)):
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


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says beside the frame; each dialect uses what it knows."""

    topic: str | None = None
    secret: str | None = None
    tolerate_checksum: bool = False
    full: bool = False


#: Without a secret that of simulated cabinets is tried: that a token fits it is worth saying, that not says nothing.
_SIMULATED_SECRET: Final = RELINK_SECRET.encode()


def _native(payload: bytes, options: Options) -> dict[str, Any]:
    return describe(NATIVE.decode_any(payload, options.topic))


def _volinks(payload: bytes, options: Options) -> dict[str, Any]:
    return describe_volinks(payload, tolerate_checksum=options.tolerate_checksum, full=options.full)


def _relink(payload: bytes, options: Options) -> dict[str, Any]:
    given = None if options.secret is None else options.secret.encode()
    shown = describe_relink(payload, tolerate_checksum=options.tolerate_checksum, secret=given or _SIMULATED_SECRET)
    if given is None:
        for frame in shown.get("frames", [shown]):
            if not frame["token_ok"]:
                del frame["token_ok"]
    return shown


_DIALECTS: Final[Mapping[str, Callable[[bytes, Options], dict[str, Any]]]] = MappingProxyType(
    {
        "native": _native,
        "volinks": _volinks,
        "relink": _relink,
    }
)


def decode(  # noqa: PLR0917  # typer gives them by name
    frame: Annotated[
        list[str],
        typer.Argument(metavar="HEX|JSON|-", help="the payload in hex or as JSON, or - for stdin (or raw bytes)"),
    ],
    dialect: Annotated[str, typer.Option(help="native, volinks or relink: what the cabinet speaks")] = "native",
    topic: Annotated[
        str | None,
        typer.Option(help="native: the MQTT topic, against which the frame is then checked as the gateway does"),
    ] = None,
    secret: Annotated[
        str | None, typer.Option(help="relink, second generation: the secret that makes the tokens; says if they fit")
    ] = None,
    tolerate_checksum: Annotated[
        bool, typer.Option("--tolerate-checksum", help="vendors' dialects: show a frame whose check is wrong")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="volinks: every hole of a large inventory")] = False,
) -> None:
    """Print one frame as one JSON object, or say what is wrong with it."""
    options = Options(topic=topic, secret=secret, tolerate_checksum=tolerate_checksum, full=full)
    try:
        given = " ".join(frame)
        payload = from_stdin(sys.stdin.buffer.read(_MOST_INPUT)) if given == "-" else from_argument(given)
        shown = _shown(dialect, payload, options)
    except NotHexError as error:
        typer.echo(f"not hex: {error}", err=True)
        raise typer.Exit(1) from None
    except ProtocolError as error:
        typer.echo(f"{error.code}: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(msgspec.json.encode(shown).decode())


def _shown(dialect: str, payload: bytes, options: Options) -> dict[str, Any]:
    if dialect not in _DIALECTS:
        raise UnknownDialect(f"expected one of {', '.join(_DIALECTS)}, got {dialect[:40]!r}")
    return _DIALECTS[dialect](payload, options)
