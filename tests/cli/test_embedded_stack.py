"""The three services together: side by side with others, one owner per home, nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cli.embedded.errors import HomeInUse, ProgramMissing
from cli.embedded.mosquitto import EmbeddedMosquitto
from cli.embedded.stack import EmbeddedStack, StackOptions, without_credentials

_HOLDER = """
import sys
from pathlib import Path
from cli.embedded.stack import EmbeddedStack, StackOptions
stack = EmbeddedStack(Path(sys.argv[1]), StackOptions(fsync=False))
stack.start()
print(*[service.pid for service in stack.services], flush=True)
sys.stdin.read()
"""


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _wait_gone(pids: list[int], timeout_s: float = 15.0) -> list[int]:
    deadline = time.monotonic() + timeout_s
    while (left := [pid for pid in pids if not _gone(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def test_two_homes_run_side_by_side_and_leave_nothing(tmp_path: Path) -> None:
    fast = StackOptions(fsync=False)
    with EmbeddedStack(tmp_path / "a", fast) as one, EmbeddedStack(tmp_path / "b", fast) as two:
        urls = [*one.environment.values(), *two.environment.values(), one.device_mqtt_url, two.device_mqtt_url]
        assert len(set(urls)) == len(urls)
        pids = [service.pid for stack in (one, two) for service in stack.services]
        assert all(service.healthy() for stack in (one, two) for service in stack.services)
    assert all(pid is not None and _gone(pid) for pid in pids)


def test_one_home_has_one_owner(tmp_path: Path) -> None:
    options = StackOptions(database_url="postgresql://elsewhere/x", mqtt_url="mqtt://elsewhere")
    with EmbeddedStack(tmp_path, options), pytest.raises(HomeInUse, match=rf"process {os.getpid()}\)"):
        EmbeddedStack(tmp_path, options).start()


class _NotInstalled(EmbeddedMosquitto):
    def program(self) -> Path:
        raise ProgramMissing("mosquitto", "install it")


def test_what_is_not_installed_is_said_before_anything_is_started(tmp_path: Path) -> None:
    stack = EmbeddedStack(tmp_path)
    stack.mosquitto = _NotInstalled(stack.home)
    with pytest.raises(ProgramMissing, match="install it"):
        stack.start()
    assert not (tmp_path / "postgres").exists()


def test_a_given_address_replaces_the_service(tmp_path: Path) -> None:
    options = StackOptions(database_url="postgresql://elsewhere/x", mqtt_url="mqtt://gw:secret@elsewhere:1883")
    with EmbeddedStack(tmp_path, options) as stack:
        assert [service.name for service in stack.services] == ["redis"]
        assert stack.database_url == "postgresql://elsewhere/x"
        assert stack.device_mqtt_url == "mqtt://elsewhere:1883"
    assert not (tmp_path / "postgres").exists()


def test_credentials_are_stripped_from_an_address() -> None:
    assert without_credentials("mqtts://u:p%40@broker.example:8883") == "mqtts://broker.example:8883"


def test_the_services_of_a_killed_owner_die_and_the_next_start_finds_their_data(tmp_path: Path) -> None:
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as holder:
            assert holder.stdout is not None
            pids = [int(pid) for pid in holder.stdout.readline().split()]
            holder.send_signal(signal.SIGKILL)
        assert len(pids) == 3
    # Not waited for above: the second start met services that were still on their way out.
    assert _wait_gone(pids) == []
    with EmbeddedStack(tmp_path, StackOptions(fsync=False)) as stack:
        assert all(service.healthy() for service in stack.services)
