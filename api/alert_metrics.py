"""How many alerts are open, read from the database when Prometheus asks."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from fleet.telemetry.alerts import count_open
from fleet.telemetry.models import AlertKind, Severity


class AlertMetrics(Collector):
    """No samples while the database is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> Iterable[Metric]:
        return _families([])

    def collect(self) -> Iterable[Metric]:
        try:
            with Session(self._engine) as session:
                return _families(count_open(session))
        except SQLAlchemyError:
            return []


def _families(counts: Iterable[tuple[AlertKind, Severity, int]]) -> list[Metric]:
    found = GaugeMetricFamily("voltbay_alerts_open", "Alerts that are not closed", labels=["kind", "severity"])
    for kind, severity, count in counts:
        found.add_metric([kind, severity], count)
    return [found]
