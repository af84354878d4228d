"""`python -m benchmarks.fleet_ingest`: telemetry of 10,000 stations with 24 slots, the gateway against bare paho.

As `benchmarks.ingest`, with frames of telemetry and everything that the gateway does with them by default: decoded,
each message once, what changed stored (the deadband is on), the banks' rows, signs of life. Cabinets send telemetry
with QoS 0; here it is QoS 1, so that none may be lost on the way and both sides acknowledge. The gateway is a process
just started: it looks stations and serials up within the run.
"""

import argparse
import sys
from statistics import median
from typing import Final

from sqlalchemy import text

from benchmarks import ingest, seeding
from benchmarks.ingest import Streams
from benchmarks.results import Report, ratio_of_pairs, save, show
from benchmarks.services import Services, services
from benchmarks.telemetry_stream import SLOTS, samples
from fleet.common.clock import utc_now

_STORED: Final = text("SELECT count(*) FROM device_sample")
_ROWS: Final = text("SELECT count(*) FROM slot_telemetry")
_DEAD: Final = text("SELECT count(*) FROM dead_letter")
#: What a fleet sends: a frame a minute and station.
_FRAMES_PER_S: Final = 1 / 60


def check(running: Services, expected: int) -> int:
    """Every message is there once and none among the dead letters; how many rows they became."""
    with running.engine.connect() as connection:
        stored, dead, rows = (int(connection.scalar(query) or 0) for query in (_STORED, _DEAD, _ROWS))
    if (stored, dead) != (expected, 0):
        raise RuntimeError(f"expected {expected} samples, got {stored}, and {dead} dead letters")
    return rows


def run(*, quick: bool) -> Report:
    stations, rounds, pairs = (200, 2, 1) if quick else (10_000, 1, 5)
    report = Report("fleet_ingest", f"telemetry of {SLOTS} slots against bare paho receive-and-acknowledge", quick)
    with services() as running:
        seeding.telemetry_fleet(running.engine, stations, utc_now())
        streams = Streams(running.mosquitto.port, stations, rounds, "telemetry")
        ours, paho = [], []
        for _ in range(pairs):
            paho.append(ingest.bare(streams, "paho"))
            ours.append(ingest.gateway(streams, running, _STORED))
        rows = check(running, streams.messages * pairs)
    _, payload, _ = next(samples(1, 1, 1))
    rate, bare_rate = [each[0] for each in ours], [each[0] for each in paho]
    what = f"{stations:,} stations, {streams.messages:,} frames of {len(payload):,} B a run, {pairs} pairs of runs"
    report.add("bare paho", median(bare_rate), "frames/s", note="loop_forever, counts, acknowledges by itself")
    report.add("gateway", median(rate), "frames/s", note=what)
    report.add("gateway, slots", median(rate) * SLOTS, "slots/s", note="committed, then acknowledged")
    report.add("gateway against bare paho", ratio_of_pairs(rate, bare_rate), "")
    needed = 10_000 * _FRAMES_PER_S
    report.add("times what 10,000 stations send", median(rate) / needed, "", note="a frame a minute each")
    kept = rows / (streams.messages * pairs * SLOTS)
    report.add("rows stored a slot told", kept, "", note="the deadband's defaults; frames of a run are seconds apart")
    report.add("bare paho, CPU a frame", median(each[1] for each in paho), "µs")
    report.add("gateway, CPU a frame", median(each[1] for each in ours), "µs", note="without PostgreSQL's")
    report.detail = {"paho": paho, "gateway": ours}
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet_ingest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small stream, to see that it runs")
    report = run(quick=parser.parse_args().quick)
    show([report])
    save(report)
    return 0 if report.met or report.quick else 1


if __name__ == "__main__":
    sys.exit(main())
