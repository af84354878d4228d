"""The way of a release from keys to the fleet, as docs/firmware.md has it."""

from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from cli.main import app
from fleet.db import session_scope
from fleet.devices.firmware.models import FirmwareRelease, ReleaseState
from tests.databases import Database

RUNNER = CliRunner()


def run(*arguments: object, status: int = 0) -> str:
    result = RUNNER.invoke(app, ["firmware", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three keys and an image."""
    monkeypatch.chdir(tmp_path)
    for name in ("alice", "bob", "carol"):
        run("keygen", name)
    Path("image.bin").write_bytes(b"firmware" * 100)
    return tmp_path


def make_release(counter: int = 1) -> None:
    run(
        "release", "image.bin", f"release.{counter}.json", "--version", f"1.{counter}.0", "--counter", counter,
        "--hardware", "CAB8",
    )  # fmt: skip


def test_from_keys_to_the_fleet(desk: Path, clean_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", clean_database.url)
    monkeypatch.setenv("VOLTBAY_HOME", str(desk / "home"))
    assert (desk / "alice.key").stat().st_mode & 0o077 == 0
    run("root", "root.1.json", "--key", "alice.pub", "--key", "bob.pub", "--key", "carol.pub")
    run("sign", "root.1.json", "alice.key")
    run("add", "root.1.json", status=1)  # one signature is not enough
    run("sign", "root.1.json", "bob.key")
    assert "root 1" in run("add", "root.1.json")
    make_release()
    run("sign", "release.1.json", "carol.key")
    cabinet = ("verify", "root.1.json", "release.1.json", "--hardware", "CAB8")
    assert "0 valid" not in run(*cabinet, status=1)
    run("sign", "release.1.json", "alice.key")
    assert "accepted: 1.1.0" in run(*cabinet, "--image", "image.bin")
    run("verify", "root.1.json", "release.1.json", "--hardware", "CAB12", status=1)
    (desk / "wrong.bin").write_bytes(b"firmware")
    run("add", "release.1.json", "wrong.bin", status=1)
    run("add", "release.1.json", status=1)
    assert "release 1: 1.1.0 for CAB8" in run("add", "release.1.json", "image.bin")
    assert "1.1.0" in run("list")
    with session_scope(clean_database.engine) as session:
        assert session.scalars(select(FirmwareRelease.state)).all() == [ReleaseState.READY]
    # Keys are replaced by a threshold of the old and of the new ones.
    run("keygen", "dave")
    run("root", "root.2.json", "--previous", "root.1.json", "--key", "alice.pub", "--key", "dave.pub")
    for key in ("alice.key", "dave.key"):
        run("sign", "root.2.json", key)
    run("add", "root.2.json", status=1)
    run("sign", "root.2.json", "bob.key")
    assert "root 2" in run("add", "root.2.json")


def test_nothing_is_written_over(desk: Path) -> None:
    run("keygen", "alice", status=1)
    make_release()
    assert RUNNER.invoke(app, ["firmware", "sign", "release.1.json", "alice.pub"]).exit_code == 1
    assert RUNNER.invoke(app, ["firmware", "sign", "image.bin", "alice.key"]).exit_code == 1
