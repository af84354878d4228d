"""`voltbay secrets`: what it prints is what docker-compose.yml asks for, and what the settings accept."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from typer.testing import CliRunner

from cli.main import app
from fleet.settings import Environment, Settings
from tests.deploy import compose


def _run(*arguments: str, **environment: str) -> str:
    done = CliRunner().invoke(app, ["secrets", *arguments], env=environment)
    assert done.exit_code == 0, done.output
    return done.stdout


def _environment() -> dict[str, str]:
    lines = (line.partition("=") for line in _run("env").splitlines())
    return {name: value.strip('"').replace("\\n", "\n") for name, _, value in lines}


def test_every_required_variable_is_made() -> None:
    required = {variable.name for variable in compose.variables() if variable.required}
    assert set(_environment()) == required | {"SIMULATOR_PASSWORD"}


def test_secrets_are_new_each_time_and_never_twice_the_same() -> None:
    first, second = _environment(), _environment()
    assert len({*first.values(), *second.values()}) == 2 * len(first)


def test_production_settings_accept_them(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _environment()
    for name, value in made.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VOLTBAY_ENVIRONMENT", "production")
    settings = Settings()
    assert settings.environment is Environment.PRODUCTION
    assert settings.token_private_key is not None
    key = load_pem_private_key(settings.token_private_key.get_secret_value().encode(), password=None)
    assert isinstance(key, Ed25519PrivateKey)


def test_broker_files_hold_hashes_that_only_their_owner_reads(tmp_path: Path) -> None:
    given, output = tmp_path / "given", tmp_path / "output"
    (given / "tls").mkdir(parents=True)
    (given / "tls" / "server.pem").write_text("certificate")
    (given / "cabinets").write_text("# a comment\n" + _run("cabinets", "VB-9001", "VB-9002"))
    told = _run(
        "broker", str(output), "--from", str(given),
        MQTT_GATEWAY_PASSWORD="gate", SIMULATED_STATIONS="2", SIMULATOR_PASSWORD="many",
    )  # fmt: skip
    assert told == "4 cabinets, 1 TLS files\n"
    users = [line.partition(":")[0] for line in (output / "devices.passwords").read_text().splitlines()]
    assert sorted(users) == ["VB-0001", "VB-0002", "VB-9001", "VB-9002"]
    written = [path for path in output.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}
    assert {path.name for path in written} == {"gateway.passwords", "devices.passwords", "server.pem"}
    assert "many" not in (output / "devices.passwords").read_text()
    assert "gate:" not in (output / "gateway.passwords").read_text()


@pytest.mark.parametrize("line", ["VB-1", "VB-1:", ":secret", "VB-2:a\nVB-2:b"])
def test_a_cabinet_without_a_secret_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "cabinets").write_text(f"{line}\n")
    done = CliRunner().invoke(
        app, ["secrets", "broker", str(tmp_path / "out"), "--from", str(tmp_path), "--gateway-password", "x"]
    )
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_simulated_cabinets_never_come_without_a_password(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["secrets", "broker", str(tmp_path / "out"), "--gateway-password", "x", "--simulated", "2"]
    )
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists()
