"""How many alerts are open, read from the database when Prometheus asks."""

from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy.orm import Session

from fleet.telemetry.alerts import count_open


def alert_metrics(session: Session | None) -> list[Metric]:
    counts = [] if session is None else count_open(session)
    found = GaugeMetricFamily("voltbay_alerts_open", "Alerts that are not closed", labels=["kind", "severity"])
    for kind, severity, count in counts:
        found.add_metric([kind, severity], count)
    return [found]
