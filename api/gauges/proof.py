"""What the last proof of the books said, read from the database when Prometheus asks."""

from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy.orm import Session

from fleet.payments.proof import reports


def proof_metrics(session: Session | None) -> list[Metric]:
    last = [] if session is None else reports(session, 1)
    problems = GaugeMetricFamily("voltbay_ledger_problems", "Problems that the last proof of the books found")
    at = GaugeMetricFamily("voltbay_ledger_proof_timestamp_seconds", "When the books were proven last")
    transfers = GaugeMetricFamily("voltbay_ledger_proof_transfers", "Transfers that the last proof looked at")
    for run in last:
        problems.add_metric([], len(run.problems))
        at.add_metric([], run.at.timestamp())
        transfers.add_metric([], run.transfers)
    return [problems, at, transfers]
