"""One Relink frame: header, check and token around a payload."""

import hmac
from functools import reduce
from hashlib import md5
from operator import xor
from typing import Final

from msgspec import Struct

from firmware_protocol.dialects.relink.limits import CONSTANT_TOKEN, HEADER_BYTES, LENGTH_BYTES, MAX_FRAME_BYTES
from firmware_protocol.errors import (
    ChecksumMismatch,
    FrameTooLarge,
    FrameTruncated,
    InvalidField,
    LengthMismatch,
    TokenMismatch,
    quote,
)

#: Bytes of the MD5 that make the token, in this order.
_TOKEN_BYTES: Final = (15, 11, 7, 3)


class Packet(Struct, frozen=True, kw_only=True):
    """A frame whose fields are told apart and not yet understood."""

    command: int
    version: int
    payload: bytes = b""
    check: int = 0
    token: bytes = CONSTANT_TOKEN

    @property
    def checksum_ok(self) -> bool:
        return self.check == check_byte(self.payload)

    def token_ok(self, secret: bytes) -> bool:
        """Whether the second generation's token fits. It covers the payload only and can be replayed for ever."""
        return hmac.compare_digest(self.token, token_of(self.payload, secret))


def check_byte(payload: bytes) -> int:
    """XOR of the payload; header and token are not covered."""
    return reduce(xor, payload, 0)


def token_of(payload: bytes, secret: bytes) -> bytes:
    """Second generation: bytes 15, 11, 7 and 3 of MD5(payload, secret)."""
    digest = md5(payload + secret, usedforsecurity=False).digest()
    return bytes(digest[index] for index in _TOKEN_BYTES)


def open_packet(raw: bytes, *, tolerate_checksum: bool = False, secret: bytes | None = None) -> Packet:
    """One whole frame as `Framer` cuts it. With `secret` the token must fit.

    Raises FrameTruncated, FrameTooLarge, LengthMismatch, ChecksumMismatch, TokenMismatch.
    """
    if len(raw) < HEADER_BYTES:
        raise FrameTruncated(f"expected at least {HEADER_BYTES} bytes, got {len(raw)}: {quote(raw)}")
    if len(raw) > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"expected at most {MAX_FRAME_BYTES} bytes, got {quote(raw)}")
    length = int.from_bytes(raw[:LENGTH_BYTES], "big")
    if length != len(raw) - LENGTH_BYTES:
        raise LengthMismatch(f"expected {length} bytes after the length, got {len(raw) - LENGTH_BYTES}: {quote(raw)}")
    packet = Packet(command=raw[2], version=raw[3], check=raw[4], token=raw[5:9], payload=raw[9:])
    if not (tolerate_checksum or packet.checksum_ok):
        expected = check_byte(packet.payload)
        raise ChecksumMismatch(f"expected check {expected:02x}, got {packet.check:02x} in {quote(raw)}")
    if secret is not None and not packet.token_ok(secret):
        raise TokenMismatch(f"expected the token of the station's secret, got {packet.token.hex()} in {quote(raw)}")
    return packet


def close_packet(command: int, version: int, payload: bytes, secret: bytes | None = None) -> bytes:
    """A frame; `secret` None is the first generation, whose token is constant. FrameTooLarge beyond the cap."""
    if len(payload) > MAX_FRAME_BYTES - HEADER_BYTES:
        raise FrameTooLarge(f"expected at most {MAX_FRAME_BYTES} bytes, got {HEADER_BYTES + len(payload)}")
    if not 0 <= version <= 0xFF:
        raise InvalidField(f"version: expected a byte, got {version}")
    token = CONSTANT_TOKEN if secret is None else token_of(payload, secret)
    length = HEADER_BYTES - LENGTH_BYTES + len(payload)
    return length.to_bytes(LENGTH_BYTES, "big") + bytes((command, version, check_byte(payload))) + token + payload
