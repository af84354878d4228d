"""Between the network thread and a pipeline: append without waiting, take what is there."""

from collections import deque
from threading import Event, Lock

from device_gateway.received import Received


class Buffer:
    """FIFO of received messages.

    With `limit` (and `most_bytes`) it drops what does not fit, counts it in `dropped` and never grows beyond; without,
    whoever appends looks at its length and `size` first. Several threads may append and take.
    """

    def __init__(self, limit: int | None = None, most_bytes: int | None = None) -> None:
        self._items: deque[Received] = deque()
        self._limit, self._most_bytes = limit, most_bytes
        self._added = self._taken = 0
        self._counting = Lock()
        self._arrived = Event()
        self._waiting = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def size(self) -> int:
        """Bytes of the payloads that wait."""
        return self._added - self._taken

    def append(self, item: Received) -> None:
        full = self._limit is not None and len(self._items) >= self._limit
        if full or (self._most_bytes is not None and self.size >= self._most_bytes):
            self.dropped += 1
            return
        with self._counting:
            self._added += len(item.payload)
        self._items.append(item)
        if self._waiting:
            self._arrived.set()

    def take(self, most: int, timeout_s: float) -> list[Received]:
        """At once what is there, at most `most`; when nothing is there, wait up to `timeout_s` for a first message."""
        if not self._items:
            self._wait(timeout_s)
        items, taken = self._items, list[Received]()
        try:
            for _ in range(min(most, len(items))):
                taken.append(items.popleft())
        except IndexError:  # another thread took them in between
            pass
        size = sum([len(each.payload) for each in taken])
        with self._counting:
            self._taken += size
        return taken

    def oldest_at(self) -> float | None:
        """When the oldest message came, in seconds since 1970; None when there is none."""
        try:
            return self._items[0].at
        except IndexError:
            return None

    def wake(self) -> None:
        """End a `take` that waits."""
        self._arrived.set()

    def _wait(self, timeout_s: float) -> None:
        self._waiting = True
        # Looked at again after the flag is up: an append in between has either been seen here or sets the event.
        if not self._items:
            self._arrived.wait(timeout_s)
        self._waiting = False
        self._arrived.clear()
