"""`python -m benchmarks.stations`: what phones ask most, against bare FastAPI endpoints that run the same statements.

The statements are those that the endpoints really send, recorded from the application itself; the yardstick runs them
and encodes the rows. One after the other, A B A B; the load comes from a process of its own over four connections.
"""

import argparse
import asyncio
import json
import pickle
import subprocess
import sys
from contextlib import ExitStack
from statistics import median
from typing import Any, Final

import httpx
from sqlalchemy import event

from api.app import create_app
from benchmarks import seeding
from benchmarks.bare_api import Recorded
from benchmarks.results import Report, ratio_of_pairs, save, show
from benchmarks.services import ROOT, process, wait_for
from benchmarks.stream import code
from benchmarks.whole import Whole, answers, whole
from fleet.common import logs
from fleet.common.plans import PLANNED

TARGET: Final = 0.6
MOST_STATEMENTS: Final = 3
_VARIANTS: Final = 20


def paths(stations: int) -> dict[str, list[str]]:
    """The requests of each endpoint: another place, or another station, each time."""
    places = [(38.62 + 0.008 * n, -9.23 + 0.008 * n) for n in range(_VARIANTS)]
    picked = [code(1 + n * stations // _VARIANTS) for n in range(_VARIANTS)]
    return {
        "list": ["/api/v1/station?limit=50"],
        "nearby": [f"/api/v1/station/nearby?lat={lat:.4f}&lon={lon:.4f}&radius_m=2000" for lat, lon in places],
        "detail": [f"/api/v1/station/{each}" for each in picked],
    }


def record(system: Whole, asked: dict[str, list[str]]) -> Recorded:
    """The statements of each request, as the application sends them to the driver."""
    logs.configure(system.settings, "benchmark")
    app = create_app(system.settings)
    found: Recorded = {}
    sent: list[tuple[str, Any, bool]] = []

    def seen(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        # EXECUTE means something on its own connection only: what it was made of.
        calls: dict[str, str] = connection.connection.info.get(next(iter(PLANNED)), {})
        made_of = {call: text for text, call in calls.items()}
        sent.append((made_of.get(statement, statement), parameters, statement in made_of))

    event.listen(app.state.runtime.engine, "before_cursor_execute", seen)

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bench") as client:
            for name, each in asked.items():
                found[name] = []
                for path in each:
                    sent.clear()
                    (await client.get(path)).raise_for_status()
                    found[name].append(list(sent))

    asyncio.run(ask())
    return found


def _load(port: int, asked: list[str], seconds: float) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.http_load", "--port", str(port), "--seconds", str(seconds)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def run(*, quick: bool) -> Report:
    stations, pairs, seconds = (300, 1, 0.5) if quick else (10_000, 4, 3.0)
    report = Report("stations", "list, nearby and detail against bare FastAPI with the same statements", quick)
    with ExitStack() as stack:
        system = stack.enter_context(whole(1, processes=("api",)))
        seeding.station_fleet(system.engine, stations)
        asked = paths(stations)
        recorded = record(system, asked)
        file = system.services.home.root / "recorded"
        file.write_bytes(pickle.dumps(recorded))
        port = system.services.home.port("bare")
        bare = stack.enter_context(
            process(["benchmarks.bare_api", str(file), "--url", system.services.postgres.url, "--port", str(port)])
        )
        wait_for(bare, "bare API", lambda: answers(f"http://127.0.0.1:{port}/detail/0"))
        for name, each in asked.items():
            ours, theirs = [], []
            yardstick = [f"/{name}/{index}" for index in range(len(each))]
            _load(system.settings.http_port, each, 0.3)
            _load(port, yardstick, 0.3)
            for _ in range(pairs):
                theirs.append(_load(port, yardstick, seconds))
                ours.append(_load(system.settings.http_port, each, seconds))
            most = max(len(statements) for statements in recorded[name])
            rate, bare_rate = [o["per_s"] for o in ours], [t["per_s"] for t in theirs]
            note = f"p50 {median(o['p50_ms'] for o in ours):.1f} ms, {median(o['bytes'] for o in ours) / 1024:.1f} KiB"
            report.add(f"{name}: bare", median(bare_rate), "req/s", note=f"{stations:,} stations, 4 connections")
            report.add(f"{name}: ours", median(rate), "req/s", note=note)
            report.add(f"{name}: against bare", ratio_of_pairs(rate, bare_rate), "", target=TARGET)
            report.add(f"{name}: statements a request", most, "", target=MOST_STATEMENTS, at_least=False)
            report.detail[name] = {"ours": ours, "bare": theirs, "statements": recorded[name][0]}
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stations", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few stations, to see that it runs")
    report = run(quick=parser.parse_args().quick)
    show([report])
    save(report)
    return 0 if report.met or report.quick else 1


if __name__ == "__main__":
    sys.exit(main())
