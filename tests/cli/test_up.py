"""`voltbay up` as a person meets it: ready, stopped, started again, and every way in which it can be killed."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest
from msgspec.structs import replace

from simulators.spec import Kind, default_fleet
from tests.plain_http import NO_TLS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

_ROOT = Path(__file__).parents[2]
_READY_S = 90
_STOP_S = 30


class _Up:
    """One `voltbay up` in a process of its own, its output read line by line."""

    def __init__(self, home: Path, *arguments: str, **environment: str) -> None:
        self.home = home
        replaced = ("DATABASE_URL", "REDIS_URL", "MQTT_URL")
        clean = {k: v for k, v in os.environ.items() if not k.startswith("VOLTBAY_") and k not in replaced}
        self.environment = clean | environment | {"VOLTBAY_HOME": str(home)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up", "--stations", "2", "--fast", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=_ROOT,
            env=self.environment,
        )

    def wait_ready(self) -> None:
        """Until it announces its address, `url`."""
        deadline = time.monotonic() + _READY_S
        seen = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            seen.append(line)
            if found := re.fullmatch(r"voltbay is up: (http://\S+)\n", line):
                self.url = found[1]
                assert seen == [line]  # nothing before it
                return
            assert time.monotonic() < deadline, "".join(seen)
        raise AssertionError(f"ended with {self.process.wait()}: {''.join(seen)}")

    def run_state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.home / "run.json").read_text())
        return state

    def pids(self) -> dict[str, int]:
        pids: dict[str, int] = self.run_state()["pids"]
        return pids

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Signal it; exit code and what it printed after readiness."""
        self.process.send_signal(number)
        output = self.process.communicate(timeout=_STOP_S)[0]
        return self.process.returncode, output


@contextmanager
def _up(home: Path, *arguments: str, **environment: str) -> Iterator[_Up]:
    system = _Up(home, *arguments, **environment)
    try:
        yield system
    finally:
        if system.process.poll() is None:
            system.process.terminate()
            try:
                system.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                system.process.kill()
        if system.process.stdout is not None:
            system.process.stdout.close()


@contextmanager
def _started_after(first: _Up, home: Path) -> Iterator[_Up]:
    """A second one, once the first works: both at once may take longer than a system gives itself on two cores."""
    first.wait_ready()
    with _up(home) as system:
        system.wait_ready()
        yield system


