"""What a worker process holds: settings and an engine, made on first use and never before the fork."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from celery.signals import worker_process_init, worker_process_shutdown
from sqlalchemy import Engine
from sqlalchemy.orm import Session

import fleet.registry  # noqa: F401  # every table: foreign keys of some point into areas that no task imports
from fleet.db import create_engine_from, session_scope
from fleet.settings import Settings


@cache
def settings() -> Settings:
    return Settings()


@cache
def engine() -> Engine:
    return create_engine_from(
        settings().database_url.get_secret_value(), pool_size=2, max_overflow=2, name="voltbay-worker"
    )


@contextmanager
def transaction() -> Iterator[Session]:
    """The one transaction of a task."""
    with session_scope(engine()) as session:
        yield session


@worker_process_init.connect
def _forget_parents(**_: object) -> None:
    """A forked child must not share its parent's connections."""
    if engine.cache_info().currsize:
        engine().dispose(close=False)


@worker_process_shutdown.connect
def _close(**_: object) -> None:
    if engine.cache_info().currsize:
        engine().dispose()
