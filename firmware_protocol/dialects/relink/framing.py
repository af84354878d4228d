"""Frames out of a TCP stream, by length and never by read: one read can hold several frames, or a part of one."""

from firmware_protocol.dialects.relink.limits import LENGTH_BYTES, MAX_FRAME_BYTES, MIN_LENGTH
from firmware_protocol.errors import FrameTooLarge, LengthMismatch, ProtocolError, quote


class Framer:
    """Feed what was read, then take frames until there is none.

    There is no byte to find the beginning of a frame by: after the first error every call raises it again, and the
    connection must be closed. Holds what was fed and not taken, so take before feeding more.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._error: ProtocolError | None = None

    @property
    def pending(self) -> bytes:
        """The beginning of a frame that has not come whole."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def take(self) -> bytes | None:
        """The next whole frame, header included. LengthMismatch or FrameTooLarge when the stream is lost."""
        if self._error is not None:
            raise self._error
        if len(self._buffer) < LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
        if length < MIN_LENGTH:
            self._error = LengthMismatch(f"expected a length of {MIN_LENGTH} or more, got {length}: {self._shown()}")
        elif length > MAX_FRAME_BYTES - LENGTH_BYTES:
            largest = MAX_FRAME_BYTES - LENGTH_BYTES
            self._error = FrameTooLarge(f"expected a length of at most {largest}, got {length}: {self._shown()}")
        if self._error is not None:
            raise self._error
        end = LENGTH_BYTES + length
        if len(self._buffer) < end:
            return None
        frame = bytes(self._buffer[:end])
        del self._buffer[:end]
        return frame

    def _shown(self) -> str:
        return quote(bytes(self._buffer[:MAX_FRAME_BYTES]))
