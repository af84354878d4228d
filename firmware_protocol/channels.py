"""Which topic each message belongs on, and how it is published there (docs/protocol.md, 3.1)."""

from typing import Final, get_args

from msgspec import Struct

from firmware_protocol.commands import Ack, CommandFrame, Control, NativeCommand, Resend, Welcome
from firmware_protocol.messages import (
    Booted,
    EventMessage,
    JournalLost,
    Offline,
    Online,
    SampleMessage,
    Stream,
    UpMessage,
)
from firmware_protocol.topics import DownKind, UpKind

_UP: Final[tuple[type[UpMessage], ...]] = get_args(UpMessage)
UP_MESSAGES: Final[tuple[type[Struct], ...]] = _UP
COMMANDS: Final[tuple[type[Struct], ...]] = get_args(NativeCommand)
CONTROLS: Final[tuple[type[Struct], ...]] = get_args(Control)

UP_KIND: Final[dict[type[Struct], UpKind]] = {
    Booted: UpKind.BOOT,
    JournalLost: UpKind.BOOT,
    Online: UpKind.STATE,
    Offline: UpKind.STATE,
    **dict.fromkeys(get_args(EventMessage), UpKind.EVENT),
    **dict.fromkeys(get_args(SampleMessage), UpKind.TELEMETRY),
}
STREAM: Final[dict[type[Struct], Stream]] = {message: message.stream for message in _UP}
DOWN_KIND: Final[dict[type[Struct], DownKind]] = {
    Welcome: DownKind.WELCOME,
    Ack: DownKind.ACK,
    Resend: DownKind.RESEND,
    CommandFrame: DownKind.COMMAND,
}
#: Samples may be lost; everything else is delivered at least once.
UP_QOS: Final = {UpKind.BOOT: 1, UpKind.EVENT: 1, UpKind.STATE: 1, UpKind.TELEMETRY: 0}
DOWN_QOS: Final = {DownKind.WELCOME: 1, DownKind.ACK: 0, DownKind.RESEND: 1, DownKind.COMMAND: 1}


def type_name(cls: type[Struct]) -> str:
    """The `type` of a message, command or control message on the wire."""
    tag = cls.__struct_config__.tag
    return tag if isinstance(tag, str) else cls.__name__


def up_kind(message: UpMessage) -> UpKind:
    return UP_KIND[type(message)]


def is_retained(kind: UpKind) -> bool:
    """Presence is retained, so that a gateway that starts later learns it."""
    return kind is UpKind.STATE
