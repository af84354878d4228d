"""The `voltbay` command as people call it: in a process of its own, with an environment and an exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.embedded.home import Home
from cli.embedded.ports import free_port
from cli.running import RunState
from tests.databases import Database

_ROOT = Path(__file__).parents[2]


def _voltbay(*arguments: str, home: Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VOLTBAY_")}
    for name in ("DATABASE_URL", "REDIS_URL", "MQTT_URL"):
        clean.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=_ROOT,
        timeout=60,
        env=clean | environment | {"VOLTBAY_HOME": str(home), "COLUMNS": "200"},
    )


def test_doctor_is_content_with_a_machine_that_can_run_it(tmp_path: Path) -> None:
    done = _voltbay("doctor", home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for what in ("Python", "disk", "PostgreSQL", "Redis", "Mosquitto", "time series"):
        assert what in done.stdout
    assert "missing" not in done.stdout


def test_doctor_names_every_address_that_does_not_answer(tmp_path: Path) -> None:
    port = free_port()
    done = _voltbay(
        "doctor",
        home=tmp_path,
        DATABASE_URL=f"postgresql://127.0.0.1:{port}/x",
        REDIS_URL=f"redis://127.0.0.1:{port}/0",
        MQTT_URL=f"mqtt://127.0.0.1:{port}",
    )
    assert done.returncode == 1
    assert "DATABASE_URL does not answer" in done.stdout
    assert "REDIS_URL does not answer" in done.stdout
    assert "the broker does not answer" in done.stdout


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("VOLTBAY_HTTP_PORT", "99999", "less than or equal to 65535"),
        ("DATABASE_URL", "nonsense", "expected postgresql://"),
        ("REDIS_URL", "redis://h:port/0", "expected redis://"),
        ("MQTT_URL", "127.0.0.1:1883", "expected mqtt://"),
        ("VOLTBAY_ENVIRONMENT", "production", "set VOLTBAY_SECRET_KEY"),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_line(tmp_path: Path, variable: str, value: str, says: str) -> None:
    done = _voltbay("doctor", home=tmp_path, **{variable: value})
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("voltbay: ")
    assert says in line
    assert variable in line or variable == "VOLTBAY_ENVIRONMENT"


def test_doctor_tells_a_refused_password_from_a_silent_broker(tmp_path: Path, mqtt_url: str) -> None:
    wrong = mqtt_url.replace("mqtt://gateway:", "mqtt://gateway:not")
    assert "the broker refuses" in _voltbay("doctor", home=tmp_path, MQTT_URL=wrong).stdout


def test_doctor_sees_a_database_that_was_not_migrated(tmp_path: Path, clean_database: Database) -> None:
    with clean_database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '20261123_01'")
    done = _voltbay("doctor", home=tmp_path, DATABASE_URL=clean_database.url)
    assert done.returncode == 1
    assert "at 20261123_01, newest" in done.stdout
    assert "voltbay migrate" in done.stdout


def test_migrate_starts_the_homes_database_when_no_other_is_given(tmp_path: Path) -> None:
    assert _voltbay("migrate", "--check", home=tmp_path).returncode == 1
    done = _voltbay("migrate", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert _voltbay("migrate", "--check", home=tmp_path).returncode == 0
    assert not list(tmp_path.glob("*.pid"))


def test_commands_keep_out_of_a_home_that_is_being_used(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.lock()
    try:
        done = _voltbay("migrate", home=tmp_path)
    finally:
        home.unlock()
    assert done.returncode == 1
    assert done.stderr.startswith(f"voltbay: a system already runs in {tmp_path} (process {os.getpid()})")


def test_psql_passes_arguments_on_and_no_password_on_its_command_line(tmp_path: Path, clean_database: Database) -> None:
    done = _voltbay("psql", "-At", "-c", "SELECT 6 * 7", home=tmp_path, DATABASE_URL=clean_database.url)
    assert done.stdout == "42\n", done.stderr


def test_shell_knows_the_models(tmp_path: Path, clean_database: Database) -> None:
    question = "print('stations:', session.query(Station).count())\n"
    done = _voltbay("shell", home=tmp_path, stdin=question, DATABASE_URL=clean_database.url)
    assert "stations: 0" in done.stdout, done.stderr


@pytest.mark.parametrize(("frame", "code"), [("zz", 1), ("7b7d", 1)])
def test_decode_says_what_is_wrong(tmp_path: Path, frame: str, code: int) -> None:
    done = _voltbay("decode", frame, home=tmp_path)
    assert done.returncode == code
    assert done.stderr.startswith(("not hex", "malformed"))


def test_simulate_refuses_a_range_that_makes_no_sense(tmp_path: Path) -> None:
    done = _voltbay("simulate", "--eject-ms", "9-1", home=tmp_path)
    assert done.returncode == 2
    assert "9-1" in done.stderr


@pytest.mark.parametrize(
    ("command", "says"),
    [("simulate", "simulates VB-0002 itself"), ("gateway", "name this one with VOLTBAY_GATEWAY_NAME")],
)
def test_what_runs_already_is_not_started_a_second_time(tmp_path: Path, command: str, says: str) -> None:
    """Two of one name take each other's session at the broker."""
    home = Home(tmp_path)
    home.lock()
    RunState(
        pid=1,
        url="",
        device_mqtt_url=f"mqtt://127.0.0.1:{free_port()}",
        control_url="http://127.0.0.1:1",
        stations=["VB-0002"],
        environment={},
        pids={"gateway": 1},
    ).save(home)
    done = _voltbay(command, home=tmp_path)
    home.unlock()
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr


def test_the_version_is_printed(tmp_path: Path) -> None:
    assert _voltbay("version", home=tmp_path).stdout.startswith("voltbay ")
