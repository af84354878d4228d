"""What exactly is wrong with a frame that did not decode. Only the failing path pays for this."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import inspect

from firmware_protocol.errors import InvalidField, MalformedFrame, ProtocolError, UnknownMessageType, UnsupportedVersion
from firmware_protocol.limits import PROTOCOL_VERSION

#: Characters of an offending value that a message quotes.
_QUOTED_CHARS: Final = 60
#: msgspec ends its messages with "- at `$.data.slots[3].slot`", or "- at `key` in `$.data`".
_AT: Final = re.compile(r" - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`$")
_GOT: Final = re.compile(r", got `[^`]*`$")
_STEP: Final = re.compile(r"\.(?P<key>[^.\[]+)|\[(?P<index>\d+)\]|(?P<any>\[\.\.\.\])")
_NOTHING: Final = object()


def shown(value: Any) -> str:
    """A value as a message quotes it: short, one line."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, dict):
        return f"an object with {len(value)} keys"
    if isinstance(value, list | tuple):
        return f"an array of {len(value)}"
    text = repr(value[:_QUOTED_CHARS]) if isinstance(value, str | bytes) else repr(value)
    cut = isinstance(value, str | bytes) and len(value) > _QUOTED_CHARS
    return f"{text}… ({len(value)} long)" if cut else text


def _steps(path: str) -> Iterator[str | int]:
    for step in _STEP.finditer(path):
        yield step["key"] or (int(step["index"]) if step["index"] else "")


def _look_up(tree: Any, path: str) -> Any:
    """The value at a path of msgspec, or _NOTHING where the path names no single one (`[...]`)."""
    for step in _steps(path):
        try:
            tree = tree[step]
        except (LookupError, TypeError):
            return _NOTHING
    return tree


def _choices(cls: type, path: str) -> tuple[Any, ...]:
    """The values that an enumeration at `path` allows; empty when it is none."""
    info: inspect.Type = inspect.type_info(cls)
    for step in _steps(path):
        if isinstance(info, inspect.StructType):
            info = next(field.type for field in info.fields if field.encode_name == step)
        elif isinstance(info, inspect.VarTupleType):
            info = info.item_type
        if isinstance(info, inspect.UnionType):
            info = next(each for each in info.types if not isinstance(each, inspect.NoneType))
        while isinstance(info, inspect.Metadata):
            info = info.type
    return tuple(info.cls) if isinstance(info, inspect.EnumType) else ()


def field_error(tree: Any, cls: type | None, complaint: str) -> InvalidField:
    """Turn msgspec's complaint into: path, what was expected, what came."""
    at = _AT.search(complaint)
    path = at["path"] if at else ""
    expected = _AT.sub("", complaint)
    expected = f"{expected[:1].lower()}{expected[1:]}"
    where = f"{'a key of ' if at and at['key'] else ''}{path.lstrip('.') or 'frame'}"
    got = _look_up(tree, path)
    if expected.startswith("invalid enum value") and cls is not None:
        expected = f"expected one of {', '.join(_choices(cls, path))}"
    elif expected.startswith("invalid value"):
        expected = "expected the type of the envelope, or no `type` here"
    elif got is _NOTHING or expected.startswith("object missing") or (at and at["key"]):
        return InvalidField(f"{where}: {expected}")
    return InvalidField(f"{where}: {_GOT.sub('', expected)}, got {shown(got)}")


def frame_error(tree: Any, keys: tuple[str, ...], types: Mapping[str, type], complaint: str) -> ProtocolError:
    """Why this decoded tree is no frame of these types, checked from the outside in.

    Args:
        tree: the frame as plain values.
        keys: what the envelope must have.
        types: envelope types by the name in `type`.
        complaint: what msgspec said.
    """
    if not isinstance(tree, dict):
        return MalformedFrame(f"frame: expected an object, got {shown(tree)}")
    version = tree.get("v", _NOTHING)
    if version is not _NOTHING and (version != PROTOCOL_VERSION or isinstance(version, bool | float)):
        return UnsupportedVersion(f"v: expected {PROTOCOL_VERSION}, got {shown(version)}")
    missing = [key for key in keys if key not in tree]
    if missing:
        return MalformedFrame(f"frame: the envelope lacks {', '.join(missing)}")
    name = tree["type"]
    if not isinstance(name, str):
        return InvalidField(f"type: expected `str`, got {shown(name)}")
    if name not in types:
        return UnknownMessageType(f"type: expected one of {', '.join(types)}, got {shown(name)}")
    return field_error(tree, types[name], complaint)
