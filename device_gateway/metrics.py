"""What the gateway tells Prometheus. One instance per process, so that tests may have their own."""

from collections import Counter as Counts
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from device_gateway.tally import Tally

_BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000)
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.received = Counter("voltbay_gateway_received", "MQTT messages received", ["lane"], registry=registry)
        self.applied = Counter("voltbay_gateway_applied", "messages applied", ["type"], registry=registry)
        self.duplicates = Counter("voltbay_gateway_duplicates", "repeated messages", ["type"], registry=registry)
        self.dead = Counter("voltbay_gateway_dead_letters", "messages refused", ["code"], registry=registry)
        self.dropped = Counter("voltbay_gateway_dropped", "messages dropped: buffer full", registry=registry)
        self.late = Counter("voltbay_gateway_late", "events applied after their turn", registry=registry)
        self.gaps = Counter("voltbay_gateway_gaps", "gaps by what was done", ["action"], registry=registry)
        self.retries = Counter("voltbay_gateway_batch_retries", "batches tried again", ["lane"], registry=registry)
        self.reconnects = Counter("voltbay_gateway_reconnects", "connections to the broker lost", registry=registry)
        self.relink_frames = Counter(
            "voltbay_gateway_relink_frames",
            "frames of Relink cabinets over TCP, heartbeats too",
            ["direction", "command"],
            registry=registry,
        )
        self.relink_refused = Counter(
            "voltbay_gateway_relink_refused", "TCP connections not taken", ["reason"], registry=registry
        )
        self.relink_replaced = Counter(
            "voltbay_gateway_relink_replaced",
            "TCP connections that another one of the same box replaced, from the same address or from another",
            ["address"],
            registry=registry,
        )
        self.relink_connections = Gauge("voltbay_gateway_relink_connections", "TCP connections held", registry=registry)
        self.commands = Counter("voltbay_gateway_commands", "commands by what was done", ["action"], registry=registry)
        self.batch_size = Histogram(
            "voltbay_gateway_batch_size", "messages in one batch", ["lane"], buckets=_BATCH_SIZES, registry=registry
        )
        self.batch_seconds = Histogram(
            "voltbay_gateway_batch_seconds",
            "time from taking a batch to its acknowledgement",
            ["lane"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.lag = Histogram(
            "voltbay_gateway_lag_seconds",
            "time from receipt to commit of a batch's oldest message",
            ["lane"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.buffer = Gauge("voltbay_gateway_buffer_messages", "messages not taken yet", ["lane"], registry=registry)
        self.held = Gauge(
            "voltbay_gateway_held", "1 while the broker is not read: the buffer is full", registry=registry
        )
        self.connected = Gauge("voltbay_gateway_connected", "1 while connected to the broker", registry=registry)

    def watch_buffer(self, lane: str, depth: Callable[[], float]) -> None:
        self.buffer.labels(lane).set_function(depth)

    def count(self, tally: Tally) -> None:
        """Add what one committed batch did."""
        _add(self.applied, tally.applied)
        _add(self.duplicates, tally.duplicates)
        _add(self.dead, tally.dead)
        if tally.late:
            self.late.inc(tally.late)
        if tally.resends:
            self.gaps.labels("resend").inc(tally.resends)
        if tally.given_up:
            self.gaps.labels("given_up").inc(tally.given_up)


def _add(counter: Counter, counts: Counts[str]) -> None:
    for label, number in counts.items():
        if number:
            counter.labels(label).inc(number)
