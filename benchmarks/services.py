"""The real services for one benchmark, on a disk and with fsync on, and processes beside them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Engine

from cli.embedded.home import Home
from cli.embedded.mosquitto import TEMPLATES, EmbeddedMosquitto
from cli.embedded.ports import LOOPBACK
from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.redis import EmbeddedRedis
from cli.embedded.stack import raise_open_files_limit
from cli.migrations import upgrade
from fleet.db import create_engine_from

ROOT = Path(__file__).resolve().parents[1]
_OPEN = """per_listener_settings false
include_dir $limits
persistence false
log_dest stderr
log_type error
log_type warning
listener $port 127.0.0.1
allow_anonymous true
"""


class OpenMosquitto(EmbeddedMosquitto):
    """The embedded broker with the product's limits and one listener without access lists.

    Publishers stand for thousands of cabinets over one connection, and observers read what no user of the product may.
    """

    @property
    def url(self) -> str:
        return f"mqtt://{LOOPBACK}:{self.port}"

    def _render(self, limits: Path) -> str:
        return Template(_OPEN).substitute(limits=limits, port=self.port)


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a benchmark needs, migrated and empty."""

    home: Home
    postgres: EmbeddedPostgres
    redis: EmbeddedRedis
    mosquitto: OpenMosquitto
    engine: Engine

    @property
    def environment(self) -> dict[str, str]:
        """What the product's processes are told."""
        return {
            **os.environ,
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url,
            "MQTT_URL": self.mosquitto.url,
            "VOLTBAY_HOME": str(self.home.root),
            "VOLTBAY_RATE_LIMIT_SCALE": "0",
            "VOLTBAY_LOG_LEVEL": "WARNING",
            "PYTHONUNBUFFERED": "1",
        }

    @property
    def pids(self) -> dict[str, int]:
        found = {each.name: each.pid for each in (self.postgres, self.redis, self.mosquitto)}
        return {name: pid for name, pid in found.items() if pid is not None}


@contextmanager
def services(settings: Mapping[str, str] | None = None) -> Iterator[Services]:
    """PostgreSQL as `voltbay up` runs it (fsync on), Redis and a broker; all gone when the block ends."""
    raise_open_files_limit()
    assert TEMPLATES.exists()
    with ExitStack() as stack:
        home = Home(Path(stack.enter_context(TemporaryDirectory(prefix="voltbay-bench-", ignore_cleanup_errors=True))))
        home.create()
        postgres, redis, mosquitto = EmbeddedPostgres(home, settings=settings), EmbeddedRedis(home), OpenMosquitto(home)
        for each in (postgres, redis, mosquitto):
            stack.callback(each.stop)
            each.start()
        upgrade(postgres.url)
        engine = create_engine_from(postgres.url, name="voltbay-bench")
        stack.callback(engine.dispose)
        yield Services(home, postgres, redis, mosquitto, engine)


@contextmanager
def connections(url: str, number: int) -> Iterator[Engine]:
    """An engine with exactly so many connections: one a thread."""
    engine = create_engine_from(url, pool_size=number, max_overflow=0, name="voltbay-bench")
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def process(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """`python -m …` from the project's root; ended with SIGTERM when the block ends."""
    with command([sys.executable, "-m", *arguments], environment, **options) as running:
        yield running


@contextmanager
def command(
    argv: Sequence[str], environment: Mapping[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Any program from the project's root; ended with SIGTERM when the block ends."""
    environment = dict(environment) if environment is not None else None
    with subprocess.Popen(argv, cwd=ROOT, env=environment, text=True, **options) as running:
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(15)
            except subprocess.TimeoutExpired:
                running.kill()


def wait_for(running: subprocess.Popen[str], what: str, ready: Any, timeout_s: float = 30.0) -> None:
    """Poll `ready()` until it is true; raises RuntimeError when the process ends or the time is over."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if running.poll() is not None:
            raise RuntimeError(f"{what}: the process ended with code {running.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(0.05)
