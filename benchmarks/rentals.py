"""`python -m benchmarks.rentals`: from the tap on the phone to the answer that the bank is out; and what it weighs.

All processes run, 1,000 simulated cabinets are connected and eject in 0 ms, and riders start 20 rentals a second over
HTTP with `Prefer: wait`, at random (Poisson) instants. Where the time goes is seen under the same load once more, by an
observer that listens to PostgreSQL and to the broker, and memory once more again: both take their part of the machine,
and would be in the times. Memory is also looked at before the cabinets come and when they are there.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from random import Random
from statistics import mean, median
from typing import Final

from sqlalchemy import text

from benchmarks.http_client import Connection, request
from benchmarks.memory import Memory, Watched, watching
from benchmarks.observers import COMMAND, EVENT, Observers
from benchmarks.results import Report, percentile, save, show
from benchmarks.whole import Whole, cabinets, riders, whole
from fleet.common.notify import Channel

PER_S: Final = 20.0
P50_MS: Final = 30.0
P99_MS: Final = 150.0
#: The first ones find cold caches and connections that do not exist yet; they are not counted.
WARM_UP_PER_S: Final = 5.0
SEGMENTS: Final = (
    ("API: request to commit", "command committed, notified"),
    ("gateway: notified to published", "claimed, committed, through the broker"),
    ("cabinet: command to event", "received, ejected in 0 ms, back through the broker"),
    ("gateway: event to commit", "stored, rental active, money, committed, notified"),
    ("API: notified to answer", "rental read again, answer stored and sent"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One rental, by the clock of whoever asked for it."""

    station: str
    began: float
    answered: float
    status: int
    rental_id: str


async def _rent(pool: list[Connection], port: int, station: str, token: str, key: str) -> Asked:
    connection = pool.pop() if pool else await Connection.open(port)
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Idempotency-Key": key,
        "Prefer": "wait=20",
    }
    message = request("POST", "/api/v1/rental/start", headers, json.dumps({"station": station}).encode())
    began = time.monotonic()
    try:
        answer = await connection.ask(message)
    except (asyncio.IncompleteReadError, ConnectionError):  # the API had closed it for having rested
        connection = await Connection.open(port)
        answer = await connection.ask(message)
    answered = time.monotonic()
    pool.append(connection)
    found = json.loads(answer.body)
    if answer.status >= 400:
        print(f"{station}: {answer.status} {answer.body.decode()[:300]}", file=sys.stderr)
    return Asked(station, began, answered, answer.status, found.get("id", ""))


async def _load(port: int, stations: Sequence[str], tokens: Sequence[str], per_s: float = PER_S) -> list[Asked]:
    rng, tasks = Random(1), []
    pool: list[Connection] = []
    begin = time.monotonic()
    due = 0.0
    for index, (station, token) in enumerate(zip(stations, tokens, strict=True)):
        due += rng.expovariate(per_s)
        await asyncio.sleep(max(0.0, begin + due - time.monotonic()))
        tasks.append(asyncio.create_task(_rent(pool, port, station, token, f"benchmark-{index:06d}")))
    found = await asyncio.gather(*tasks)
    for connection in pool:
        connection.close()
    return list(found)


def segments(asked: Asked, station_id: str, observers: Observers) -> list[float] | None:
    """Milliseconds of each of SEGMENTS; None when something was not seen."""
    committed = observers.first_after(Channel.DEVICE_COMMAND.value, station_id, asked.began)
    published = observers.first_after(COMMAND, asked.station, asked.began)
    event = observers.first_after(EVENT, asked.station, asked.began)
    if committed is None or published is None or event is None:
        return None
    active = observers.first_after(Channel.RENTAL.value, asked.rental_id, event)
    if active is None:
        return None
    instants = [asked.began, committed, published, event, active, asked.answered]
    return [(after - before) * 1000 for before, after in pairwise(instants)]


