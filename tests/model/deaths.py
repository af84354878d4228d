"""Processes that die, or lose their connection, at any point of a transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from sqlalchemy import Engine, event


class Died(psycopg2.OperationalError):
    """The process, or its connection, is gone in the middle of a transaction."""


class Deaths:
    """Counts down the points at which one may die: before each statement, before each commit, and after it, when the
    work is done and nobody has heard of it.
    """

    def __init__(self, engine: Engine) -> None:
        self._left: int | None = None
        self.count = 0
        event.listen(engine, "before_cursor_execute", self.point)
        event.listen(engine, "commit", self.point)

    @contextmanager
    def after(self, points: int | None) -> Iterator[None]:
        self._left = points
        try:
            yield
        finally:
            self._left = None

    def point(self, *_: Any) -> None:
        if self._left is None:
            return
        if self._left == 0:
            self._left = None
            self.count += 1
            raise Died("server closed the connection unexpectedly")
        self._left -= 1
