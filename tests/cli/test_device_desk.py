"""What operators enter of cabinets, groups and alert rules at the console, over the services of the API."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from cli.main import app
from fleet.common.clock import utc_now
from fleet.common.vault import Vault
from fleet.db import session_scope
from fleet.devices import credentials, profiles
from fleet.devices.vendor_models import DeviceProfile
from fleet.settings import Settings
from fleet.stations.models import Station
from fleet.users.models import UserAuditLog
from tests.databases import Database
from tests.factories import add_station

WHY = ("--reason", "a test")
IMEI = "860000000000017"


@pytest.fixture
def voltbay(clean_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The command on a fleet of a Relink station R, a Volinks station V and a native one N."""
    monkeypatch.setenv("DATABASE_URL", clean_database.url)
    monkeypatch.setenv("VOLTBAY_HOME", str(tmp_path))
    with session_scope(clean_database.engine) as session:
        add_station(session, utc_now(), "R").dialect = "relink"
        volinks = add_station(session, utc_now(), "V")
        volinks.dialect, volinks.hardware_id = "volinks", IMEI
        add_station(session, utc_now(), "N")

    def run(*arguments: object, status: int = 0, given: str | None = None) -> str:
        result = CliRunner().invoke(app, [str(each) for each in arguments], input=given)
        assert result.exit_code == status, result.output
        return result.output.strip()

    return run


def acts(database: Database) -> list[tuple[str, str | None, dict[str, Any]]]:
    """Without who and why, which must be there."""
    with Session(database.engine) as session:
        rows = list(session.scalars(select(UserAuditLog).order_by(UserAuditLog.id)))
    found = []
    for row in rows:
        detail = dict(row.detail)
        assert (detail.pop("reason"), bool(detail.pop("console"))) == ("a test", True)
        found.append((row.action, row.target, detail))
    return found


def secret_of(database: Database, code: str) -> bytes | None:
    with Session(database.engine) as session:
        station = session.scalars(select(Station).where(Station.code == code)).one()
        vault = Vault.of(Settings(), profiles.PURPOSE)
        return profiles.known(session, [station.id], utc_now(), vault)[station.id].secret


def password_of(database: Database, code: str) -> tuple[str, str]:
    """User name and password, as `connect` would hand them out."""
    with Session(database.engine) as session:
        station = session.scalars(select(Station).where(Station.code == code)).one()
        current = credentials.current_credential(session, station.id)
        assert current is not None
        told = credentials.told(Vault.of(Settings(), credentials.PURPOSE), current)
        _, _, rounds, salt, digest = (current.password_hash or "").split("$")
        made = hashlib.pbkdf2_hmac("sha512", told.password.encode(), base64.b64decode(salt), int(rounds))
        assert made == base64.b64decode(digest), "what the broker checks is what the cabinet is told"
        return told.username, told.password


def test_a_volinks_cabinets_password_is_given_as_a_relink_ones_secret_is(
    voltbay: Any, clean_database: Database
) -> None:
    first = voltbay("stations", "cabinet-secret", "V", *WHY)
    assert password_of(clean_database, "V") == (IMEI, first)
    assert json.loads(voltbay("stations", "cabinet", "V", "--json"))["has_secret"] is True
    given = "the-one-it-left-the-factory-with"
    assert "taken" in voltbay("stations", "cabinet-secret", "V", "--stdin", *WHY, given=f"{given}\n")
    assert password_of(clean_database, "V") == (IMEI, given)
    assert "12 characters" in voltbay("stations", "cabinet-secret", "V", "--stdin", *WHY, given="short\n", status=1)
    voltbay("stations", "revoke", "V", *WHY)
    assert "re-admit" in voltbay("stations", "cabinet-secret", "V", *WHY, status=1)
    again = voltbay("stations", "cabinet-secret", "V", "--readmit", *WHY)
    assert password_of(clean_database, "V") == (IMEI, again)


def test_a_cabinets_secret_is_issued_rotated_and_never_noted(voltbay: Any, clean_database: Database) -> None:
    first = voltbay("stations", "cabinet-secret", "R", *WHY)
    assert secret_of(clean_database, "R") == first.encode()
    second = voltbay("stations", "cabinet-secret", "R", *WHY)
    assert second != first
    assert secret_of(clean_database, "R") == second.encode()
    voltbay("stations", "cabinet-secret", "R", "--stdin", *WHY, given="TESTKEY1\n")
    assert secret_of(clean_database, "R") == b"TESTKEY1"
    voltbay("stations", "cabinet-secret", "R", "--stdin", *WHY, given="\n", status=2)
    assert "claim token" in voltbay("stations", "cabinet-secret", "N", *WHY, status=1)
    assert acts(clean_database) == [("cabinet.change", "R", {"secret": True})] * 3


