"""Appendix A of docs/protocol.md, written from the types: `python -m firmware_protocol.reference [FILE]`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct, inspect

from firmware_protocol import examples
from firmware_protocol.channels import DOWN_KIND, DOWN_QOS, UP_QOS, type_name, up_kind
from firmware_protocol.commands import PlaylistEntry
from firmware_protocol.dialects.native import NATIVE, Encoding
from firmware_protocol.limits import MAX_COUNTER
from firmware_protocol.messages import JournalRange, SlotInventory, SlotSample
from firmware_protocol.topics import DownKind

BEGIN: Final = "<!-- reference: written by `python -m firmware_protocol.reference`, do not edit below -->"
_PARTS: Final[tuple[type[Struct], ...]] = (JournalRange, SlotSample, SlotInventory, PlaylistEntry)


def _plain(info: inspect.Type) -> tuple[inspect.Type, str]:
    """A type without its notes, and the description among them."""
    description = ""
    while isinstance(info, inspect.Metadata):
        description = description or str((info.extra_json_schema or {}).get("description", ""))
        info = info.type
    return info, description


def _number(word: str, low: float | None, high: float | None) -> str:
    if low is None or high is None or (isinstance(high, float) and high > MAX_COUNTER):
        return word
    shown = "2^63-1" if high == MAX_COUNTER else f"{high:g}" if high < 1e6 else str(int(high))
    return f"{word} {'-2^63' if low < -MAX_COUNTER else f'{low:g}'} to {shown}"


def _pattern(info: inspect.Type) -> str:
    """A text's own, or the one in its notes, where its message looks at all of them at once."""
    while isinstance(info, inspect.Metadata):
        if found := (info.extra_json_schema or {}).get("pattern"):
            return str(found)
        info = info.type
    return (isinstance(info, inspect.StrType) and info.pattern) or ""


def _text(info: inspect.StrType, pattern: str) -> str:
    bound = f"{info.min_length or 0} to {info.max_length} characters" if info.max_length else ""
    shown = f"`{pattern.removesuffix('(?!' + chr(92) + 'n)')}`" if pattern else ""
    return ", ".join(part for part in ("text", bound, shown) if part)


def describe_type(info: inspect.Type) -> str:  # noqa: C901, PLR0911  # one branch for each kind of type
    """One type in the words of the specification."""
    pattern = _pattern(info)
    info, _ = _plain(info)
    match info:
        case inspect.IntType():
            return _number("integer", info.ge, info.le)
        case inspect.FloatType():
            return _number("number", info.ge, info.le)
        case inspect.BoolType():
            return "boolean"
        case inspect.BytesType():
            return f"bytes, at most {info.max_length}"
        case inspect.StrType():
            return _text(info, pattern)
        case inspect.EnumType():
            return "one of " + ", ".join(f"`{value}`" for value in info.cls)
        case inspect.StructType():
            return f"`{info.cls.__name__}`"
        case inspect.VarTupleType():
            return f"array of {info.min_length or 0} to {info.max_length} {describe_type(info.item_type)}"
        case inspect.DictType():
            return f"map of at most {info.max_length} text keys to {describe_type(info.value_type)}"
        case inspect.UnionType():
            return " or ".join(_alternatives(info))
        case _:
            return "null"


def _alternatives(info: inspect.UnionType) -> Iterator[str]:
    """Null last, as it is read."""
    null_last = sorted(info.types, key=lambda each: isinstance(each, inspect.NoneType))
    for each in null_last:
        yield describe_type(each)


def _description(info: inspect.Type) -> str:
    inner, description = _plain(info)
    if not description and isinstance(inner, inspect.UnionType):
        return next((found for each in inner.types if (found := _plain(each)[1])), "")
    return description


def _default(field: inspect.Field) -> str:
    if field.required:
        return "**required**"
    if field.default is None:
        return "null"
    return "empty" if field.default == () else f"`{str(field.default).lower()}`"


def _fields(cls: type[Struct]) -> Iterator[str]:
    info = inspect.type_info(cls)
    fields = info.fields if isinstance(info, inspect.StructType) else ()
    if not fields:
        yield "No fields: `data` is an empty object."
        return
    yield "| field | type | if absent | meaning |"
    yield "|---|---|---|---|"
    for field in fields:
        meaning = _description(field.type)
        yield f"| `{field.encode_name}` | {describe_type(field.type)} | {_default(field)} | {meaning} |"


def _contract(cls: type[Struct]) -> str:
    return " ".join((cls.__doc__ or "").split()).replace("None", "null").replace("`complete` False", "`complete` false")


def _section(number: str, cls: type[Struct], where: str, forms: tuple[bytes, bytes]) -> Iterator[str]:
    as_json, as_cbor = forms
    yield from (f"### {number} `{type_name(cls)}`", "", _contract(cls), "", where, "")
    yield from _fields(cls)
    yield from ("", "```json", as_json.decode(), "```", "", "```cbor", *_wrapped(as_cbor.hex()), "```", "")


def _wrapped(digits: str, width: int = 100) -> Iterator[str]:
    for start in range(0, len(digits), width):
        yield digits[start : start + width]


def _up_sections() -> Iterator[str]:
    for number, frame in enumerate(examples.UP, 1):
        cls = type(frame.message)
        kind = up_kind(frame.message)
        stream = frame.message.stream
        where = f"Cabinet to backend, topic `…/up/{kind}`, QoS {UP_QOS[kind]}, {stream} stream."
        forms = (NATIVE.encode_up(frame, Encoding.JSON), NATIVE.encode_up(frame, Encoding.CBOR))
        yield from _section(f"A.2.{number}", cls, where, forms)


def _command_sections() -> Iterator[str]:
    where = f"Backend to cabinet, topic `…/down/command`, QoS {DOWN_QOS[DownKind.COMMAND]}."
    for number, frame in enumerate(examples.COMMANDS, 1):
        forms = tuple(NATIVE.encode_command(examples.STATION, frame, each).payload for each in Encoding)
        yield from _section(f"A.3.{number}", type(frame.command), where, (forms[0], forms[1]))


def _control_sections() -> Iterator[str]:
    for number, control in enumerate(examples.CONTROLS, 1):
        kind = DOWN_KIND[type(control)]
        where = f"Backend to cabinet, topic `…/down/{kind}`, QoS {DOWN_QOS[kind]}."
        forms = tuple(NATIVE.encode_control(examples.STATION, control, each).payload for each in Encoding)
        yield from _section(f"A.4.{number}", type(control), where, (forms[0], forms[1]))


def _lines() -> Iterator[str]:
    yield from (BEGIN, "", "### A.1 Parts", "")
    for part in _PARTS:
        yield from (f"#### `{part.__name__}`", "", _contract(part), "", *_fields(part), "")
    yield from ("## A.2 Messages of the cabinet", "", *_up_sections())
    yield from ("## A.3 Commands", "", *_command_sections())
    yield from ("## A.4 Control messages", "", *_control_sections())


def render() -> str:
    return "\n".join(_lines()).rstrip() + "\n"


def with_reference(document: str) -> str:
    """The document with everything after its marker written anew; ValueError when it has no marker."""
    head, marker, _ = document.partition(BEGIN)
    if not marker:
        raise ValueError(f"the document has no line {BEGIN!r}")
    return head + render()


def main(arguments: list[str]) -> None:
    path = Path(arguments[0] if arguments else "docs/protocol.md")
    path.write_text(with_reference(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
