"""JSON bytes to trees and back, within the protocol's bounds."""

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from firmware_protocol.errors import FrameTruncated, InvalidField, MalformedFrame, ProtocolError, quote
from firmware_protocol.limits import MAX_NESTING

_ANY: Final = msgspec.json.Decoder()
_ENCODER: Final = msgspec.json.Encoder()
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
#: A string (closed or not) or a bracket; it never fails once begun, so scanning is linear.
_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_LONE_SURROGATE: Final = re.compile(rb"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|[c-fC-F])")
#: Longer shapes than that of a full inventory are not remembered: they would be a way to fill the memory.
_REMEMBERED_BRACKETS: Final = 2048
_BYTE: Final = re.compile(r"\(byte (\d+)\)")


def encode(tree: Any) -> bytes:
    return _ENCODER.encode(tree)


def check(payload: bytes) -> None:
    """Refuse what the decoder would accept or could choke on: deep nesting, bytes that are not UTF-8."""
    brackets = payload.translate(None, _NOT_BRACKETS)
    if len(brackets) > MAX_NESTING:
        known = _is_shallow if len(brackets) <= _REMEMBERED_BRACKETS else _is_shallow.__wrapped__
        if not known(brackets):
            _check_nesting(payload)
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            raise MalformedFrame(
                f"byte {error.start}: not UTF-8, got {quote(payload[error.start : error.start + 4])}"
            ) from None


@lru_cache(maxsize=1024)
def _is_shallow(brackets: bytes) -> bool:
    """Innermost pairs removed level by level. False may also mean: brackets inside strings.

    Cabinets send the same few shapes again and again, so that most answers are known.
    """
    for _ in range(MAX_NESTING):
        if not brackets:
            break
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    return not brackets


def _check_nesting(payload: bytes) -> None:
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(payload):
        first = token.group()[0]
        if first in b"[{":
            depth += 1
            if depth > MAX_NESTING:
                raise MalformedFrame(f"byte {token.start()}: nested deeper than {MAX_NESTING}")
        elif first in b"]}":
            depth -= 1


def to_tree(payload: bytes) -> Any:
    """Decode to plain Python values; raises only ProtocolError. `check` must have passed."""
    try:
        return _ANY.decode(payload)
    except msgspec.ValidationError as error:  # numbers that fit no float or 4300 digits
        raise InvalidField(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise syntax_error(payload, error) from None


def syntax_error(payload: bytes, error: Exception) -> ProtocolError:
    """Why these bytes are not JSON."""
    reason = str(error)
    lone = _LONE_SURROGATE.search(payload)
    if lone is not None:
        return MalformedFrame(f"byte {lone.start()}: half of a surrogate pair, got {quote(lone.group())}")
    at = _BYTE.search(reason)
    cut = at is not None and int(at[1]) == len(payload) and "trailing" not in reason  # behind a sign or a point
    if cut or "truncated" in reason:
        tail = payload[-16:].decode(errors="replace")
        return FrameTruncated(f"byte {len(payload)}: JSON ends too early, after {tail!r}")
    what = _BYTE.sub("", reason).removeprefix("JSON is malformed: ").strip()
    if at is None:
        return MalformedFrame(f"not JSON: {what}")
    offset = int(at[1]) - ("trailing" in what)  # it has read the first one already
    return MalformedFrame(f"byte {offset}: not JSON: {what}, got {payload[offset : offset + 12]!r}")
