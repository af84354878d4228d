"""Texts and bank ids of Relink payloads, both ways."""

import struct
from typing import Final

from firmware_protocol.dialects.relink.limits import BANK_ID_BYTES, MAX_TEXT_BYTES
from firmware_protocol.errors import FrameTruncated, InvalidField, LengthMismatch, quote

_NO_BANK: Final = bytes(BANK_ID_BYTES)
_PREFIX: Final = 4
_U16: Final = struct.Struct(">H")


def bank_text(raw: bytes) -> str | None:
    """The id as it is printed: four characters and eight hex digits, or sixteen hex digits; None for no bank."""
    if raw == _NO_BANK:
        return None
    prefix = raw[:_PREFIX].decode("latin-1")
    if prefix.isascii() and prefix.isalnum():
        return prefix + raw[_PREFIX:].hex().upper()
    return raw.hex().upper()


def bank_raw(text: str | None) -> bytes:
    """The eight bytes of a printed id; InvalidField for a text that is none."""
    if text is None:
        return _NO_BANK
    prefix = text[:-8] if len(text) == _PREFIX + 8 else ""
    try:
        raw = prefix.encode("ascii") + bytes.fromhex(text[len(prefix) :])
    except ValueError:
        raw = b""
    if len(raw) != BANK_ID_BYTES or raw == _NO_BANK:
        raise InvalidField(f"bank: expected 4 characters and 8 hex digits, got {text[:40]!r}")
    return raw


class Reader:
    """Takes a payload apart from the front. Raises FrameTruncated, InvalidField and, at the end, LengthMismatch."""

    def __init__(self, name: str, payload: bytes) -> None:
        self._name = name
        self._payload = payload
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._payload) - self._at

    def take(self, size: int, what: str) -> bytes:
        if self.left < size:
            raise FrameTruncated(
                f"{self._name}: expected {size} bytes of {what} at byte {self._at}, got {self.left}: "
                f"payload {quote(self._payload)}"
            )
        self._at += size
        return self._payload[self._at - size : self._at]

    def unpack(self, layout: struct.Struct, what: str) -> tuple[int, ...]:
        return layout.unpack(self.take(layout.size, what))

    def u8(self, what: str) -> int:
        return self.take(1, what)[0]

    def u16(self, what: str) -> int:
        return int.from_bytes(self.take(2, what), "big")

    def u32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "big")

    def text(self, what: str) -> str:
        """A u16 length and so many bytes, of which the last is usually a NUL."""
        raw = self.take(self.u16(f"the length of {what}"), what)
        text = raw.removesuffix(b"\0").decode("latin-1")
        if not text.isascii() or (text and not text.isprintable()):
            raise InvalidField(f"{self._name}: {what}: expected printable ASCII, got {quote(raw)}")
        return text

    def bank(self) -> str | None:
        return bank_text(self.take(BANK_ID_BYTES, "the bank's id"))

    def rest(self) -> bytes:
        return self.take(self.left, "the rest")

    def records(self, size: int) -> list[bytes]:
        """What is left as records of `size` bytes; the length is believed, not a count in the payload."""
        if self.left % size:
            raise LengthMismatch(
                f"{self._name}: expected records of {size} bytes, got {self.left} bytes: {quote(self._payload)}"
            )
        return [self.take(size, "a record") for _ in range(self.left // size)]

    def end(self) -> None:
        if self.left:
            raise LengthMismatch(
                f"{self._name}: expected {self._at} bytes of payload, got {len(self._payload)}: {quote(self._payload)}"
            )


def text_bytes(text: str) -> bytes:
    """A text with its length, which counts the NUL at its end. InvalidField for what the other side would refuse."""
    if not text.isascii() or (text and not text.isprintable()) or len(text) > MAX_TEXT_BYTES:
        raise InvalidField(f"text: expected at most {MAX_TEXT_BYTES} printable ASCII characters, got {text[:40]!r}")
    return _U16.pack(len(text) + 1) + text.encode("ascii") + b"\0"
