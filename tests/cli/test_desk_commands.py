"""`voltbay stations` and `voltbay banks`: the operators' services at the console."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner, Result

from cli.main import app
from firmware_protocol.types import SlotState
from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.devices.models import DeviceCommand
from fleet.stations.models import PowerBank, Station, StationSlot
from fleet.users.models import UserAuditLog
from tests.databases import Database
from tests.factories import add_banks, add_station

WHY = ("--reason", "a test")


@pytest.fixture
def voltbay(clean_database: Database, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command on a fleet of one station, A, with bank X in slot 1 of 2."""
    monkeypatch.setenv("DATABASE_URL", clean_database.url)
    now = utc_now()
    with session_scope(clean_database.engine) as session:
        station = add_station(session, now, "A", 2)
        add_banks(session, now, ["X"])
        bank = session.scalars(select(PowerBank)).one()
        first = select(StationSlot).where(StationSlot.station_id == station.id, StationSlot.number == 1)
        slot = session.scalars(first).one()
        slot.state, slot.power_bank_id = SlotState.OCCUPIED, bank.id

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return run


def log(database: Database) -> list[tuple[str, str | None]]:
    with session_scope(database.engine) as session:
        rows = list(session.scalars(select(UserAuditLog).order_by(UserAuditLog.id)))
    assert all(row.detail["console"] for row in rows)
    return [(row.action, row.target) for row in rows]


def ok(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def test_stations_are_looked_at(voltbay: Any) -> None:
    [row] = json.loads(ok(voltbay("stations", "list", "--json")))
    assert (row["code"], row["online"], row["slots"]) == ("A", True, 2)
    shown = json.loads(ok(voltbay("stations", "show", "A", "--json")))
    assert [slot["bank"] for slot in shown["slots"]] == ["X", None]
    assert "online, speaks native" in ok(voltbay("stations", "show", "A"))
    assert "eject_power_bank" in ok(voltbay("stations", "commands", "A")).split()
    assert "unknown" in ok(voltbay("stations", "presence", "A"))
    missing = voltbay("stations", "show", "NOPE")
    assert (missing.exit_code, "station_not_found" in missing.stderr) == (1, True)


def test_stations_are_imported(voltbay: Any, clean_database: Database, tmp_path: Path) -> None:
    file = tmp_path / "stations.csv"
    head = "code,name,latitude,longitude,slots,dialect,imei"
    file.write_text(f"{head}\nV-1,Volinks,38.7,-9.1,8,volinks,860000000000017\nA,Station A,47.4,8.5,2,,\n")
    assert ok(voltbay("stations", "import", str(file))) == "1 created, 1 updated, 0 unchanged\n"
    file.write_text(f"{head}\nV-1,Volinks,38.7,-9.1,8,volinks,860000000000017\nB,North,up,8.5,2,,\n")
    again = voltbay("stations", "import", str(file))
    assert (again.exit_code, again.stdout) == (1, "0 created, 0 updated, 1 unchanged\n")
    assert again.stderr == "row 2, latitude: 'up' is not a number\n"
    rows = tmp_path / "stations.json"
    rows.write_text("{")
    assert "neither as CSV nor as JSON" in voltbay("stations", "import", str(rows)).stderr
    assert log(clean_database) == [("station.import", None)] * 2


def test_orders_are_queued_and_noted_under_the_consoles_name(voltbay: Any, clean_database: Database) -> None:
    ok(voltbay("stations", "eject", "A", "--serial", "X", *WHY))
    ok(voltbay("stations", "lock", "A", "2", *WHY))
    ok(voltbay("stations", "command", "A", "set_volume", "volume_pct=40", *WHY))
    ok(voltbay("stations", "command", "A", "show_screen", 'playlist=[{"url": "http://x/a", "seconds": 5}]', *WHY))
    with session_scope(clean_database.engine) as session:
        rows = [(row.kind, row.args) for row in session.scalars(select(DeviceCommand).order_by(DeviceCommand.id))]
    assert rows == [
        ("eject_power_bank", {"slot": 1, "serial": "X"}),
        ("lock_slot", {"slot": 2}),
        ("set_volume", {"volume_pct": 40}),
        ("show_screen", {"playlist": [{"url": "http://x/a", "seconds": 5}]}),
    ]
    assert log(clean_database) == [(f"command.{kind}", "A") for kind, _ in rows]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("command", "A", "explode"), "invalid_input"),
        (("command", "A", "set_volume", "volume_pct=400"), "invalid_input"),
        (("command", "A", "set_volume", "40"), "invalid_input"),
        (("command", "A", "show_screen", "playlist=[{"), "invalid_input"),
        (("eject", "A", "--serial", "NOPE"), "bank_not_there"),
        (("lock", "A", "9"), "invalid_input"),
        (("command", "V", "play_sound", "sound=x"), "command_not_supported"),
    ],
)
def test_what_is_refused_is_said_and_not_done(
    voltbay: Any, clean_database: Database, arguments: tuple[str, ...], code: str
) -> None:
    with session_scope(clean_database.engine) as session:
        add_station(session, utc_now(), "V", 2)
        session.execute(update(Station).where(Station.code == "V").values(dialect="volinks"))
    refused = voltbay("stations", *arguments, *WHY)
    assert (refused.exit_code, f"({code})" in refused.stderr) == (1, True), refused.output
    assert log(clean_database) == []


