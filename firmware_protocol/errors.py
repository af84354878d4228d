"""Everything that can be wrong with a frame. One root, so that random bytes raise nothing else."""

from typing import Final

#: Bytes quoted in a message: enough to recognise a frame, never a page of it.
QUOTED_BYTES: Final = 32


def quote(payload: bytes) -> str:
    """Hex of the first bytes, with the length when something was cut."""
    head = payload[:QUOTED_BYTES].hex()
    return head if len(payload) <= QUOTED_BYTES else f"{head}… ({len(payload)} bytes)"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class ProtocolError(Exception):
    """Root of all declared errors of this package. `code` is stable and becomes a metric label.

    The message is one printable line, whatever a frame held: it goes to logs, terminals and a text column.
    """

    code = "protocol"

    def __init__(self, message: str = "") -> None:
        super().__init__(message if message.isprintable() else _printable(message))


class FrameTooLarge(ProtocolError):
    code = "too_large"


class FrameTruncated(ProtocolError):
    code = "truncated"


class ChecksumMismatch(ProtocolError):
    code = "checksum"


class LengthMismatch(ProtocolError):
    """The frame's own length field and its bytes disagree."""

    code = "length"


class WrongHead(ProtocolError):
    """The first bytes are not those that every frame of the dialect begins with."""

    code = "head"


class TokenMismatch(ProtocolError):
    """A frame whose token the station's secret did not make."""

    code = "token"


class AmbiguousLayout(ProtocolError):
    """An inventory that can be read in several ways, or in none. The last one that was read stays, marked stale."""

    code = "layout"


class LayoutMismatch(ProtocolError):
    """An inventory that does not have the holes that the cabinet was commissioned with."""

    code = "layout_changed"


class UnknownLayout(ProtocolError):
    """A command that has a name and no known fields."""

    code = "unknown_layout"


class MalformedFrame(ProtocolError):
    """Not JSON, not CBOR, or not the envelope."""

    code = "malformed"


class UnsupportedVersion(ProtocolError):
    code = "version"


class UnknownMessageType(ProtocolError):
    code = "unknown_type"


class InvalidField(ProtocolError):
    """A field has the wrong type or is out of range."""

    code = "invalid_field"


class WrongChannel(ProtocolError):
    """A message on a topic that is not for it: an event on the telemetry topic, a station's name that is not one."""

    code = "wrong_channel"


class UnsupportedCommand(ProtocolError):
    """This dialect has no way to say this command."""

    code = "unsupported_command"


class UnknownDialect(ProtocolError):
    """A dialect's name that this build does not have."""

    code = "unknown_dialect"
