"""The fleet in numbers, and orphan banks, at the console."""

import json
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from cli.main import app
from firmware_protocol.messages import SlotSample, SlotTelemetry
from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.rentals.cases import service
from fleet.stations.models import PowerBank, PowerBankState, StationSlot
from fleet.telemetry.samples import Sample
from fleet.telemetry.store import SampleStore
from fleet.users.models import UserAuditLog
from tests.databases import Database
from tests.factories import add_banks, add_station

WHY = ("--reason", "a test")


@pytest.fixture
def voltbay(clean_database: Database, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command on station A of four slots, and banks X, Y and Z that are nowhere and asked for."""
    monkeypatch.setenv("DATABASE_URL", clean_database.url)
    now = utc_now()
    with session_scope(clean_database.engine) as session:
        station = add_station(session, now, "A")
        slot = session.scalars(select(StationSlot).where(StationSlot.station_id == station.id)).first()
        assert slot is not None
        add_banks(session, now, ["X", "Y", "Z"])
        for bank in session.scalars(select(PowerBank).order_by(PowerBank.serial)):
            service.open_case(session, bank, slot, reason="unexplained", evidence={}, now=now)

    def run(*arguments: object, status: int = 0) -> str:
        result = CliRunner().invoke(app, [str(each) for each in arguments])
        assert result.exit_code == status, result.output
        return result.output.strip()

    return run


def test_orphan_banks_are_worked_off(voltbay: Any, clean_database: Database) -> None:
    cases = {row["bank"]: row["id"] for row in json.loads(voltbay("cases", "list", "--json"))}
    assert sorted(cases) == ["X", "Y", "Z"]
    assert "rental_not_found" in voltbay("cases", "assign", cases["X"], uuid4(), *WHY, status=1)
    voltbay("cases", "found", cases["X"], "--station", "A", *WHY, status=2)
    assert voltbay("cases", "found", cases["X"], "--station", "A", "--slot", 3, *WHY) == "X: resolved, found: a test"
    assert "resolved" in voltbay("cases", "lost", cases["Y"], *WHY)
    assert "case_closed" in voltbay("cases", "foreign", cases["Y"], *WHY, status=1)
    assert "Z" in voltbay("cases", "foreign", cases["Z"], *WHY)
    assert voltbay("cases", "list") == "none"
    assert len(json.loads(voltbay("cases", "list", "--all", "--json"))) == 3
    assert "case_not_found" in voltbay("cases", "resolve", uuid4(), "nobody knows", status=1)
    with session_scope(clean_database.engine) as session:
        banks = {bank.serial: bank for bank in session.scalars(select(PowerBank))}
        slots = {slot.number: slot.power_bank_id for slot in session.scalars(select(StationSlot))}
        acts = session.scalars(select(UserAuditLog)).all()
    assert slots[3] == banks["X"].id
    assert (banks["Y"].state, banks["Z"].known) == (PowerBankState.LOST, False)
    assert all(act.detail["console"] for act in acts)
    assert len(acts) >= 3


def test_a_case_that_needs_nothing_put_right(voltbay: Any) -> None:
    case = json.loads(voltbay("cases", "list", "--json"))[0]["id"]
    assert voltbay("cases", "resolve", case, "a misread label").endswith("resolved, a misread label")


def test_how_a_station_and_a_bank_are(voltbay: Any, clean_database: Database) -> None:
    slots = json.loads(voltbay("stations", "health", "A", "--json"))
    assert [(slot["slot"], slot["score"], slot["last"]) for slot in slots] == [(n, 100, None) for n in range(1, 5)]
    assert json.loads(voltbay("banks", "health", "X"))["score"] == 100
    assert "bank_not_found" in voltbay("banks", "health", "NOPE", status=1)
    assert voltbay("stations", "credentials", "A") == "none"
    now = utc_now()
    with session_scope(clean_database.engine) as session:
        station_id = session.scalars(select(StationSlot.station_id)).first()
        assert station_id is not None
        sample = SlotTelemetry(slots=(SlotSample(slot=2, charge_pct=55),))
        SampleStore().store(session, [Sample(station_id, 1, 1, now, sample)], now)
    chart = json.loads(voltbay("stations", "charge", "A", "--json"))
    assert (chart["resolution"], [slot["slot"] for slot in chart["slots"]]) == ("5m", [2])
    assert 55 in chart["slots"][0]["charge_pct"]
    assert "slot 2" in voltbay("stations", "charge", "A")


def test_the_fleet_in_numbers(voltbay: Any) -> None:
    hours = json.loads(voltbay("fleet", "temperature", "--of", "bank", "--json"))
    assert {hour["things"] for hour in hours} == {0}
    assert "temperatures are those of" in voltbay("fleet", "temperature", "--of", "riders", status=1)
    assert len(json.loads(voltbay("fleet", "availability", "--days", 2, "--json"))) in {48, 49}
    assert voltbay("fleet", "offline-time", "--city", "Nowhere") == "none"
