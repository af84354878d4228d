"""How many subscriptions there are in each state, read from the database when Prometheus asks."""

from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy.orm import Session

from fleet.subscriptions.queries import count_by_state


def subscription_metrics(session: Session | None) -> list[Metric]:
    found = {} if session is None else count_by_state(session)
    gauge = GaugeMetricFamily("voltbay_subscriptions", "Subscriptions by state", labels=["state"])
    for state, count in found.items():
        gauge.add_metric([state.value], count)
    return [gauge]
