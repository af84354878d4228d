"""Where messages wait for their lane, and how many may."""

from datetime import UTC, datetime
from typing import Final

from device_gateway.buffer import Buffer
from device_gateway.received import Received

_TELEMETRY_END: Final = "/up/telemetry"
#: Frames have at most 64 KiB: counted alone, 20,000 of them could be more than a machine has.
MOST_BYTES: Final = 64 * 1024 * 1024
#: Share of the bounds at which the broker is read again.
_RESUME_AT: Final = 7 / 8


class Reception:
    """A buffer of events and one of samples, at most `limit` messages and MOST_BYTES of either kind, and what one read
    of the network brings.

    Samples that do not fit are dropped, and so are events of QoS 0 or over TCP. Events of QoS 1 are never dropped:
    while `is_full` says so the broker is not read (decision 0200). `deliver` is for network threads.
    """

    def __init__(self, limit: int) -> None:
        self.events = Buffer()
        #: Events dropped.
        self._dropped = 0
        self.samples = Buffer(limit, MOST_BYTES)
        self._limit = limit
        self._full = False
        self._closed = False

    def close(self) -> None:
        """What comes from now on is left to the broker, which brings it again."""
        self._closed = True

    def deliver(self, received: Received) -> bool:
        """Sort by lane and return; False: it is dropped, and nobody wants it again."""
        if self._closed:
            return True
        if received.topic.endswith(_TELEMETRY_END):
            return self.samples.append(received)
        if received.qos or not self._overflows(1.0):
            return self.events.append(received)
        self._dropped += 1
        return False

    @property
    def dropped(self) -> int:
        """Messages of either kind."""
        return self._dropped + self.samples.dropped

    def is_full(self) -> bool:
        """Once full, until an eighth of it is stored: a link that stops and goes with each message does little else,
        and one that reads nothing for long does not hear that the broker has taken our commands.
        """
        self._full = self._overflows(_RESUME_AT if self._full else 1.0)
        return self._full

    def events_through(self) -> datetime | None:
        """When the oldest event came that is not stored; None: all are."""
        oldest = self.events.oldest_at()
        return None if oldest is None else datetime.fromtimestamp(oldest, UTC)

    def _overflows(self, share: float) -> bool:
        return len(self.events) >= self._limit * share or self.events.size >= MOST_BYTES * share
