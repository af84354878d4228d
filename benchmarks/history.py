"""`python -m benchmarks.history`: what charts cost over the history of 1,000, 10,000 and 100,000 stations.

History is made by SQL: a day of measurements of two slots a station, one every two hours, in the order in which a
fleet tells them, rolled up by the upkeep that the workers run. Then each chart is asked for by itself: of stations at
random (those of one station), and of the fleet.
Flat means: what a chart takes in the largest fleet is at most twice what it takes in the smallest.
"""

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import median
from typing import Final

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from benchmarks import seeding
from benchmarks.results import Report, save, show
from benchmarks.services import services
from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.telemetry import charts
from fleet.telemetry.upkeep import upkeep

FLAT: Final = 2.0
_SLOTS: Final = 2
_DAY: Final = timedelta(days=1)
_HISTORY: Final = """
INSERT INTO slot_telemetry (station_id, slot, at, charge_pct, voltage_mv, current_ma, temperature_c, cycles, health_pct)
SELECT s.id, n, CAST(:start AS timestamptz) + step * interval '2 hours', (s.id + n + step) % 101,
       3700 + (s.id + step) % 500, (s.id * 7 + step) % 2000, 20 + (s.id + step) % 15, s.id % 400, 95
  FROM station s, generate_series(1, :slots) n, generate_series(0, 11) step
 ORDER BY step, s.id, n
"""
_BEATS: Final = """
INSERT INTO station_telemetry (station_id, at, signal_dbm, mains, temperature_c, uptime_s)
SELECT s.id, CAST(:start AS timestamptz) + step * interval '2 hours', -60 - s.id % 40, true, 25 + (s.id + step) % 15, 0
  FROM station s, generate_series(0, 11) step
 ORDER BY step, s.id
"""
#: Seconds that a chart takes, by its name.
Times = dict[str, float]


def load(engine: Engine, stations: int, start: datetime) -> float:
    """A fleet and its day; how long upkeep took to roll it up, in seconds."""
    seeding.ingest_fleet(engine, stations, start, _SLOTS)
    with engine.begin() as connection:
        connection.execute(text(_HISTORY), {"start": start, "slots": _SLOTS})
        connection.execute(text(_BEATS), {"start": start})
    began = time.perf_counter()
    with session_scope(engine) as session:
        upkeep(session, start + _DAY + timedelta(hours=1))
    took = time.perf_counter() - began
    seeding.settle(engine)
    return took


def ask(engine: Engine, stations: int, start: datetime, times: int) -> Times:
    """Median of `times` answers of each chart, after one that only warms."""
    rng = Random(stations)
    week = start - 6 * _DAY
    with Session(engine) as session:
        first = int(session.scalar(text("SELECT min(id) FROM station")) or 1)

        def station() -> int:
            return first + rng.randrange(stations)

        wanted: dict[str, Callable[[], object]] = {
            "charge of a station's slots, a day": lambda: charts.slot_charge(
                session, station(), start=start, end=start + _DAY
            ),
            "charge of a station's slots, a week": lambda: charts.slot_charge(
                session, station(), start=week, end=start + _DAY
            ),
            "temperature of the fleet, a day": lambda: charts.fleet_temperature(
                session, "bank", start=start, end=start + _DAY
            ),
            "availability of the fleet, a day": lambda: charts.fleet_availability(
                session, start=start, end=start + _DAY
            ),
        }
        return {name: _median_s(chart, times) for name, chart in wanted.items()}


def _median_s(chart: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(times + 1):
        began = time.perf_counter()
        chart()
        found.append(time.perf_counter() - began)
    return median(found[1:])


def run(*, quick: bool) -> Report:
    sizes = (20, 60) if quick else (1_000, 10_000, 100_000)
    report = Report("history", "charts over the history of fleets of several sizes", quick)
    start = utc_now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - _DAY
    answers: dict[int, Times] = {}
    for stations in sizes:
        with services() as running:
            took = load(running.engine, stations, start)
            answers[stations] = ask(running.engine, stations, start, 5 if quick else 200)
        note = f"{stations * _SLOTS * 12:,} rows of slots, {stations * 12:,} of cabinets"
        report.add(f"rolling up a day of {stations:,} stations", took, "s", note=note)
    for name in answers[sizes[0]]:
        for stations in sizes:
            report.add(f"{name}, {stations:,} stations", answers[stations][name] * 1000, "ms")
        grown = answers[sizes[-1]][name] / answers[sizes[0]][name]
        report.add(f"{name}, largest against smallest", grown, "", target=FLAT, at_least=False)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny fleets, to see that it runs")
    report = run(quick=parser.parse_args().quick)
    show([report])
    save(report)
    return 0 if report.met or report.quick else 1


if __name__ == "__main__":
    sys.exit(main())
