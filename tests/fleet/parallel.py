"""Many threads at once on one database, each in transactions of its own."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

from sqlalchemy import Engine

from fleet.db import create_engine_from

Result = TypeVar("Result")


@contextmanager
def wide_engine(url: str, connections: int) -> Iterator[Engine]:
    """An engine on which `connections` threads can be in a transaction at the same time."""
    engine = create_engine_from(url, pool_size=connections, max_overflow=0, name="voltbay-test")
    try:
        yield engine
    finally:
        engine.dispose()


def together(count: int, work: Callable[[int], Result]) -> list[Result | Exception]:
    """`work(0..count-1)`, all started at the same moment; what each returned or raised."""
    barrier = Barrier(count)

    def run(number: int) -> Result | Exception:
        barrier.wait(30)
        try:
            return work(number)
        except Exception as error:  # noqa: BLE001  # the test looks at it
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
