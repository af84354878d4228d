"""Waiting for a NOTIFY, a time limit, or a stop signal, whichever comes first. Losing a NOTIFY costs one limit."""

import os
import select
import signal
from contextlib import suppress
from types import FrameType

import psycopg2
import structlog
from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

from fleet.common.notify import Channel

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

    def wait(self, limit_s: float) -> None:
        """Return on a notification, after `limit_s`, or when stopped. Never raises for a lost database."""
        if self._connection is None and self._connect():
            return  # something may have been notified before we listened
        watched: list[StopSignal | Connection] = [self._stop]
        if self._connection is not None:
            watched.append(self._connection)
        ready, _, _ = select.select(watched, [], [], limit_s)
        if self._connection is not None and self._connection in ready:
            self._drain(self._connection)

    def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()
            self._connection = None

    def _connect(self) -> bool:
        try:
            connection = psycopg2.connect(
                self._url, application_name="voltbay-wakeup", connect_timeout=3,
                keepalives_idle=10, keepalives_interval=5, keepalives_count=3,
            )  # fmt: skip
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f'LISTEN "{self._channel.value}"')
        except psycopg2.Error as error:
            log.warning("listen_failed", error=str(error).strip())
            return False
        self._connection = connection
        return True

    def _drain(self, connection: Connection) -> None:
        try:
            connection.poll()
            connection.notifies.clear()
        except psycopg2.Error as error:
            log.warning("listen_lost", error=str(error).strip())
            self.close()
