"""The worker and the relay as processes, on real services."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from fleet.common.clock import utc_now
from fleet.common.models import OutboxEvent
from fleet.db import session_scope
from fleet.settings import Settings
from fleet.users import otp
from fleet.users.models import SandboxMessage
from tests.databases import Database
from tests.workers.conftest import Queue

WORKER = ["-m", "celery", "-A", "workers.app", "worker", "--loglevel", "WARNING", "--concurrency", "1"]
RELAY = ["-m", "workers.relay"]


class System:
    def __init__(self, database: Database, queue: Queue, home: Path) -> None:
        self.database = database
        self.queue = queue
        self._environment = {
            **os.environ,
            "DATABASE_URL": database.url,
            "REDIS_URL": queue.service.url,
            "VOLTBAY_HOME": str(home),
        }
        self._logs = home / "processes"
        self._logs.mkdir(parents=True)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, arguments: list[str]) -> "subprocess.Popen[bytes]":
        with self._log(len(self._running)).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments], env=self._environment, start_new_session=True, stdout=log, stderr=log
            )
        self._running.append(process)
        return process

    def said(self, process: "subprocess.Popen[bytes]") -> str:
        """What it has logged so far."""
        return self._log(self._running.index(process)).read_text()

    def _log(self, number: int) -> Path:
        return self._logs / f"{number}.log"

    def ask_code(self, address: str) -> None:
        with session_scope(self.database.engine) as session:
            otp.request_code(session, address, utc_now(), Settings())

    def codes(self, address: str) -> int:
        with session_scope(self.database.engine) as session:
            return len(session.scalars(select(SandboxMessage).where(SandboxMessage.destination == address)).all())

    def stop(self) -> None:
        for process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            sys.stdout.write(self.said(process))  # shown with a test that fails


@pytest.fixture
def system(clean_database: Database, queue: Queue, tmp_path: Path) -> Iterator[System]:
    with _stopping(System(clean_database, queue, tmp_path / "home")) as system:
        yield system


@contextmanager
def _stopping(system: System) -> Iterator[System]:
    try:
        yield system
    finally:
        system.stop()


def until(true: Callable[[], bool], limit_s: float = 40) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def test_code_reaches_the_inbox_whoever_dies_meanwhile(system: System) -> None:
    worker, relay = system.start(WORKER), system.start(RELAY)
    system.ask_code("one@example.com")
    until(lambda: system.codes("one@example.com") == 1)

    # The worker is gone: the task waits in Redis.
    os.killpg(worker.pid, signal.SIGKILL)
    system.ask_code("two@example.com")
    until(lambda: system.queue.length() > 0)
    worker = system.start(WORKER)
    until(lambda: system.codes("two@example.com") == 1)

    # Redis is gone: the event waits in PostgreSQL.
    system.queue.service.kill()
    system.ask_code("three@example.com")
    until(lambda: "relay_waits" in system.said(relay))
    assert system.codes("three@example.com") == 0
    system.queue.service.start()
    until(lambda: system.codes("three@example.com") == 1)

    # The relay is gone: the same.
    relay.kill()
    system.ask_code("four@example.com")
    system.start(RELAY)
    until(lambda: system.codes("four@example.com") == 1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0


@pytest.mark.chaos
def test_redis_that_forgets_everything_loses_no_event(system: System) -> None:
    system.start(RELAY)
    system.ask_code("one@example.com")

    def dispatched() -> bool:
        with session_scope(system.database.engine) as session:
            return session.scalars(select(OutboxEvent.dispatched_at)).one() is not None

    until(dispatched)
    system.queue.forget_everything()
    system.start(WORKER)
    until(lambda: system.codes("one@example.com") == 1, 60)  # the relay's patience is 20 s
