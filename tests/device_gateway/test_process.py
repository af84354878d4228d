"""The process itself: signals and metrics."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from device_gateway.watchdog import EXIT_CODE
from tests.databases import Database
from tests.device_gateway.cabinet import Cabinet, eventually
from tests.device_gateway.support import add_station, lock


@pytest.fixture
def metrics_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def environment(clean_database: Database, mqtt_url: str, group: str, metrics_port: int) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": clean_database.url,
        "MQTT_URL": mqtt_url,
        "VOLTBAY_GATEWAY_GROUP": group,
        "VOLTBAY_GATEWAY_NAME": f"{group}-one",
        "VOLTBAY_METRICS_PORT": str(metrics_port),
    }


@pytest.fixture
def process(environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-m", "device_gateway"], env=environment)
    yield process
    if process.poll() is None:
        process.kill()
    process.wait(10)


def metrics(port: int) -> str:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    except httpx.TransportError:
        return ""


def test_it_runs_until_told_and_leaves_in_good_order(
    process: "subprocess.Popen[bytes]",
    metrics_port: int,
    clean_database: Database,
    group: str,
    device_mqtt_url: str,
) -> None:
    add_station(clean_database.engine, group)
    eventually(lambda: "voltbay_gateway_connected 1.0" in metrics(metrics_port), 30)
    with Cabinet(group, device_mqtt_url) as cabinet:
        cabinet.send(lock(group, 1), lock(group, 2))
        eventually(lambda: cabinet.acked() == 2)
    assert 'voltbay_gateway_applied_total{type="slot_locked"} 1.0' in metrics(metrics_port)
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0


@pytest.mark.parametrize("thread", ["dispatcher:Dispatcher._work", "mqtt:Link._read"])
def test_a_thread_that_dies_takes_the_process_with_it(environment: dict[str, str], thread: str) -> None:
    """It finds a bug in its work: whoever keeps processes alive starts a whole gateway again."""
    module, _, method = thread.partition(":")
    broken = f"""
import device_gateway.{module} as broken
from device_gateway.main import main

def find_a_bug(*_, **__):
    raise ZeroDivisionError

broken.{method} = find_a_bug
raise SystemExit(main())
"""
    ended = subprocess.run([sys.executable, "-c", broken], env=environment, timeout=120, check=False)
    assert ended.returncode == EXIT_CODE
