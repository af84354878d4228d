"""Waiting for a NOTIFY, a time limit, or a stop signal, whichever comes first. Losing a NOTIFY costs one limit."""

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from types import FrameType

import psycopg2
import structlog
from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

from fleet.common.notify import Channel, listening

log = structlog.get_logger(__name__)


class StopSignal:
    """SIGTERM or SIGINT, seen by whoever waits in `select`. A second signal ends the process at once."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.is_set = False

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def fileno(self) -> int:
        return self._read

    def set(self) -> None:
        self.is_set = True
        os.write(self._write, b"x")

    def wait(self, limit_s: float) -> None:
        """Sleep that a stop ends early."""
        select.select([self], [], [], limit_s)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.is_set:
            os._exit(128 + number)
        self.set()


class Wakeup:
    """A LISTEN connection of its own, made again whenever it is lost."""

    def __init__(self, database_url: str, channel: Channel, stop: StopSignal) -> None:
        self._url = database_url
        self._channel = channel
        self._stop = stop
        self._connection: Connection | None = None

    def wait(self, limit_s: float, patience: Callable[[str], float | None] = lambda _: 0.0) -> None:
        """Return on a notification, after `limit_s`, or when stopped. Never raises for a lost database.

        `patience`: how many seconds a notification with this payload may wait for others; None: it ends no wait.
        """
        if self._connection is None and self._connect():
            return  # something may have been notified before we listened
        until = monotonic() + limit_s
        while not self._stop.is_set and (rest := until - monotonic()) > 0:
            watched: list[StopSignal | Connection] = [self._stop]
            if self._connection is not None:
                watched.append(self._connection)
            ready, _, _ = select.select(watched, [], [], rest)
            if self._connection is not None and self._connection in ready:
                told = [patience(payload) for payload in self._drain(self._connection)]
                until = min([until, *(monotonic() + each for each in told if each is not None)])

    def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()
            self._connection = None

    def _connect(self) -> bool:
        try:
            self._connection = listening(self._url, "voltbay-wakeup", [self._channel])
        except psycopg2.Error as error:
            log.warning("listen_failed", error=str(error).strip())
            return False
        return True

    def _drain(self, connection: Connection) -> list[str]:
        """What has been notified; of a connection that is lost nobody knows, and a look is due."""
        try:
            connection.poll()
            payloads = [notification.payload for notification in connection.notifies]
            connection.notifies.clear()
        except psycopg2.Error as error:
            log.warning("listen_lost", error=str(error).strip())
            self.close()
            return [""]
        return payloads
