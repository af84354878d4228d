"""How the periodic jobs are doing, read from the database when Prometheus asks: workers come and go, the rows stay."""

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy.orm import Session

from fleet.common.jobs import known_jobs


def job_metrics(session: Session | None) -> list[Metric]:
    runs = [] if session is None else known_jobs(session)
    label = ["job"]
    total = CounterMetricFamily("voltbay_job_runs", "Runs of a periodic job (quiet ones every 5 s)", labels=label)
    failures = CounterMetricFamily("voltbay_job_failures", "Runs that failed", labels=label)
    seconds = GaugeMetricFamily("voltbay_job_last_run_seconds", "How long the last run took", labels=label)
    success = GaugeMetricFamily("voltbay_job_last_success_timestamp_seconds", "End of the last success", labels=label)
    changed = GaugeMetricFamily("voltbay_job_last_changed", "Rows that the last run changed", labels=label)
    for run in runs:
        total.add_metric([run.job], run.runs)
        failures.add_metric([run.job], run.failures)
        seconds.add_metric([run.job], (run.finished_at - run.started_at).total_seconds())
        if run.succeeded_at is not None:
            success.add_metric([run.job], run.succeeded_at.timestamp())
        if run.changed is not None:
            changed.add_metric([run.job], run.changed)
    return [total, failures, seconds, success, changed]
