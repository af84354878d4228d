"""What the last proof of the books said, read from the database when Prometheus asks."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from fleet.payments.models import LedgerProofRun
from fleet.payments.proof import reports


class ProofMetrics(Collector):
    """No samples before the first proof, nor while the database is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> Iterable[Metric]:
        return _families([])

    def collect(self) -> Iterable[Metric]:
        try:
            with Session(self._engine) as session:
                return _families(reports(session, 1))
        except SQLAlchemyError:
            return []


def _families(last: Iterable[LedgerProofRun]) -> list[Metric]:
    problems = GaugeMetricFamily("voltbay_ledger_problems", "Problems that the last proof of the books found")
    at = GaugeMetricFamily("voltbay_ledger_proof_timestamp_seconds", "When the books were proven last")
    transfers = GaugeMetricFamily("voltbay_ledger_proof_transfers", "Transfers that the last proof looked at")
    for run in last:
        problems.add_metric([], len(run.problems))
        at.add_metric([], run.at.timestamp())
        transfers.add_metric([], run.transfers)
    return [problems, at, transfers]
