"""`python -m benchmarks.ingest`: the gateway against bare paho on one stream of QoS 1 events.

Both receive the same packets from the same publisher through the same broker, one after the other: A B A B. The gateway
decodes, stores each event once, moves its station's stream, sets the slot's lock, commits and only then acknowledges;
paho counts. Time runs from the first packet sent to the last one acknowledged (committed).
"""

import argparse
import json
import select
import subprocess
import sys
import time
from contextlib import ExitStack
from statistics import median

import psutil
from sqlalchemy import TextClause, text

from benchmarks import seeding, stream, wire
from benchmarks.results import Report, ratio_of_pairs, save, show
from benchmarks.services import Services, process, services, wait_for
from device_gateway.gateway import client_id
from fleet.common.clock import utc_now
from fleet.settings import Settings

TARGET = 0.5
NAME = "gateway-bench"
_TIMEOUT_S = 60.0
_STORED = text("SELECT coalesce(sum(acked_through), 0) FROM device_stream")


class Streams:
    """Publishes one round of the stream after the other; sequences go on from round to round."""

    def __init__(self, port: int, stations: int, rounds: int, kind: str = "events") -> None:
        self.port = port
        self._kind = kind
        self.stations = stations
        self.rounds = rounds
        self._first_seq = 1

    @property
    def messages(self) -> int:
        return self.stations * self.rounds

    def publisher(self, stack: ExitStack, *, advance: bool) -> subprocess.Popen[str]:
        """A process that is ready to publish the next round; `advance` False publishes it to nobody who remembers."""
        arguments = ["--port", str(self.port), "--stations", str(self.stations), "--rounds", str(self.rounds)]
        arguments += ["--first-seq", str(self._first_seq), "--kind", self._kind]
        running = stack.enter_context(
            process(["benchmarks.publisher", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        expect_ready(running)
        if advance:
            self._first_seq += self.rounds
        return running


def expect_ready(running: subprocess.Popen[str]) -> None:
    line = _line(running)
    if line != "ready":
        raise RuntimeError(f"expected 'ready', got {line!r}")


def _go(publisher: subprocess.Popen[str]) -> None:
    assert publisher.stdin is not None
    publisher.stdin.write("go\n")
    publisher.stdin.flush()


def _answer(running: subprocess.Popen[str]) -> dict[str, float]:
    found: dict[str, float] = json.loads(_line(running))
    return found


def _line(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    if not select.select([running.stdout], [], [], _TIMEOUT_S)[0]:
        raise RuntimeError(f"{running.args!r}: silent for {_TIMEOUT_S:.0f} s")
    return running.stdout.readline().strip()


def bare(streams: Streams, kind: str) -> tuple[float, float, float]:
    """Messages a second of a subscriber that does nothing, its CPU time per message in µs, the publisher's rate."""
    arguments = [kind, "--port", str(streams.port), "--messages", str(streams.messages)]
    with ExitStack() as stack:
        subscriber = stack.enter_context(process(["benchmarks.subscribers", *arguments], stdout=subprocess.PIPE))
        expect_ready(subscriber)
        publisher = streams.publisher(stack, advance=False)
        _go(publisher)
        published = _answer(publisher)
        received = _answer(subscriber)
    wire.forget(streams.port, f"{kind}-{subscriber.pid}")
    took = received["finished"] - published["started"]
    publishing = published["finished"] - published["started"]
    return streams.messages / took, received["cpu_s"] / streams.messages * 1e6, streams.messages / publishing


def gateway(streams: Streams, running: Services, stored: TextClause = _STORED) -> tuple[float, float]:
    """Messages a second of the gateway, up to the commit of the last one, and its CPU time per message in µs.

    `stored`: asks how many there are so far.
    """
    with ExitStack() as stack, running.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        before = int(connection.scalar(stored) or 0)
        process_ = stack.enter_context(
            process(["device_gateway"], running.environment | {"VOLTBAY_GATEWAY_NAME": NAME})
        )
        connected = text("SELECT count(*) FROM gateway_instance WHERE connected_since IS NOT NULL")
        wait_for(process_, "gateway", lambda: connection.scalar(connected))
        time.sleep(0.5)  # its first connections and imports are not the stream's business
        publisher = streams.publisher(stack, advance=True)
        used = _cpu_s(process_.pid)
        _go(publisher)
        wanted = before + streams.messages
        deadline = time.monotonic() + 120
        while int(connection.scalar(stored) or 0) < wanted:
            if time.monotonic() > deadline:
                raise RuntimeError("the gateway did not store the stream in time")
            time.sleep(0.05)
        finished = time.monotonic()
        used = _cpu_s(process_.pid) - used
        started = _answer(publisher)["started"]
    # What the broker keeps for it would be the next run's stream, received before it begins.
    wire.forget(streams.port, client_id(Settings(), NAME))
    return streams.messages / (finished - started), used / streams.messages * 1e6


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def check(running: Services, expected: int) -> None:
    """Every event is there once and applied, and no one is among the dead letters."""
    query = """
    SELECT count(*), count(*) FILTER (WHERE applied_at IS NULL), (SELECT count(*) FROM dead_letter) FROM device_event
    """
    with running.engine.connect() as connection:
        stored, waiting, dead = connection.execute(text(query)).one()
    if (stored, waiting, dead) != (expected, 0, 0):
        raise RuntimeError(f"expected {expected} events applied, got {stored}, {waiting} not applied, {dead} dead")


def run(*, quick: bool) -> Report:
    stations, rounds, pairs = (500, 8, 1) if quick else (5000, 12, 4)
    report = Report("ingest", "QoS 1 events of 200 B against bare paho receive-and-acknowledge", quick)
    with services() as running:
        seeding.ingest_fleet(running.engine, stations, utc_now())
        streams = Streams(running.mosquitto.port, stations, rounds)
        sinks = [bare(streams, "sink") for _ in range(1 if quick else 2)]
        ours, paho = [], []
        for _ in range(pairs):
            paho.append(bare(streams, "paho"))
            ours.append(gateway(streams, running))
        check(running, streams.messages * pairs)
    rate, bare_rate = [each[0] for each in ours], [each[0] for each in paho]
    what = f"{stations:,} stations, {streams.messages:,} events of {stream.FRAME_BYTES} B a run, {pairs} pairs of runs"
    note = "two processes that do nothing else; neither is what limits below"
    report.add("publisher into a socket that only acknowledges", median(s[2] for s in sinks), "msg/s", note=note)
    report.add("that socket, from the first packet sent", median(s[0] for s in sinks), "msg/s", note=what)
    report.add("bare paho", median(bare_rate), "msg/s", note="loop_forever, counts, acknowledges by itself")
    report.add("gateway", median(rate), "msg/s", note="stored once, applied, committed, then acknowledged")
    report.add("gateway against bare paho", ratio_of_pairs(rate, bare_rate), "", target=TARGET)
    report.add("bare paho, CPU a message", median(each[1] for each in paho), "µs")
    report.add("gateway, CPU a message", median(each[1] for each in ours), "µs", note="without PostgreSQL's")
    report.detail = {"paho": paho, "gateway": ours, "sink": sinks}
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small stream, to see that it runs")
    report = run(quick=parser.parse_args().quick)
    show([report])
    save(report)
    return 0 if report.met or report.quick else 1


if __name__ == "__main__":
    sys.exit(main())
