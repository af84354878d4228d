"""Series that are read from the database when Prometheus asks: processes come and go, the rows stay."""

from collections.abc import Callable, Iterable

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

#: The families with their samples; without a session only their names.
Read = Callable[[Session | None], Iterable[Metric]]


class DatabaseMetrics(Collector):
    """No samples while the database is away: Prometheus then knows that it does not know."""

    def __init__(self, engine: Engine, read: Read) -> None:
        self._engine = engine
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return self._read(None)

    def collect(self) -> Iterable[Metric]:
        try:
            with Session(self._engine) as session:
                return self._read(session)
        except SQLAlchemyError:
            return []
