"""What a cabinet will do later, in order of time. No thread and no timer: somebody asks for what is due."""

import heapq
from collections.abc import Callable
from enum import IntEnum

Action = Callable[[int], None]


class Scope(IntEnum):
    """What an entry dies with."""

    #: The connection: heartbeats, retries of Booted.
    LINK = 0
    #: The running firmware: a motor that turns.
    FIRMWARE = 1
    #: Nothing: the world around the cabinet goes on (power comes back, a bank slides back into its slot).
    WORLD = 2


class Agenda:
    """Entries due at the same instant run in the order in which they were made."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Scope, int, Action]] = []
        self._generation = [0, 0, 0]
        self._made = 0

    def at(self, due_ms: int, scope: Scope, action: Action) -> None:
        """Call `action(now_ms)` once `due_ms` has come, unless `scope` is cancelled before."""
        self._made += 1
        heapq.heappush(self._heap, (due_ms, self._made, scope, self._generation[scope], action))

    def cancel(self, scope: Scope) -> None:
        """Forget every entry of `scope`."""
        self._generation[scope] += 1

    def next_due(self) -> int | None:
        """When to call `run` again; None when nothing is planned."""
        while self._heap and self._heap[0][3] != self._generation[self._heap[0][2]]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def run(self, now_ms: int) -> None:
        """Do everything that is due, including what that makes due."""
        while (due := self.next_due()) is not None and due <= now_ms:
            heapq.heappop(self._heap)[4](now_ms)
