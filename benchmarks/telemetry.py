"""`python -m benchmarks.telemetry`: telemetry rows stored by the gateway's pipeline against raw COPY.

Frames of 24 slots go through the very object that the gateway's thread of samples runs: decoded from their bytes, each
message stored once (`device_sample`), serials looked up, rows copied, committed, and once a run the newest values into
the banks' rows. The yardstick is COPY of the same rows, their text made before the clock starts, into the same table
with the same transactions. One after the other, A B A B, on an empty table each time.
"""

import argparse
import io
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, Final

import psutil
from sqlalchemy import Engine, text

from benchmarks import seeding
from benchmarks.results import Report, ratio_of_pairs, save, show
from benchmarks.services import Services, services
from benchmarks.stream import BOOT, code
from benchmarks.whole import processes_of
from device_gateway.directory import Directory
from device_gateway.gateway import SAMPLE_BATCH
from device_gateway.received import Received
from device_gateway.sample_ingest import SampleIngest
from firmware_protocol import topics
from firmware_protocol.topics import UpKind
from fleet.common.clock import utc_now

TARGET: Final = 0.5
SLOTS: Final = 24
PERIOD: Final = timedelta(seconds=60)
_BANKS: Final = """
INSERT INTO power_bank (serial, state, known, created_at, updated_at)
SELECT 'PB' || lpad(n::text, 8, '0'), 'available', true, :now, :now FROM generate_series(1, :banks) AS n
"""


def frames(stations: int, rounds: int, first_seq: int, start: datetime) -> list[Received]:
    """Every station's frame, then every station's next one a minute later.

    One charge in eight changes in between: in a cabinet most banks are full, and the others gain 1% in a minute or two.
    """
    found = []
    for step in range(rounds):
        at = start + PERIOD * step
        for station in range(1, stations + 1):
            payload = _frame(station, first_seq + step, at)
            topic = topics.up(code(station), UpKind.TELEMETRY)
            found.append(Received(topic, payload, "application/json", 0, 0, 1, at.timestamp()))
    return found


def _frame(station: int, seq: int, at: datetime) -> bytes:
    slots = [_slot(station, slot, seq) for slot in range(1, SLOTS + 1)]
    tree = {
        "v": 1,
        "boot": BOOT,
        "seq": seq,
        "at": round(at.timestamp() * 1000),
        "type": "slot_telemetry",
        "data": {"slots": slots},
    }
    return json.dumps(tree, separators=(",", ":")).encode()


def _slot(station: int, slot: int, seq: int) -> dict[str, Any]:
    bank = (station - 1) * SLOTS + slot
    return {
        "slot": slot,
        "serial": f"PB{bank:08d}",
        "charge_pct": 20 + (bank + (seq + slot) // 8) % 80,
        "voltage_mv": 3600 + (bank * 7 + seq * 13) % 600,
        "current_ma": (bank * 31 + seq * 17) % 2000,
        "temperature_c": round(22 + ((bank + seq) % 120) / 10, 1),
        "cycles": bank % 500,
        "health_pct": 100 - bank % 25,
    }


def batches(received: Sequence[Received]) -> list[Sequence[Received]]:
    return [received[at : at + SAMPLE_BATCH] for at in range(0, len(received), SAMPLE_BATCH)]


def pipeline(ingest: SampleIngest, received: Sequence[Received]) -> float:
    """Rows a second from bytes to commit; at the end the banks' rows learn what changed, as they do every 2 s."""
    started = time.perf_counter()
    for batch in batches(received):
        ingest.process(batch)
    ingest.write_banks()
    return len(received) * SLOTS / (time.perf_counter() - started)


def cpu_s(running: Services) -> float:
    """CPU time used so far by this process and by PostgreSQL: unlike rates it hardly depends on who else is busy."""
    times = [psutil.Process().cpu_times(), *(each.cpu_times() for each in processes_of(running.pids["postgres"]))]
    return sum(each.user + each.system for each in times)


def rows_of(engine: Engine) -> list[str]:
    """What the pipeline stored, as lines of COPY in the order it was stored."""
    buffer = io.StringIO()
    connection = engine.raw_connection()
    try:
        connection.cursor().copy_expert(
            "COPY (SELECT * FROM slot_telemetry ORDER BY at, station_id, slot) TO STDOUT", buffer
        )
    finally:
        connection.close()
    return buffer.getvalue().splitlines(keepends=True)


def raw_copy(engine: Engine, lines: Sequence[str]) -> float:
    """Rows a second of COPY and COMMIT; a transaction holds as many rows as one of the pipeline."""
    size = SAMPLE_BATCH * SLOTS
    chunks = ["".join(lines[at : at + size]).encode() for at in range(0, len(lines), size)]
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        started = time.perf_counter()
        for chunk in chunks:
            cursor.copy_expert("COPY slot_telemetry FROM STDIN", io.BytesIO(chunk), 1 << 20)
            connection.commit()
        took = time.perf_counter() - started
    finally:
        connection.close()
    return len(lines) / took


def _empty(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE slot_telemetry"))
    seeding.settle(engine, ("slot_telemetry", "power_bank", "device_sample"))


def run(*, quick: bool) -> Report:
    stations, rounds, pairs = (50, 4, 1) if quick else (1000, 6, 5)
    report = Report("telemetry", "telemetry rows through the pipeline against raw COPY", quick)
    start = utc_now().replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
    ours, bare, ours_cpu, bare_cpu = [], [], [], []
    with services() as running:
        engine = running.engine
        seeding.ingest_fleet(engine, stations, utc_now(), SLOTS)
        with engine.begin() as connection:
            connection.execute(text(_BANKS), {"now": utc_now(), "banks": stations * SLOTS})
        ingest = SampleIngest(engine, Directory(), utc_now)
        pipeline(ingest, frames(stations, 1, 1, start))
        for pair in range(pairs):
            _empty(engine)
            begun = start + PERIOD * (1 + pair * rounds)
            received = frames(stations, rounds, 2 + pair * rounds, begun)
            used = cpu_s(running)
            ours.append(pipeline(ingest, received))
            ours_cpu.append((cpu_s(running) - used) / len(received) / SLOTS * 1e6)
            lines = rows_of(engine)
            if len(lines) != stations * rounds * SLOTS:
                raise RuntimeError(f"expected {stations * rounds * SLOTS} rows, got {len(lines)}")
            _empty(engine)
            used = cpu_s(running)
            bare.append(raw_copy(engine, lines))
            bare_cpu.append((cpu_s(running) - used) / len(lines) * 1e6)
    note = f"{stations:,} stations, {stations * rounds * SLOTS:,} rows a run, {SAMPLE_BATCH * SLOTS:,} a transaction"
    report.add("raw COPY", median(bare), "rows/s", note=note)
    report.add(
        "pipeline", median(ours), "rows/s", note="bytes to commit: decoded, stored once, banks' rows brought up to date"
    )
    report.add("pipeline against raw COPY", ratio_of_pairs(ours, bare), "", target=TARGET)
    report.add("raw COPY, CPU a row", median(bare_cpu), "µs", note="client and PostgreSQL together")
    report.add("pipeline, CPU a row", median(ours_cpu), "µs", note="gateway and PostgreSQL together, on two cores")
    report.detail = {"pipeline": ours, "copy": bare}
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rows, to see that it runs")
    report = run(quick=parser.parse_args().quick)
    show([report])
    save(report)
    return 0 if report.met or report.quick else 1


if __name__ == "__main__":
    sys.exit(main())
