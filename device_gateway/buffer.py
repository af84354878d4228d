"""Between the network thread and a pipeline: append without waiting, take what is there."""

from collections import deque
from threading import Event, Lock
from time import time

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
        #: When the oldest message came that has been taken and is not stored yet.
        self._in_hand: float | None = None
        #: How many messages somebody waits for; 0: nobody waits.
        self._wanted = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def size(self) -> int:
        """Bytes of the payloads that wait."""
        return self._added - self._taken

    def append(self, item: Received) -> bool:
        """Whether it was taken."""
        full = self._limit is not None and len(self._items) >= self._limit
        if full or (self._most_bytes is not None and self.size >= self._most_bytes):
            self.dropped += 1
            return False
        with self._counting:
            self._added += len(item.payload)
        self._items.append(item)
        if 0 < self._wanted <= len(self._items):
            self._arrived.set()
        return True

    def take(self, most: int, timeout_s: float, gather_s: float = 0.0) -> list[Received]:
        """At once what is there, at most `most`; when nothing is there, wait up to `timeout_s` for a first message.

        With `gather_s`, for messages that are cheaper by the dozen: wait so long for others after the first one.
        """
        if not self._items:
            self._wait(1, timeout_s)
        if gather_s and self._items:
            self._wait(most, gather_s)
        items, taken = self._items, list[Received]()
        before = self._in_hand
        if before is None:
            # Before anything is taken, even if it comes only now: at no moment does it look as if all were stored.
            self._in_hand = self._first_at() or time()
        try:
            for _ in range(min(most, len(items))):
                taken.append(items.popleft())
        except IndexError:  # another thread took them in between
            pass
        if before is None:
            self._in_hand = taken[0].at if taken else None
        size = sum([len(each.payload) for each in taken])
        with self._counting:
            self._taken += size
        return taken

    def stored(self) -> None:
        """For the only one who takes: all that was taken is dealt with."""
        self._in_hand = None

    def oldest_at(self) -> float | None:
        """When the oldest message came that is not `stored`, in seconds since 1970; None when there is none."""
        in_hand = self._in_hand
        return self._first_at() if in_hand is None else in_hand

    def wake(self) -> None:
        """End a `take` that waits."""
        self._arrived.set()

    def _first_at(self) -> float | None:
        try:
            return self._items[0].at
        except IndexError:
            return None

    def _wait(self, wanted: int, timeout_s: float) -> None:
        """Until so many are here, at most `timeout_s`. Two who wait may end each other's wait, early or late."""
        self._wanted = wanted
        # Looked at again after it is told: an append in between has either been seen here or sets the event.
        if len(self._items) < wanted:
            self._arrived.wait(timeout_s)
        self._wanted = 0
        self._arrived.clear()