def test_stations_and_slots_are_taken_out_of_use_and_back(voltbay: Any, clean_database: Database) -> None:
    assert "maintenance" in ok(voltbay("stations", "maintenance", "A", "--on", *WHY))
    assert "active" in ok(voltbay("stations", "maintenance", "A", "--off", *WHY))
    ok(voltbay("stations", "disable-slot", "A", "2", *WHY))
    ok(voltbay("stations", "enable-slot", "A", "2", *WHY))
    assert log(clean_database) == [
        ("station.status", "A"),
        ("station.status", "A"),
        ("slot.disable", "A/2"),
        ("slot.enable", "A/2"),
    ]
    told = json.loads(ok(voltbay("stations", "history", "A", "--slot", "2", "--json")))
    assert [entry["summary"] for entry in told] == ["slot.enable", "slot.disable"]
    assert "offline" not in ok(voltbay("stations", "history", "A"))


def test_banks_are_entered_held_released_and_adopted(voltbay: Any, clean_database: Database) -> None:
    assert ok(voltbay("banks", "add", "X", "Y")) == "1 added, 1 known already\n"
    held = json.loads(ok(voltbay("banks", "quarantine", "X", *WHY)))
    assert (held["state"], held["station"], held["slot"]) == ("quarantined", "A", 1)
    lost = voltbay("banks", "hold", "X", "--state", "lost", *WHY)
    assert (lost.exit_code, "bank_is_here" in lost.stderr) == (1, True)
    assert voltbay("banks", "hold", "X", "--state", "rented", *WHY).exit_code == 2
    assert json.loads(ok(voltbay("banks", "release", "X", *WHY)))["state"] == "available"
    assert json.loads(ok(voltbay("banks", "adopt", "Y", *WHY)))["known"] is True
    found = json.loads(ok(voltbay("banks", "list", "--station", "A", "--json")))
    assert [bank["serial"] for bank in found] == ["X"]
    assert ok(voltbay("banks", "list", "--foreign")) == "none\n"
    assert "bank.release" in ok(voltbay("banks", "history", "X"))
    assert [action for action, _ in log(clean_database)] == [
        "bank.add", "bank.quarantined", "bank.release", "bank.adopt",
    ]  # fmt: skip


def test_exports_go_to_standard_output(voltbay: Any) -> None:
    for arguments, count in (
        (("stations", "export"), 1),
        (("stations", "export", "--slots"), 2),
        (("banks", "export"), 1),
    ):
        assert len(list(csv.DictReader(io.StringIO(ok(voltbay(*arguments)))))) == count
