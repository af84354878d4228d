"""`python -m benchmarks.telemetry`: telemetry rows stored by the gateway's pipeline against raw COPY.

Frames of 24 slots go through the very objects that the gateway's threads of samples run, as many threads as it has:
decoded from their bytes, each message stored once (`device_sample`), serials looked up, rows copied, committed, and
once a run the newest values into the banks' rows. The yardstick is COPY of the same rows by one client, their text made
before the clock starts, into the same table with as many rows a transaction. One after the other, A B A B, on an empty
table each time. One thread against the same COPY is in the table too: what the second core gives is no secret.
"""

import argparse
import io
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Final

import psutil
from sqlalchemy import Engine, text

from benchmarks import seeding
from benchmarks.results import Report, ratio_of_pairs, save, show
from benchmarks.services import Services, services
from benchmarks.telemetry_stream import PERIOD, SLOTS, samples
from benchmarks.whole import processes_of
from device_gateway.buffer import Buffer
from device_gateway.directory import Directory
from device_gateway.duties import BANKS_EVERY_S, Presence, SampleDuties, Timer
from device_gateway.habits import Habits
from device_gateway.lanes import SAMPLE_BATCH, SAMPLE_LANES
from device_gateway.received import Received
from device_gateway.sample_ingest import SampleIngest, Shared
from device_gateway.touch import Touches
from fleet.common.clock import utc_now
from fleet.common.interpreter import tune
from fleet.settings import Settings

TARGET: Final = 0.5


def frames(stations: int, rounds: int, first_seq: int, start: datetime) -> list[Received]:
    """The stream from `start` on, as the gateway's network thread hands it over."""
    return [
        Received(topic, payload, "application/json", 0, 0, 1, at.timestamp())
        for topic, payload, at in samples(stations, first_seq, rounds, start)
    ]


def pipeline(lanes: Sequence[SampleDuties], received: Sequence[Received]) -> float:
    """Rows a second from bytes to commit; now and then, as in a gateway, and at the end the banks' rows learn what
    changed.
    """
    buffer = Buffer()
    for each in received:
        buffer.append(each)

    def lane(duties: SampleDuties) -> None:
        while batch := buffer.take(SAMPLE_BATCH, 0):
            duties.ingest.process(batch)
            duties.tick()

    with ThreadPoolExecutor(len(lanes)) as threads:
        started = time.perf_counter()
        for done in [threads.submit(lane, duties) for duties in lanes]:
            done.result()
        lanes[0].ingest.write_banks()
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


@dataclass(frozen=True, slots=True)
class Measured:
    rate: float
    #: µs of CPU a row, clients and PostgreSQL together.
    cpu: float


class Bench:
    """One fleet; the frames go on from run to run, so that no run repeats the messages of another."""

    def __init__(self, running: Services, stations: int, rounds: int) -> None:
        self._running = running
        self._engine = running.engine
        self._stations = stations
        self._rounds = rounds
        self._seq = 1
        self._start = utc_now().replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
        seeding.telemetry_fleet(self._engine, stations, utc_now())

    @property
    def rows(self) -> int:
        return self._stations * self._rounds * SLOTS

    def lanes(self, count: int) -> list[SampleDuties]:
        """Warm: stations and serials are known, as they are after the first minute of a gateway's life."""
        directory, shared = Directory(), Shared()
        timer, periods = Timer(BANKS_EVERY_S), Settings().offline_after_periods
        habits = Habits(directory, periods)
        signs = Presence(self._engine, Touches(directory), habits, lambda: self._start, periods)
        lanes = [
            SampleDuties(SampleIngest(self._engine, directory, lambda: self._start, shared), signs, timer)
            for _ in range(count)
        ]
        for lane in lanes:
            pipeline([lane], self._frames(1))
        return lanes

    def pair(self, lanes: Sequence[SampleDuties]) -> tuple[Measured, Measured]:
        """The pipeline, then COPY of the rows that it stored."""
        received = self._frames(self._rounds)
        ours = self._measured(lambda: pipeline(lanes, received))
        lines = rows_of(self._engine)
        if len(lines) != self.rows:
            raise RuntimeError(f"expected {self.rows} rows, got {len(lines)}")
        return ours, self._measured(lambda: raw_copy(self._engine, lines))

    def _frames(self, rounds: int) -> list[Received]:
        first, self._seq = self._seq, self._seq + rounds
        return frames(self._stations, rounds, first, self._start + PERIOD * first)

    def _measured(self, run: Callable[[], float]) -> Measured:
        _empty(self._engine)
        used = cpu_s(self._running)
        rate = run()
        return Measured(rate, (cpu_s(self._running) - used) / self.rows * 1e6)


def run(*, quick: bool) -> Report:
    stations, rounds, pairs = (50, 4, 1) if quick else (1000, 12, 5)
    report = Report("telemetry", "telemetry rows through the pipeline against raw COPY", quick)
    tune()
    with services() as running:
        bench = Bench(running, stations, rounds)
        one, all_ = bench.lanes(1), bench.lanes(SAMPLE_LANES)
        alone = [bench.pair(one) for _ in range(1 if quick else 3)]
        found = [bench.pair(all_) for _ in range(pairs)]
    ours, bare = zip(*found, strict=True)
    note = f"{stations:,} stations, {bench.rows:,} rows a run, {SAMPLE_BATCH * SLOTS:,} a transaction"
    report.add("raw COPY", median(each.rate for each in bare), "rows/s", note=note)
    what = f"{SAMPLE_LANES} threads, bytes to commit: decoded, stored once, banks' rows brought up to date"
    report.add("pipeline", median(each.rate for each in ours), "rows/s", note=what)
    report.add("pipeline against raw COPY", _ratio(found), "", target=TARGET)
    report.add("one thread of it against raw COPY", _ratio(alone), "")
    report.add("raw COPY, CPU a row", median(each.cpu for each in bare), "µs", note="client and PostgreSQL together")
    report.add("pipeline, CPU a row", median(each.cpu for each in ours), "µs", note="gateway and PostgreSQL together")
    report.detail = {"pairs": [[asdict(each) for each in pair] for pair in found]}
    return report


def _ratio(pairs: Sequence[tuple[Measured, Measured]]) -> float:
    return ratio_of_pairs([ours.rate for ours, _ in pairs], [bare.rate for _, bare in pairs])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rows, to see that it runs")
    report = run(quick=parser.parse_args().quick)
    show([report])
    save(report)
    return 0 if report.met or report.quick else 1


if __name__ == "__main__":
    sys.exit(main())
