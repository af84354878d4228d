"""Prometheus metrics of one API process, in a registry of its own so that several apps can live in one test run."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector
from starlette.types import Scope

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "voltbay_http_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "voltbay_http_request_seconds", "Time to the first byte of the answer", ["method", "route"],
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.in_flight = 0
        self.watch("voltbay_http_in_flight", "Requests being worked on", lambda: float(self.in_flight))
        self.limited = Counter(
            "voltbay_http_rate_limited", "Requests refused by a rate limit", ["rule"], registry=self.registry
        )

        self.device_calls = Counter(
            "voltbay_device_calls", "HTTP calls of vendors' cabinets; the sign can be forged", ["kind", "signed"],
            registry=self.registry,
        )  # fmt: skip

        #: The series of each method, route and status: to look one up takes as long as all else that counts it.
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request with the time to the first byte of its answer. On the event loop only."""
        series = self._series.get((method, route, status))
        if series is None:
            series = self.requests.labels(method, route, str(status)), self.latency.labels(method, route)
            self._series[method, route, status] = series
        requests, latency = series
        requests.inc()
        latency.observe(seconds)

    def watch(self, name: str, help_: str, read: Callable[[], float]) -> None:
        """A gauge that is read when somebody asks."""
        Gauge(name, help_, registry=self.registry).set_function(read)

    def collect_from(self, collector: Collector) -> None:
        """Series that are made when somebody asks."""
        self.registry.register(collector)

    def render(self) -> bytes:
        return generate_latest(self.registry)


def route_of(scope: Scope) -> str:
    """The template of the matched route; "unmatched" when there was none."""
    return getattr(scope.get("route"), "path", None) or "unmatched"
