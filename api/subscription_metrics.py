"""How many subscriptions there are in each state, read from the database when Prometheus asks."""

from collections.abc import Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from fleet.subscriptions.models import SubscriptionState
from fleet.subscriptions.queries import count_by_state


class SubscriptionMetrics(Collector):
    """No samples while the database is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> Iterable[Metric]:
        return _families({})

    def collect(self) -> Iterable[Metric]:
        try:
            with Session(self._engine) as session:
                return _families(count_by_state(session))
        except SQLAlchemyError:
            return []


def _families(found: Mapping[SubscriptionState, int]) -> list[Metric]:
    gauge = GaugeMetricFamily("voltbay_subscriptions", "Subscriptions by state", labels=["state"])
    for state, count in found.items():
        gauge.add_metric([state.value], count)
    return [gauge]