def _still_running(pids: dict[str, int], timeout_s: float = 10.0) -> dict[str, int]:
    def alive(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    deadline = time.monotonic() + timeout_s
    while (left := {name: pid for name, pid in pids.items() if alive(pid)}) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def test_two_systems_are_stopped_and_killed_and_find_their_data_again(tmp_path: Path) -> None:
    """One story, because a system takes twenty seconds of a processor to start. Each ends twice, each time otherwise;
    SIGTERM is how the demo ends its own (test_demo.py).
    """
    with _up(tmp_path / "a") as one, _started_after(one, tmp_path / "b") as other:
        urls = (one.url, other.url)
        assert one.url != other.url
        assert one.run_state()["stations"] == ["VB-0001", "VB-0002"]
        _assert_one_home_serves_one_system(one)
        _assert_readme_rents(one.url, one.run_state()["control_url"])
        environment = one.run_state()["environment"]
        _assert_ctrl_c_stops(one)
        assert httpx.get(f"{other.url}/health/ready", verify=NO_TLS).status_code == 200
        _assert_nothing_outlives_kill_9(other)
    with _up(tmp_path / "a") as one, _started_after(one, tmp_path / "b") as other:
        assert (one.url, other.url) == urls
        assert one.run_state()["environment"] == environment
        _assert_death_is_named(one, "gateway")
        _assert_a_cabinet_with_a_secret_is_checked(other, tmp_path)
        _assert_death_is_named(other, "redis")


def _assert_one_home_serves_one_system(system: _Up) -> None:
    with _up(system.home) as intruder:
        output = intruder.process.communicate(timeout=_READY_S)[0]
    assert intruder.process.returncode == 1
    assert f"a system already runs in {system.home} (process {system.process.pid})" in output


def _assert_nothing_outlives_kill_9(system: _Up) -> None:
    pids = system.pids()
    system.process.kill()
    assert _still_running(pids, timeout_s=20) == {}


def _assert_readme_rents(url: str, simulators: str) -> None:
    """The README's commands as they are printed, one shell after the other lines; only the waiting is added."""
    chapter = (_ROOT / "README.md").read_text().split("## One rental with curl")[1].split("## Where to go")[0]
    script = "\n".join(re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL))
    script = re.sub(r"^B=\S+", f"B={url}", script, flags=re.MULTILINE)
    script = re.sub(r"^SIM=\S+", f"SIM={simulators}", script, flags=re.MULTILINE)
    code = 'until curl -s "$B/sandbox/messages?destination=ada@example.com" | grep -q " is "; do sleep 0.2; done\nCODE='
    closed = "until api $B/api/rental/$ID | grep -q completed; do sleep 0.2; done\n"
    script = script.replace("CODE=", code, 1).replace("api $B/api/rental/$ID\n", f"{closed}api $B/api/rental/$ID\n", 1)
    done = subprocess.run(
        ["bash", "-ec", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
        env={"PATH": os.environ["PATH"], "TOKEN": ""},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *_, rental, price, statement = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert (rental["state"], rental["station_in"]) == ("completed", "VB-0002")
    assert rental["charged"] == price["total"] == rental["price"]
    moved = [line["amount"]["amount_minor"] for line in statement["items"]]
    assert sum(moved) == 2000 - price["total"]["amount_minor"]


def _assert_ctrl_c_stops(system: _Up) -> None:
    """In order, and with nothing left."""
    pids = system.pids()
    assert system.end(signal.SIGINT)[0] == 0
    assert _still_running(pids) == {}
    assert not (system.home / "run.json").exists()


def _assert_death_is_named(system: _Up, victim: str) -> None:
    """Whose death, how the log ended, and nothing goes on without it."""
    pids = system.pids()
    os.kill(pids[victim], signal.SIGKILL)
    output = system.process.communicate(timeout=_STOP_S)[0]
    assert system.process.returncode == 1
    assert f"{victim} ended unexpectedly" in output
    assert _still_running(pids) == {}


def _assert_a_cabinet_with_a_secret_is_checked(system: _Up, folder: Path) -> None:
    """A Volinks one asks over HTTP where to go: not to the listener that believes names."""
    state = system.run_state()
    cabinet = replace(default_fleet(1, seed=71, kind=Kind.VOLINKS).stations[0], code="VOL-1")
    stations = folder / "volinks.csv"
    about = f"{cabinet.code},Library,38.7,-9.1,{cabinet.slots},volinks,{cabinet.hardware_id}"
    stations.write_text(f"code,name,latitude,longitude,slots,dialect,imei\n{about}\n")
    imported = [sys.executable, "-m", "cli.main", "stations", "import", str(stations)]
    subprocess.run(imported, check=True, cwd=_ROOT, env=system.environment)
    made = httpx.post(f"{state['control_url']}/stations", content=msgspec.json.encode(cabinet), verify=NO_TLS)
    assert made.status_code == 201
    checked = state["environment"]["VOLTBAY_CABINET_SECRET_URL"].rpartition(":")[2]
    assert checked != state["device_mqtt_url"].rpartition(":")[2]
    here = f"{state['control_url']}/stations/{cabinet.code}"
    deadline = time.monotonic() + _READY_S
    while httpx.get(here, verify=NO_TLS).json()["connection"] != "welcomed":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    log = (system.home / "log" / "mosquitto.log").read_text()
    assert f"on port {checked}." in log
    assert f"u'{cabinet.hardware_id}'" in log


def test_a_port_that_was_asked_for_and_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with _up(tmp_path, VOLTBAY_HTTP_PORT=port) as system:
            output = system.process.communicate(timeout=_READY_S)[0]
    assert system.process.returncode == 1
    assert f"port {port} (VOLTBAY_HTTP_PORT) is taken" in output
    assert list(tmp_path.iterdir()) == []  # and nothing was started for that
