"""What a cabinet wants done outside of itself. The cabinet is pure; the driver does these things."""

from dataclasses import dataclass

from firmware_protocol.dialect import Published


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a new MQTT session with this will."""

    will: Published


@dataclass(frozen=True, slots=True)
class Hangup:
    """End the session. `clean`: with a DISCONNECT, so that the broker drops the will; otherwise as a cut wire does."""

    clean: bool


@dataclass(frozen=True, slots=True)
class Fetch:
    """Download `url`, of which `size` bytes are expected, and tell `Cabinet.fetched`."""

    command_id: str
    url: str
    size: int


Output = Published | Connect | Hangup | Fetch
