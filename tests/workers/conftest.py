"""A Redis of each test's own, so that it can be killed and its queue be counted."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from celery import Celery
from redis import Redis

from cli.embedded.home import Home
from cli.embedded.redis import EmbeddedRedis
from fleet.settings import Settings
from tests.databases import Database
from workers import context
from workers.app import create_celery


@dataclass(frozen=True, slots=True)
class Queue:
    service: EmbeddedRedis
    celery: Celery

    def send(self, task: str, events: int | list[int]) -> None:
        self.celery.send_task(task, args=[events])

    def length(self) -> int:
        with Redis.from_url(self.service.url) as client:
            return cast("int", client.llen("voltbay"))

    def forget_everything(self) -> None:
        with Redis.from_url(self.service.url) as client:
            client.flushall()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    service = EmbeddedRedis(Home(tmp_path / "home"))
    service.start()
    celery = create_celery(Settings(redis_url=service.url))
    yield Queue(service, celery)
    celery.close()
    service.stop()


@pytest.fixture
def worker(clean_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """This process is a worker on a database of its own."""
    monkeypatch.setenv("DATABASE_URL", clean_database.url)
    context.settings.cache_clear()
    context.engine.cache_clear()
    yield clean_database
    context.engine().dispose()
    context.settings.cache_clear()
    context.engine.cache_clear()
