"""The supervisor with real processes: orderly stop, sudden deaths, kill -9 of itself."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

#: argv: home, then name=command pairs. Prints "started" and the pids in that order, and at the end who ended first.
_HARNESS = """
import os, shlex, sys
from pathlib import Path
from cli.embedded.home import Home
from cli.supervisor import Supervisor
home = Home(Path(sys.argv[1]))
home.create()
names = [pair.partition("=")[0] for pair in sys.argv[2:]]

def on_started(pids):
    print("started", *(pids[name] for name in names), flush=True)

supervisor = Supervisor(home, mirror=None, on_started=on_started)
for pair in sys.argv[2:]:
    name, _, command = pair.partition("=")
    supervisor.add(name, shlex.split(command), os.environ)
supervisor.loop()
print("ended", supervisor.first_to_end, flush=True)
"""
_ROOT = Path(__file__).parents[2]
_SLEEPER = "sleep 60"
_STUBBORN = f"""{sys.executable} -c 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True); time.sleep(60)'"""


@contextmanager
def _supervised(home: Path, **commands: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    arguments = [sys.executable, "-c", _HARNESS, str(home), *(f"{name}={line}" for name, line in commands.items())]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as process:
        assert process.stdout is not None
        try:
            first, *pids = process.stdout.readline().split()
            assert first == "started"
            yield process, [int(pid) for pid in pids]
        finally:
            process.kill()


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait_dead(pids: list[int], timeout_s: float = 5.0) -> list[int]:
    deadline = time.monotonic() + timeout_s
    while (left := [pid for pid in pids if _alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_and_blames_nobody(tmp_path: Path, number: signal.Signals) -> None:
    with _supervised(tmp_path, one=_SLEEPER, two=_SLEEPER) as (process, pids):
        process.send_signal(number)
        assert process.communicate(timeout=5)[0] == "ended None\n"
        assert _wait_dead(pids) == []


def test_the_first_to_end_is_named_and_takes_the_others_along(tmp_path: Path) -> None:
    with _supervised(tmp_path, fine=_SLEEPER, bad="sh -c 'echo no luck; sleep 0.3; exit 7'") as (process, pids):
        assert process.communicate(timeout=5)[0] == "ended ('bad', 7)\n"
        assert _wait_dead(pids) == []
    assert "no luck\n" in (tmp_path / "log" / "bad.log").read_text()
    assert "no luck" not in (tmp_path / "log" / "system.log").read_text()


def test_a_killed_process_is_named(tmp_path: Path) -> None:
    with _supervised(tmp_path, one=_SLEEPER, two=_SLEEPER) as (process, pids):
        psutil.Process(pids[1]).kill()
        assert process.communicate(timeout=5)[0] == "ended ('two', -9)\n"


def test_who_does_not_listen_is_killed_in_time(tmp_path: Path) -> None:
    with _supervised(tmp_path, deaf=_STUBBORN) as (process, pids):
        log = tmp_path / "log" / "deaf.log"
        while not (log.exists() and "deaf" in log.read_text()):
            time.sleep(0.02)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=12)
        assert time.monotonic() - started < 10
        assert _wait_dead(pids) == []


def test_kill_9_of_the_supervisor_leaves_no_process(tmp_path: Path) -> None:
    with _supervised(tmp_path, one=_SLEEPER, two=_SLEEPER) as (process, pids):
        go_betweens = [child.pid for child in psutil.Process(process.pid).children()]
        process.kill()
        assert _wait_dead([*pids, *go_betweens]) == []
