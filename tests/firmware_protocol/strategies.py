"""Any valid message, made from the types themselves: a new message is covered without a new strategy."""

from typing import Any

from hypothesis import strategies as st
from msgspec import Struct, inspect, structs

from firmware_protocol.channels import COMMANDS, CONTROLS, UP_MESSAGES
from firmware_protocol.commands import CommandFrame, EjectPowerBank
from firmware_protocol.limits import MAX_CLOCK_MS, MAX_COUNTER
from firmware_protocol.messages import Inventory, JournalLost, JournalRange, SlotTelemetry, Stream, UpFrame

#: Entries of one array or map: enough to see the second one, few enough for a frame.
_MOST_ENTRIES = 6
_TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_SERIAL_CHARS = "ABCXYZabcxyz0189._:-"


def _integers(info: inspect.IntType) -> st.SearchStrategy[int]:
    return st.integers(info.ge, info.le)


def _text(info: inspect.StrType) -> st.SearchStrategy[str]:
    alphabet = st.sampled_from(_SERIAL_CHARS) if info.pattern else _TEXT
    return st.text(alphabet, min_size=info.min_length or 0, max_size=min(info.max_length or 20, 256))


def _of_type(info: inspect.Type) -> st.SearchStrategy[Any]:  # noqa: C901, PLR0911, PLR0912  # one branch a type
    match info:
        case inspect.Metadata(type=inspect.StrType() as text, extra_json_schema={"pattern": str(pattern)}):
            return _text(structs.replace(text, pattern=pattern))
        case inspect.Metadata():
            return _of_type(info.type)
        case inspect.IntType():
            return _integers(info)
        case inspect.FloatType():
            return st.floats(info.ge, info.le, allow_nan=False, allow_infinity=False)
        case inspect.BoolType():
            return st.booleans()
        case inspect.BytesType():
            return st.binary(max_size=200)
        case inspect.StrType():
            return _text(info)
        case inspect.EnumType():
            return st.sampled_from(list(info.cls))
        case inspect.StructType():
            return messages_of(info.cls)
        case inspect.DictType():
            return st.dictionaries(_of_type(info.key_type), _of_type(info.value_type), max_size=_MOST_ENTRIES)
        case inspect.VarTupleType():
            items = st.lists(_of_type(info.item_type), min_size=info.min_length or 0, max_size=_MOST_ENTRIES)
            return items.map(tuple)
        case inspect.UnionType():
            return st.one_of([_of_type(each) for each in info.types])
        case inspect.NoneType():
            return st.none()
        case _:
            raise TypeError(f"no strategy for {info}")


def _consistent(cls: type[Struct], values: dict[str, Any]) -> dict[str, Any]:
    """What the fields must be together."""
    if cls in {JournalRange, JournalLost}:
        values["first"], values["last"] = sorted((values["first"], values["last"]))
    if cls in {Inventory, SlotTelemetry}:
        values["slots"] = tuple({entry.slot: entry for entry in values["slots"]}.values())
    if cls is EjectPowerBank and values["slot"] is None and values["serial"] is None:
        values["slot"] = 1
    return values


def messages_of(cls: type[Struct]) -> st.SearchStrategy[Any]:
    """Valid instances of one message, command or control class."""
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    fields = {field.name: _of_type(field.type) for field in info.fields}
    return st.fixed_dictionaries(fields).map(lambda values: cls(**_consistent(cls, values)))


_CLOCKS = st.none() | st.integers(0, MAX_CLOCK_MS)
_COUNTERS = st.integers(1, MAX_COUNTER)


def frames_of(cls: Any) -> st.SearchStrategy[UpFrame]:
    seqs = st.just(0) if cls.stream is Stream.SESSION else _COUNTERS
    return st.builds(
        UpFrame,
        station=st.text(st.sampled_from("ABC019._-"), min_size=1, max_size=64),
        boot=_COUNTERS,
        seq=seqs,
        at_ms=_CLOCKS,
        message=messages_of(cls),
        replayed=st.booleans(),
    )


def command_frames_of(cls: Any) -> st.SearchStrategy[CommandFrame]:
    return st.builds(
        CommandFrame,
        command_id=st.text(_TEXT, min_size=1, max_size=64),
        deadline_ms=st.integers(0, MAX_CLOCK_MS),
        attempt=_COUNTERS,
        command=messages_of(cls),
    )


any_up = st.one_of([frames_of(cls) for cls in UP_MESSAGES])
any_command = st.one_of([command_frames_of(cls) for cls in COMMANDS])
any_control = st.one_of([messages_of(cls) for cls in CONTROLS])
