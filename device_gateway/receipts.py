"""Messages are acknowledged in the order in which they came (MQTT 5, 4.6), whichever lane stored them first."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import Lock

from device_gateway.received import Received


class Receipts:
    """For all lanes of events. The broker may have to wait for a lane that is slow; its receive maximum is large."""

    def __init__(self) -> None:
        self._waiting: deque[Received] = deque()
        #: (generation, mid) of those that are stored and have older ones before them.
        self._stored: set[tuple[int, int]] = set()
        self._turn = Lock()

    def came(self, received: Received) -> None:
        """A message of QoS 1 that is going to be stored. Only one thread brings them."""
        self._waiting.append(received)

    def stored(self, batch: Iterable[Received], acknowledge: Callable[[Sequence[Received]], None]) -> None:
        """Acknowledge what may be by now."""
        keys = [(each.generation, each.mid) for each in batch if each.qos]
        waiting, stored = self._waiting, self._stored
        with self._turn:
            stored.update(keys)
            ready: list[Received] = []
            while waiting and (key := (waiting[0].generation, waiting[0].mid)) in stored:
                stored.remove(key)
                ready.append(waiting.popleft())
            if ready:
                acknowledge(ready)
