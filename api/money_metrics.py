"""Debts and the last comparison with the provider's list, read from the database when Prometheus asks."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from fleet.payments.debts.queries import OpenDebts, open_debts
from fleet.payments.reconciliation.service import Standing, standing


class MoneyMetrics(Collector):
    """No samples of comparisons before the first one, and none at all while the database is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> Iterable[Metric]:
        return _families([], None)

    def collect(self) -> Iterable[Metric]:
        try:
            with Session(self._engine) as session:
                return _families(open_debts(session), standing(session))
        except SQLAlchemyError:
            return []


def _families(debts: Iterable[OpenDebts], last: Standing | None) -> list[Metric]:
    count = GaugeMetricFamily("voltbay_debts_open", "Rentals that are not paid for", labels=["currency"])
    owed = GaugeMetricFamily("voltbay_debts_open_minor", "What is owed for them, minor units", labels=["currency"])
    differ = GaugeMetricFamily("voltbay_payment_differences", "Of the last comparison with the provider, not repaired")
    at = GaugeMetricFamily("voltbay_payment_reconciliation_timestamp_seconds", "When payments were compared last")
    for each in debts:
        count.add_metric([each.currency], each.count)
        owed.add_metric([each.currency], each.open_minor)
    if last is not None:
        differ.add_metric([], last.unrepaired)
        at.add_metric([], last.finished_at.timestamp())
    return [count, owed, differ, at]