def test_what_a_cabinet_goes_by_is_shown_and_changed(voltbay: Any, clean_database: Database) -> None:
    with session_scope(clean_database.engine) as session:
        station_id = session.scalars(select(Station.id).where(Station.code == "V")).one()
        profiles.learn(session, station_id, utc_now(), layout=((1, 2), (31, 32)))
        profiles.lock_out(session, station_id, utc_now())
    assert "layout: 1-2, 31-32" in voltbay("stations", "cabinet", "V")
    voltbay("stations", "change-cabinet", "V", "--tolerate-checksum", "--revision", "old", "--readmit", *WHY)
    shown = json.loads(voltbay("stations", "cabinet", "V", "--json"))
    assert (shown["tolerate_checksum"], shown["revision"], shown["locked_out_at"]) == (True, "old", None)
    assert shown["layout"] == [[1, 2], [31, 32]]
    voltbay("stations", "change-cabinet", "V", "--refuse-checksum", "--forget-layout", *WHY)
    with Session(clean_database.engine) as session:
        profile = session.scalars(select(DeviceProfile)).one()
        assert (profile.tolerate_checksum, profile.layout) == (False, None)
    voltbay("stations", "change-cabinet", "V", *WHY, status=2)
    assert acts(clean_database) == [
        ("cabinet.change", "V", {"tolerate_checksum": True, "revision": "old", "readmit": True}),
        ("cabinet.change", "V", {"tolerate_checksum": False, "forget_layout": True}),
    ]
    commands = voltbay("stations", "commands", "V").splitlines()
    assert "vendor_command name=set_wifi wifi_ssid=… wifi_password=…" in commands
    voltbay("stations", "command", "V", "vendor_command", "name=load_ad", *WHY)
    assert "command_not_supported" in voltbay("stations", "command", "R", "vendor_command", "name=x", *WHY, status=1)


def test_groups_are_made_filled_and_dissolved(voltbay: Any, clean_database: Database) -> None:
    voltbay("device-groups", "put", "airport", "--rank", 10, "--description", "halls", *WHY)
    voltbay("device-groups", "change", "airport", "--add", "R", "--add", "V", *WHY)
    voltbay("device-groups", "change", "airport", "--remove", "R", *WHY)
    assert voltbay("device-groups", "members", "airport") == "V"
    assert json.loads(voltbay("device-groups", "list", "--json")) == [
        {"name": "airport", "rank": 10, "stations": 1, "description": "halls"}
    ]
    assert "no station NOPE" in voltbay("device-groups", "change", "airport", "--add", "NOPE", *WHY, status=1)
    voltbay("device-groups", "delete", "airport", *WHY)
    assert "no group airport" in voltbay("device-groups", "members", "airport", status=1)
    assert [action for action, _, _ in acts(clean_database)] == [
        "device_group.put",
        "device_group.change",
        "device_group.change",
        "device_group.delete",
    ]


def test_alert_rules_are_edited(voltbay: Any, clean_database: Database) -> None:
    made = voltbay("alerts", "add-rule", "hot", "over_temperature", "--threshold", 60, "--duration-s", 30, *WHY)
    number = made.partition(":")[0]
    assert "threshold" in voltbay("alerts", "add-rule", "cold", "over_temperature", *WHY, status=1)
    voltbay("alerts", "change-rule", number, "--threshold", 55, "--station", "V", *WHY)
    assert " 55 " in voltbay("alerts", "rules")
    voltbay("alerts", "change-rule", number, "--everywhere", "--disabled", "--severity", "critical", *WHY)
    voltbay("alerts", "remove-rule", number, *WHY)
    assert "no alert rule" in voltbay("alerts", "remove-rule", number, *WHY, status=1)
    noted = acts(clean_database)
    assert [(action, target) for action, target, _ in noted] == [
        ("alert_rule.create", "hot"),
        ("alert_rule.change", "hot"),
        ("alert_rule.change", "hot"),
        ("alert_rule.remove", "hot"),
    ]
    before, after = noted[2][2]["before"], noted[2][2]["after"]
    assert (before["threshold"], before["station"], before["enabled"], before["duration"]) == (55, "V", True, 30)
    assert (after["threshold"], after["station"], after["enabled"], after["severity"]) == (55, None, False, "critical")
