"""Prometheus metrics of one API process, in a registry of its own so that several apps can live in one test run."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
        self.in_flight = Gauge("voltbay_http_in_flight", "Requests being worked on", registry=self.registry)
        self.limited = Counter(
            "voltbay_http_rate_limited", "Requests refused by a rate limit", ["rule"], registry=self.registry
        )

        self.device_calls = Counter(
            "voltbay_device_calls", "HTTP calls of vendors' cabinets; the sign can be forged", ["kind", "signed"],
            registry=self.registry,
        )  # fmt: skip

    def watch(self, name: str, help_: str, read: Callable[[], float]) -> None:
        """A gauge that is read when somebody asks."""
        Gauge(name, help_, registry=self.registry).set_function(read)

    def collect_from(self, collector: Collector) -> None:
        """Series that are made when somebody asks."""
        self.registry.register(collector)

    def render(self) -> bytes:
        return generate_latest(self.registry)


class MetricsMiddleware:
    """Counts by route template, never by path: ids would make a series each."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        metrics, method = self._metrics, scope["method"]

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = route_of(scope)
                metrics.requests.labels(method, route, str(message["status"])).inc()
                metrics.latency.labels(method, route).observe(time.perf_counter() - began)
            await send(message)

        with metrics.in_flight.track_inprogress():
            await self.app(scope, receive, counting)


def route_of(scope: Scope) -> str:
    """The template of the matched route; "unmatched" when there was none."""
    return getattr(scope.get("route"), "path", None) or "unmatched"
