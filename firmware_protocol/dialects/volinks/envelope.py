"""What is around every binary frame: head, length, command, check byte (volinks.md §2)."""

from firmware_protocol.dialects.volinks.limits import HEAD, MAX_FRAME_BYTES, MIN_FRAME_BYTES
from firmware_protocol.errors import ChecksumMismatch, FrameTooLarge, FrameTruncated, LengthMismatch, WrongHead, quote


def check_byte(frame: bytes) -> int:
    """What makes the sum of the frame, this byte included, a multiple of 256."""
    return -sum(frame) & 0xFF


def read(payload: bytes, *, tolerate_checksum: bool = False) -> tuple[int, bytes]:
    """Command and data of a frame. Length comes before the sum: a frame with a 00 appended still sums to zero.

    Raises FrameTruncated, WrongHead, LengthMismatch, ChecksumMismatch, FrameTooLarge.
    """
    if len(payload) < MIN_FRAME_BYTES:
        raise FrameTruncated(f"expected at least {MIN_FRAME_BYTES} bytes, got {len(payload)}: {quote(payload)}")
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"expected at most {MAX_FRAME_BYTES} bytes, got {quote(payload)}")
    if payload[0] != HEAD:
        raise WrongHead(f"expected the head a8, got {payload[0]:02x} in {quote(payload)}")
    length = int.from_bytes(payload[1:3], "big")
    if length != len(payload):
        raise LengthMismatch(f"expected {length} bytes as the frame says, got {len(payload)}: {quote(payload)}")
    if not tolerate_checksum and not checksum_ok(payload):
        expected = check_byte(payload[:-1])
        raise ChecksumMismatch(f"expected check byte {expected:02x}, got {payload[-1]:02x} in {quote(payload)}")
    return payload[3], payload[4:-1]


def checksum_ok(payload: bytes) -> bool:
    return sum(payload) & 0xFF == 0


def write(command: int, data: bytes) -> bytes:
    """A frame around `data`; FrameTooLarge when the length does not fit its two bytes."""
    length = MIN_FRAME_BYTES + len(data)
    if length > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"expected at most {MAX_FRAME_BYTES} bytes, got {length}")
    head = bytes((HEAD, length >> 8, length & 0xFF, command)) + data
    return head + bytes((check_byte(head),))
