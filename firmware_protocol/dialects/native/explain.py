"""What exactly is wrong with a frame that did not decode. Only the failing path pays for this."""

import re
from typing import Any, Final

from firmware_protocol.errors import InvalidField, MalformedFrame, ProtocolError, UnknownMessageType, UnsupportedVersion
from firmware_protocol.limits import PROTOCOL_VERSION

#: Characters of an offending value that a message quotes.
_QUOTED_CHARS: Final = 60
_AT: Final = re.compile(r" - at `(?P<where>key in )?`?\$(?P<path>[^`]*)`$")
_GOT: Final = re.compile(r", got `[^`]*`$")
_STEP: Final = re.compile(r"\.(?P<key>[^.\[]+)|\[(?P<index>\d+)\]|(?P<any>\[\.\.\.\])")
_NOTHING: Final = object()


def shown(value: Any) -> str:
    """A value as a message quotes it: short, one line."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, dict | list | tuple):
        return f"{'an object' if isinstance(value, dict) else 'an array'} of {len(value)}"
    text = repr(value[:_QUOTED_CHARS]) if isinstance(value, str | bytes) else repr(value)
    return text if len(text) <= _QUOTED_CHARS + 3 else f"{text[:_QUOTED_CHARS]}…"


def _look_up(tree: Any, path: str) -> Any:
    """The value at a msgspec path such as `.data.slots[3].slot`, or _NOTHING where the path is not exact."""
    for step in _STEP.finditer(path):
        if step["any"]:
            return _NOTHING
        try:
            tree = tree[step["key"]] if step["key"] else tree[int(step["index"])]
        except (LookupError, TypeError):
            return _NOTHING
    return tree


def field_error(tree: Any, complaint: str) -> InvalidField:
    """Turn msgspec's complaint into: path, what was expected, what came."""
    at = _AT.search(complaint)
    path = at["path"] if at else ""
    expected = _AT.sub("", complaint)
    name = path.lstrip(".") or "frame"
    got = _look_up(tree, path)
    if got is _NOTHING or expected.startswith("Object missing"):
        return InvalidField(f"{name}: {expected[:1].lower()}{expected[1:]}")
    expected = _GOT.sub("", expected)
    return InvalidField(f"{name}: {expected[:1].lower()}{expected[1:]}, got {shown(got)}")


def envelope_error(tree: Any, keys: tuple[str, ...], types: dict[str, Any], complaint: str) -> ProtocolError:
    """Why this decoded tree is no frame of these types; checked from the outside in."""
    if not isinstance(tree, dict):
        return MalformedFrame(f"frame: expected an object, got {shown(tree)}")
    version = tree.get("v", _NOTHING)
    if version is not _NOTHING and (version != PROTOCOL_VERSION or isinstance(version, bool | float)):
        return UnsupportedVersion(f"v: expected {PROTOCOL_VERSION}, got {shown(version)}")
    missing = [key for key in keys if key not in tree]
    if missing:
        return MalformedFrame(f"frame: the envelope lacks {', '.join(missing)}")
    name = tree["type"]
    if isinstance(name, str) and name not in types:
        return UnknownMessageType(f"type: expected one of {', '.join(types)}, got {shown(name)}")
    return field_error(tree, complaint)
