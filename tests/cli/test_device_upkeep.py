"""Configuration, logs and rollouts from a shell."""

import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from cli.main import app
from firmware_protocol.messages import LogChunk
from fleet.db import session_scope
from fleet.devices.facts import DeviceFact
from fleet.devices.logs import collect
from fleet.users.models import UserAuditLog
from tests.databases import Database
from tests.fleet.devices.firmware.world import Scene


@pytest.fixture
def voltbay(clean_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("DATABASE_URL", clean_database.url)
    monkeypatch.setenv("VOLTBAY_HOME", str(tmp_path))

    def run(*arguments: object, status: int = 0) -> str:
        result = CliRunner().invoke(app, [str(each) for each in arguments])
        assert result.exit_code == status, result.output
        return result.output.strip()

    return run


def test_what_operators_do_from_a_shell(voltbay: Any, clean_database: Database, now: datetime, tmp_path: Path) -> None:
    with session_scope(clean_database.engine) as session:
        scene = Scene(session, now)
        station = scene.station("A")
        release = scene.release(expires_ms=4_000_000_000_000).id
    voltbay("device-config", "layer", "dialect", "native", "volume_pct=20", "language=de")
    voltbay("device-config", "set", "A", "volume_pct=30", "night_mode=true")
    shown = json.loads(voltbay("device-config", "show", "A"))
    assert shown["desired"] == {"volume_pct": 30, "language": "de", "night_mode": True}
    assert "volume_pct must be" in voltbay("device-config", "set", "A", "volume_pct=300", status=1)
    voltbay("device-config", "set", "A", "volume_pct", status=2)
    assert "night_mode" in voltbay("device-config", "keys")
    assert [row["name"] for row in json.loads(voltbay("device-config", "layers", "--json"))] == ["native"]
    pending = json.loads(voltbay("device-config", "stations", "--standing", "pending", "--json"))
    assert [row["station"] for row in pending] == ["A"]
    voltbay("device-config", "drop-layer", "dialect", "native")
    assert json.loads(voltbay("device-config", "layers", "--json")) == []
    assert "no configuration" in voltbay("device-config", "drop-layer", "dialect", "native", status=1)
    log = voltbay("device-logs", "fetch", "A", "--hours", 6, "--max-bytes", 50_000)
    with session_scope(clean_database.engine) as session:
        chunk = LogChunk(request_id=log, index=0, last=True, content=b"line\n")
        fact = DeviceFact(
            station_id=station, station_code="A", boot=1, seq=1, occurred_at=now, received_at=now, replayed=False,
            message=chunk,
        )  # fmt: skip
        collect.take_chunk(session, fact, chunk, now)
    assert "complete" in voltbay("device-logs", "list")
    voltbay("device-logs", "save", log, tmp_path / "log.gz")
    assert gzip.decompress((tmp_path / "log.gz").read_bytes()) == b"line\n"
    voltbay("rollouts", "plan", release, status=2)
    for nonsense in ("0%", "x%", "team:a", ",", "group:"):
        voltbay("rollouts", "plan", release, "--to", nonsense, status=2)
    assert "no group" in voltbay("rollouts", "plan", release, "--to", "group:none", status=1).lower()
    assert "B" in voltbay("rollouts", "plan", release, "--to", "A,B", status=1)
    named = voltbay("rollouts", "plan", release, "--to", "A", "--by-itself")
    assert "1 A: 1 waiting" in voltbay("rollouts", "show", named)
    rollout = voltbay("rollouts", "plan", release, "--percent", 100)
    assert voltbay("rollouts", "steer", rollout, "approve") == "running"
    assert "1 waiting" in voltbay("rollouts", "show", rollout)
    assert "cannot go from" in voltbay("rollouts", "steer", rollout, "approve", status=1)
    for what in ("show", "targets", "events"):
        voltbay("rollouts", what, uuid4(), status=1)
    assert [(row["id"], row["state"]) for row in json.loads(voltbay("rollouts", "list", "--json"))] == [
        (rollout, "running"),
        (named, "draft"),
    ]
    (target,) = json.loads(voltbay("rollouts", "targets", rollout, "--json"))
    assert (target["station"], target["group"], target["state"]) == ("A", 1, "waiting")
    assert "draft" in voltbay("rollouts", "events", rollout)
    assert voltbay("firmware", "withdraw", release, "--reason", "a test").endswith("withdrawn")
    with session_scope(clean_database.engine) as session:
        assert len(session.scalars(select(UserAuditLog.id)).all()) == 9