def _look_at_tables(system: Whole) -> None:
    """What autovacuum does within a minute: until then plans are those of tables that had no rows."""
    with system.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _report(
    system: Whole, found: Sequence[Asked], watched: Sequence[Asked], observers: Observers, *, quick: bool
) -> Report:
    """`found`: on their own; `watched`: under the eyes of `observers`."""
    report = Report("rentals", "rent to answered, eject time of the cabinet 0 ms", quick)
    times = [(each.answered - each.began) * 1000 for each in found]
    failed = sum(each.status != 201 for each in (*found, *watched))
    note = f"{len(found)} rentals, {len(system.fleet.stations):,} cabinets, {PER_S:.0f} rentals/s (Poisson)"
    report.add("rent to answered, p50", median(times), "ms", target=P50_MS, at_least=False, note=note)
    report.add("rent to answered, p99", percentile(times, 0.99), "ms", target=P99_MS, at_least=False)
    report.add("rentals not active at the answer", failed, "", target=0, at_least=False)
    with system.engine.connect() as connection:
        ids = {row.code: str(row.id) for row in connection.execute(text("SELECT code, id FROM station"))}
    parts = [s for each in watched if (s := segments(each, ids[each.station], observers)) is not None]
    for (name, what), column in zip(SEGMENTS, zip(*parts, strict=True), strict=False):
        share = mean(column) / mean(map(sum, parts))
        report.add(
            name, median(column), "ms", note=f"{share:.0%} of the time; p99 {percentile(column, 0.99):.1f} ms; {what}"
        )
    report.detail = {"ms": [round(each, 2) for each in times], "segments_ms": [[round(x, 2) for x in p] for p in parts]}
    return report


def _memory(bare: Watched, rest: Watched, load: Watched, stations: int, *, quick: bool) -> Report:
    report = Report("memory", "memory of each process, children included", quick)
    nothing = Memory(0, 0)
    for name, most in load.most.items():
        none, idle = bare.most.get(name), rest.most.get(name, nothing)
        before = "" if none is None else f"PSS {none.pss:.0f} without cabinets, "
        note = f"{before}{idle.pss:.0f} with {stations:,} idle; RSS under load {most.rss:.0f}"
        report.add(f"{name}, PSS under load", most.pss, "MiB", note=note)
    report.add("all, PSS under load", sum(each.pss for each in load.most.values()), "MiB")
    return report


def _in_parts(pairs: Sequence[tuple[str, str]], sizes: Sequence[int]) -> list[tuple[list[str], list[str]]]:
    """Stations and riders, each used once."""
    rest, parts = iter(pairs), []
    for size in sizes:
        part = list(islice(rest, size))
        parts.append(([station for station, _ in part], [token for _, token in part]))
    return parts


def measure(*, quick: bool) -> list[Report]:
    """The report of times and the one of memory, from one run."""
    stations = 60 if quick else 1000
    parts = (10, 25, 15, 10) if quick else (60, 500, 200, 200)
    bare, rest = Watched(), Watched()
    with whole(stations) as system:
        pids, port = system.pids, system.settings.http_port
        tokens = riders(system, sum(parts))
        bare.look(pids)
        with cabinets(system) as simulators:
            pids |= {"simulators": simulators.pid}
            rest.look(pids)
            codes = [station.code for station in system.fleet.stations]
            Random(2).shuffle(codes)
            warm_up, counted, seen, again = _in_parts(list(zip(codes, tokens, strict=False)), parts)
            asyncio.run(_load(port, *warm_up, WARM_UP_PER_S))
            _look_at_tables(system)
            found = asyncio.run(_load(port, *counted))
            observers = Observers(system.services.postgres.url, system.services.mosquitto.port)
            with observers:
                watched = asyncio.run(_load(port, *seen))
                time.sleep(0.5)
            with watching(pids) as load:
                asyncio.run(_load(port, *again))
        return [
            _report(system, found, watched, observers, quick=quick),
            _memory(bare, rest, load, stations, quick=quick),
        ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rentals", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few cabinets and rentals, to see that it runs")
    reports = measure(quick=parser.parse_args().quick)
    show(reports)
    for report in reports:
        save(report)
    return 0 if all(report.met or report.quick for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
