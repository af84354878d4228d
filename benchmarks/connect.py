"""`python -m benchmarks.connect`: what it costs that cabinets connect, in processor time of the whole backend.

The whole system runs, and simulated cabinets connect to it: for the first time (every slot and bank is news), after all
were cut off (the broker restarts), and after all have started again (a power cut in town). Each ends when every station
is online, has shown its slots since, and everybody who hears of it has done their work. The yardstick is the least that
could answer the same cabinets (`benchmarks.responder`), in the same run.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psutil
from sqlalchemy import TextClause, text

from benchmarks.results import Report, save, show
from benchmarks.services import process, services, wait_for
from benchmarks.whole import SETTLED, Whole, holds, processes_of, whole
from simulators.spec import default_fleet

_WITHIN_S: Final = 200.0
#: It stands between cabinets and backend whatever the backend is, and is started anew here.
_BROKER: Final = "mosquitto"
#: The backend does all that it does; at least this share of its work is to be what the least would take.
_SHARE: Final = 0.05
#: Every station has connected since then, is online and has shown its slots.
_BACK: Final = text("""
SELECT NOT EXISTS (SELECT FROM station s WHERE NOT s.online OR NOT EXISTS (
           SELECT FROM device_session d WHERE d.station_id = s.id AND d.connected_at > :since))
   AND NOT EXISTS (SELECT FROM station_slot WHERE observed_at IS NULL OR observed_at <= :since)
""")
_GONE: Final = text("SELECT NOT EXISTS (SELECT FROM station WHERE online)")


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of processor time for each cabinet, by process; how many seconds all took together."""

    by_process: Mapping[str, float]
    seconds: float

    @property
    def ms(self) -> float:
        return sum(self.by_process.values())


@dataclass(frozen=True, slots=True)
class _Before:
    since: datetime
    began: float
    cpu_s: Mapping[str, float]


class Town:
    """The system, and cabinets that keep their memory over a restart."""

    def __init__(self, system: Whole, memory: Path) -> None:
        self._system = system
        self._memory = memory

    def cabinets(self) -> AbstractContextManager[subprocess.Popen[str]]:
        system = self._system
        return _simulators(system.services.mosquitto.url, len(system.fleet.stations), memory=self._memory)

    def cut_all_off(self) -> None:
        self._system.services.mosquitto.stop()
        self._system.services.mosquitto.start()

    def until_all_are_gone(self) -> None:
        self._until("cabinets to be away", _GONE)

    def before(self) -> _Before:
        with self._system.engine.connect() as connection:
            since = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        return _Before(since, time.monotonic(), self._cpu_s())

    def until_all_are_back(self, before: _Before) -> Cost:
        self._until("cabinets to be back", _BACK, since=before.since)
        per_cabinet = {
            name: (after - before.cpu_s[name]) * 1000 / len(self._system.fleet.stations)
            for name, after in self._cpu_s().items()
        }
        return Cost(per_cabinet, time.monotonic() - before.began)

    def _until(self, what: str, is_so: TextClause, **values: Any) -> None:
        def ready() -> bool:
            time.sleep(0.2)  # asking costs PostgreSQL as well
            return holds(self._system, is_so, **values) and holds(self._system, SETTLED)

        wait_for(self._system.processes["gateway"], what, ready, _WITHIN_S)

    def _cpu_s(self) -> dict[str, float]:
        """User and system time of each process of the backend and its children, those that have ended as well."""
        used = {}
        for name, pid in self._system.pids.items():
            if name == _BROKER:
                continue
            own = psutil.Process(pid).cpu_times()
            used[name] = own.children_user + own.children_system
            for each in processes_of(pid):
                with suppress(psutil.NoSuchProcess):
                    times = each.cpu_times()
                    used[name] += times.user + times.system
        return used


@contextmanager
def _simulators(mqtt: str, stations: int, *, memory: Path | None) -> Iterator[subprocess.Popen[str]]:
    arguments = ["--mqtt", mqtt, "--stations", str(stations), "--seed", str(default_fleet(stations).seed)]
    arguments += [] if memory is None else ["--state", str(memory)]
    with process(["simulators", *arguments], stdout=subprocess.DEVNULL) as running:
        yield running


def _of_the_backend(stations: int) -> dict[str, Cost]:
    with whole(stations) as system, TemporaryDirectory(prefix="voltbay-bench-") as memory:
        town = Town(system, Path(memory))
        before = town.before()
        with town.cabinets():
            first = town.until_all_are_back(before)
            before = town.before()
            town.cut_all_off()
            cut_off = town.until_all_are_back(before)
        town.until_all_are_gone()
        before = town.before()
        with town.cabinets():
            restarted = town.until_all_are_back(before)
    return {"first connection": first, "reconnection": cut_off, "restart": restarted}


def _of_the_least(stations: int) -> float:
    """Milliseconds for each cabinet."""
    with services() as running:
        mosquitto = running.mosquitto
        arguments = ["benchmarks.responder", "--port", str(mosquitto.port), "--cabinets", str(stations)]
        with process(arguments, stdout=subprocess.PIPE) as responder:
            assert responder.stdout is not None
            if responder.stdout.readline().strip() != "ready":
                raise RuntimeError("the responder did not start")
            with _simulators(mosquitto.url, stations, memory=None):
                return float(json.loads(responder.stdout.readline())["cpu_s"]) * 1000 / stations


def run(*, quick: bool, cabinets: int | None = None) -> Report:
    report = Report("connect", "what a connecting cabinet costs the backend, processor time", quick)
    stations = cabinets or (40 if quick else 1500)
    least = _of_the_least(stations)
    costs = _of_the_backend(stations)
    for name, cost in costs.items():
        parts = ", ".join(f"{process} {ms:.1f}" for process, ms in cost.by_process.items() if ms >= 0.1)
        report.add(f"{name}: the least against the backend", least / cost.ms, "", target=_SHARE, note=parts)
        report.add(
            f"{name}: cabinets a second of processor", 1000 / cost.ms, "/s", note=f"{stations} in {cost.seconds:.0f} s"
        )
    report.add("the least: cabinets a second of processor", 1000 / least, "/s", note="paho and our codec")
    report.detail = {name: asdict(cost) for name, cost in costs.items()}
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.connect", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less than a minute, to see that it runs")
    parser.add_argument("--cabinets", type=int, help="how many; the fewer, the more what idle processes use counts")
    given = parser.parse_args()
    report = run(quick=given.quick, cabinets=given.cabinets)
    show([report])
    save(report)
    return 0 if report.quick or report.met else 1


if __name__ == "__main__":
    sys.exit(main())
