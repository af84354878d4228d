"""What cannot work is refused before anything is started."""

import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from cli.embedded.home import Home
from cli.embedded.ports import free_port
from cli.preflight import CannotStart, refuse_what_cannot_work
from cli.running import RunState
from fleet.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def _settings(**given: object) -> Settings:
    return Settings(**given)  # type: ignore[arg-type]  # by field name


def test_a_port_that_was_asked_for_and_is_taken(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"port {port} \(VOLTBAY_HTTP_PORT\) is taken"):
            refuse_what_cannot_work(_settings(http_port=port), home)
    refuse_what_cannot_work(_settings(http_port=port), home)


def test_a_port_that_is_not_to_be_had_is_not_said_to_be_taken(home: Home) -> None:
    elsewhere = _settings(http_port=free_port(), http_host="192.0.2.1")  # RFC 5737: nobody's
    with pytest.raises(CannotStart, match=r"cannot be had at 192\.0\.2\.1: "):
        refuse_what_cannot_work(elsewhere, home)


def test_a_port_that_the_running_system_of_this_home_has_is_its_locks_to_refuse(home: Home) -> None:
    state = RunState(pid=1, url="", device_mqtt_url="", control_url=None, stations=[], environment={}, pids={})
    home.lock()
    state.save(home)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refuse_what_cannot_work(_settings(http_port=taken.getsockname()[1]), home)
    home.unlock()


def test_every_given_service_that_does_not_answer_is_named(home: Home) -> None:
    port = free_port()
    away = _settings(
        database_url=SecretStr(f"postgresql://127.0.0.1:{port}/x"),
        redis_url=SecretStr(f"redis://127.0.0.1:{port}/0"),
        mqtt_url=SecretStr(f"mqtt://127.0.0.1:{port}"),
    )
    with pytest.raises(CannotStart) as refused:
        refuse_what_cannot_work(away, home)
    for name in ("DATABASE_URL", "REDIS_URL", "MQTT_URL"):
        assert name in str(refused.value)


def test_services_that_answer_are_no_problem(home: Home, database_url: str, redis_url: str, mqtt_url: str) -> None:
    refuse_what_cannot_work(
        _settings(database_url=SecretStr(database_url), redis_url=SecretStr(redis_url), mqtt_url=SecretStr(mqtt_url)),
        home,
    )
