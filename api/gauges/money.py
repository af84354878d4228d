"""Debts and the last comparison with the provider's list, read from the database when Prometheus asks."""

from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy.orm import Session

from fleet.payments.debts.queries import open_debts
from fleet.payments.reconciliation.service import standing


def money_metrics(session: Session | None) -> list[Metric]:
    """No samples of comparisons before the first one."""
    debts, last = ([], None) if session is None else (open_debts(session), standing(session))
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
