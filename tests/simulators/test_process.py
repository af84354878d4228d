"""The simulator as a process: ready line, orderly end, and what it finds again."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from firmware_protocol.commands import EjectPowerBank
from firmware_protocol.messages import Booted, Offline, PowerBankEjected
from firmware_protocol.types import OfflineCause, ResetCause
from tests.simulators.backend import MiniBackend

CODE = "VB-0001"


@pytest.fixture
def backend(mqtt_url: str) -> Iterator[MiniBackend]:
    with MiniBackend(mqtt_url) as backend:
        yield backend


class Running:
    """A simulator that has printed its ready line."""

    def __init__(self, process: "subprocess.Popen[str]", control: str) -> None:
        self.process = process
        self.control = control

    def get(self, path: str) -> dict[str, object]:
        shown: dict[str, object] = httpx.get(self.control + path).json()
        return shown

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(15)


@contextmanager
def simulator(url: str, *arguments: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "simulators", "--stations", "2", "--mqtt", url, "--eject-ms", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("simulators ready: 2 stations"):
                break
        yield Running(process, line.split("control ")[1].strip())
        if process.poll() is None:
            process.kill()


def test_sigterm_ends_it_politely(backend: MiniBackend, device_mqtt_url: str) -> None:
    with simulator(device_mqtt_url) as running:
        assert running.get("/health")["status"] == "ready"
        assert running.end(signal.SIGTERM) == 0
    backend.wait_for(lambda: len(backend.of(CODE, Offline)) == 1)
    goodbye = backend.of(CODE, Offline)[0].message
    assert isinstance(goodbye, Offline)
    assert goodbye.cause is OfflineCause.SHUTDOWN


def test_a_killed_simulator_finds_banks_journal_and_counters_again(
    backend: MiniBackend, device_mqtt_url: str, tmp_path: Path
) -> None:
    state = ("--state", str(tmp_path))
    with simulator(device_mqtt_url, *state) as running:
        slot = _occupied(running)[0]
        backend.wait_for(lambda: len(backend.of(CODE, Booted)) == 1)
        backend.acknowledges = False
        backend.command(CODE, EjectPowerBank(slot=slot))
        (serial,) = [row["serial"] for row in httpx.get(f"{running.control}/banks").json()]
        epoch = running.get(f"/stations/{CODE}")["epoch"]
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
    backend.acknowledges = True
    with simulator(device_mqtt_url, *state) as running:
        shown = running.get(f"/stations/{CODE}")
        assert shown["boot"] == 2
        assert isinstance(shown["epoch"], int)
        assert isinstance(epoch, int)
        assert shown["epoch"] > epoch
        assert slot not in _occupied(running)
        assert [row["serial"] for row in httpx.get(f"{running.control}/banks").json()] == [serial]
        booted = backend.of(CODE, Booted)[-1].message
        assert isinstance(booted, Booted)
        assert booted.reset_cause is ResetCause.POWER_ON
        # Unacknowledged when it was killed: sent again, under the boot in which it happened.
        backend.wait_for(lambda: len(backend.of(CODE, PowerBankEjected)) == 2)
        first, again = backend.of(CODE, PowerBankEjected)
        assert (again.boot, again.seq, again.at_ms, again.message) == (1, first.seq, first.at_ms, first.message)
        assert running.end(signal.SIGTERM) == 0


def _occupied(running: Running) -> list[int]:
    slots = running.get(f"/stations/{CODE}")["slots"]
    assert isinstance(slots, list)
    return [slot["slot"] for slot in slots if slot["bank"]]


def test_one_state_folder_serves_one_process(backend: MiniBackend, device_mqtt_url: str, tmp_path: Path) -> None:
    with simulator(device_mqtt_url, "--state", str(tmp_path)) as running:
        command = [sys.executable, "-m", "simulators", "--mqtt", device_mqtt_url, "--state", str(tmp_path)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert second.returncode == 1
        assert "locked" in second.stderr
        assert len(second.stderr.splitlines()) == 1
        assert running.end(signal.SIGTERM) == 0


def test_an_unusable_fleet_file_is_one_line_on_stderr(tmp_path: Path) -> None:
    broken = tmp_path / "fleet.json"
    broken.write_text(json.dumps({"stations": [{"code": "a b"}]}))
    command = [sys.executable, "-m", "simulators", "--codes-file", str(broken)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "stations[0]" in done.stderr
