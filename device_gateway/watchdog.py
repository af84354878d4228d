"""Ends the process when one of its threads dies or hangs: a gateway that is half alive is worse than none."""

import os
from collections.abc import Callable, Mapping
from threading import Event, Thread
from time import monotonic
from typing import Any, Final, Protocol

import structlog

_LOG: Final = structlog.get_logger(__name__)
EXIT_CODE: Final = 70
#: Longer than the longest statement or lock may take (10 s), several times over.
HANGS_AFTER_S: Final = 60.0
_LOOK_EVERY_S: Final = 1.0


class Watched(Protocol):
    beat: float

    def is_alive(self) -> bool: ...


def end_process(reason: str) -> None:
    """At once: the threads that would have to be asked are the ones that do not answer."""
    del reason
    os._exit(EXIT_CODE)


class Watchdog(Thread):
    def __init__(
        self,
        threads: Mapping[str, Watched],
        *,
        hangs_after_s: float = HANGS_AFTER_S,
        look_every_s: float = _LOOK_EVERY_S,
        end: Callable[[str], Any] = end_process,
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._threads = threads
        self._hangs_after_s = hangs_after_s
        self._look_every_s = look_every_s
        self._end = end
        self._resting = Event()

    def rest(self) -> None:
        """The process is ending in good order."""
        self._resting.set()

    def run(self) -> None:
        while not self._resting.wait(self._look_every_s):
            reason = self._complaint()
            if reason is not None:
                _LOG.critical("gateway ends itself", reason=reason)
                self._end(reason)
                return

    def _complaint(self) -> str | None:
        now = monotonic()
        for name, thread in self._threads.items():
            if self._resting.is_set():
                return None
            if not thread.is_alive():
                return f"thread {name} has died"
            if now - thread.beat > self._hangs_after_s:
                return f"thread {name} has hung for {now - thread.beat:.0f} s"
        return None
