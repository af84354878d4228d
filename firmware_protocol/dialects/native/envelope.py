"""The envelopes of VDP v1 as msgspec types, so that one pass over the bytes decodes, checks and dispatches a frame."""

from functools import reduce
from operator import or_
from typing import Any, ClassVar, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from firmware_protocol.channels import COMMANDS, CONTROLS, STREAM, UP_KIND, UP_MESSAGES, type_name
from firmware_protocol.limits import PROTOCOL_VERSION
from firmware_protocol.messages import Stream
from firmware_protocol.topics import UpKind
from firmware_protocol.types import ClockMs, CommandId, Counter, CounterOrZero


class UpEnvelope(Struct, frozen=True, kw_only=True, gc=False):
    """What every message of a cabinet carries; `type` is the tag that selects the type of `data`."""

    kind: ClassVar[UpKind]
    in_session: ClassVar[bool]
    v: Literal[1]
    boot: Counter
    seq: CounterOrZero
    data: Any
    at: ClockMs | None = None
    replayed: bool = False


class CommandEnvelope(Struct, frozen=True, kw_only=True):
    v: Literal[1]
    id: CommandId
    deadline: ClockMs
    attempt: Counter
    data: Any


class ControlEnvelope(Struct, frozen=True, kw_only=True):
    v: Literal[1]
    data: Any


E = TypeVar("E", bound=Struct)


def _tagged(base: type[E], message: type[Struct], **attributes: object) -> type[E]:
    """`base` whose `data` is `message`, selected by the message's own `type`."""
    wire: type[E] = msgspec.defstruct(  # type: ignore[assignment]  # the base is in `bases`; the stub says Struct
        f"{message.__name__}{base.__name__}",
        [("data", message)],
        bases=(base,),
        namespace=attributes,
        tag_field="type",
        tag=type_name(message),
        frozen=True,
        kw_only=True,
        # Frames hold values and tuples of values: nothing that could hold them in turn, nothing to collect.
        gc=False,
    )
    return wire


def _up(message: type[Struct]) -> type[UpEnvelope]:
    return _tagged(UpEnvelope, message, kind=UP_KIND[message], in_session=STREAM[message] is Stream.SESSION)


UP_TYPES: Final = {type_name(message): _up(message) for message in UP_MESSAGES}
COMMAND_TYPES: Final = {type_name(message): _tagged(CommandEnvelope, message) for message in COMMANDS}
CONTROL_TYPES: Final = {type_name(message): _tagged(ControlEnvelope, message) for message in CONTROLS}


def union_of(types: dict[str, type[E]]) -> Any:
    """The tagged union of these envelopes: what a decoder is made for."""
    return reduce(or_, types.values())


def fields_of(message: Struct) -> dict[str, Any]:
    """The `data` of a message. What is None is left out: absent and null mean the same."""
    found = ((name, getattr(message, name)) for name in message.__struct_fields__)
    return {name: value for name, value in found if value is not None}


def opening() -> dict[str, Any]:
    return {"v": PROTOCOL_VERSION}
