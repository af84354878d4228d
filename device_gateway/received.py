from datetime import UTC, datetime
from typing import NamedTuple


class Received(NamedTuple):
    """One MQTT message as it came. `generation` counts connections: `mid` means something in its own one only."""

    topic: str
    payload: bytes
    content_type: str | None
    qos: int
    mid: int
    generation: int
    #: Seconds since 1970, by our own clock.
    at: float

    @property
    def received_at(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)
