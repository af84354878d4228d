"""Commands that read and change the fleet's database."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner, Result

from cli.main import app
from cli.seed import OPERATOR_EMAIL, RIDER_EMAIL, seed_demo
from fleet.common.models import Country
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.devices import dead_letters
from fleet.devices.dead_letters import Rejected
from fleet.devices.models import DeadLetter
from fleet.payments.wallets import balance, wallet_of
from fleet.rentals.tariffs.models import Tariff
from fleet.stations.models import PowerBank, Station, StationSlot
from fleet.telemetry import alerting
from fleet.users.models import Role, User
from simulators.spec import default_fleet
from tests.conftest import NOON
from tests.databases import Database
from tests.factories import add_station

_FIXTURES = Path(__file__).parents[2] / "fixtures" / "initial_data.json"


@pytest.fixture
def voltbay(clean_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The command on a database of its own."""
    monkeypatch.setenv("DATABASE_URL", clean_database.url)
    monkeypatch.setenv("VOLTBAY_HOME", str(tmp_path))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return run


def _letter(database: Database, payload: bytes = b"\x00garbage") -> int:
    rejected = Rejected(
        topic="vb/v1/VB-0001/up/event",
        station_code="VB-0001",
        payload=payload,
        content_type=None,
        error_code="malformed",
        error="expected an object",
        received_at=NOON,
    )
    with session_scope(database.engine) as session:
        dead_letters.record(session, rejected)
        return session.scalars(select(DeadLetter.id).where(DeadLetter.payload == payload)).one()


def test_an_operator_is_made_once(voltbay: Any, clean_database: Database) -> None:
    for _ in range(2):
        done = voltbay("createsuperuser", "Olga@Example.com", "--name", "Olga")
        assert done.exit_code == 0, done.output
    with session_scope(clean_database.engine) as session:
        [user] = session.scalars(select(User))
    assert (user.email, user.name, user.role) == ("olga@example.com", "Olga", Role.OPERATOR)


def test_what_is_no_address_makes_no_operator(voltbay: Any, clean_database: Database) -> None:
    done = voltbay("createsuperuser", "nobody")
    assert done.exit_code == 1
    assert done.output.startswith("voltbay: ")
    with session_scope(clean_database.engine) as session:
        assert session.scalar(select(func.count(User.id))) == 0


def test_initial_data_may_be_loaded_again(voltbay: Any, clean_database: Database) -> None:
    for _ in range(2):
        assert voltbay("loaddata", str(_FIXTURES)).exit_code == 0
    with session_scope(clean_database.engine) as session:
        expected = len(json.loads(_FIXTURES.read_text())["countries"])
        assert session.scalar(select(func.count(Country.iso_code))) == expected
        assert [(t.name, t.currency) for t in session.scalars(select(Tariff))] == [("Standard", "EUR")]


def test_a_tariff_that_lacks_an_amount_is_refused(voltbay: Any, clean_database: Database, tmp_path: Path) -> None:
    row = json.loads(_FIXTURES.read_text())["tariffs"][0]
    del row["unlock_minor"]
    (tmp_path / "x.json").write_text(json.dumps({"tariffs": [row]}))
    done = voltbay("loaddata", str(tmp_path / "x.json"))
    assert done.exit_code == 1
    assert "unlock_minor" in done.output
    with session_scope(clean_database.engine) as session:
        assert session.scalar(select(func.count(Tariff.id))) == 0


def test_a_fleet_of_another_currency_gets_its_tariff_in_it(clean_database: Database) -> None:
    seed_demo(clean_database.url, default_fleet(1), "USD", NOON)
    with session_scope(clean_database.engine) as session:
        assert set(session.scalars(select(Tariff.currency))) == {"USD"}


def test_a_file_that_is_no_fixture_is_refused(voltbay: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"planets": []}')
    done = voltbay("loaddata", str(tmp_path / "x.json"))
    assert done.exit_code == 1
    assert "planets" in done.output


def test_dead_letters_are_listed_shown_and_discarded(voltbay: Any, clean_database: Database) -> None:
    number = _letter(clean_database)
    assert "vb/v1/VB-0001/up/event" in voltbay("dead-letters", "list").output
    assert "none waits" in voltbay("dead-letters", "list", "--station", "VB-0002").output
    shown = json.loads(voltbay("dead-letters", "show", str(number)).output)
    assert shown["payload_hex"] == b"\x00garbage".hex()
    assert shown["error_code"] == "malformed"
    assert voltbay("dead-letters", "discard", str(number)).exit_code == 0
    assert "none waits" in voltbay("dead-letters", "list").output


def test_a_dead_letter_that_is_still_wrong_stays(voltbay: Any, clean_database: Database) -> None:
    first, second = _letter(clean_database), _letter(clean_database, b"\x01more")
    done = voltbay("dead-letters", "replay", "--all")
    assert done.exit_code == 1
    assert [line.split(":")[0] for line in done.output.splitlines()] == [str(first), str(second)]
    assert json.loads(voltbay("dead-letters", "show", str(first)).output)["state"] == "waiting"


def test_replay_wants_to_know_which(voltbay: Any) -> None:
    assert voltbay("dead-letters", "replay").exit_code == 2
    assert voltbay("dead-letters", "replay", "1", "--all").exit_code == 2


def test_a_dead_letter_that_is_not_there(voltbay: Any) -> None:
    done = voltbay("dead-letters", "show", "7")
    assert done.exit_code == 1
    assert "there is no dead letter 7" in done.output


def test_seeding_twice_changes_nothing(clean_database: Database) -> None:
    fleet = default_fleet(3)
    for _ in range(2):
        seed_demo(clean_database.url, fleet, "EUR", NOON)
    with session_scope(clean_database.engine) as session:
        assert set(session.scalars(select(Station.code))) == {station.code for station in fleet.stations}
        assert session.scalar(select(func.count(StationSlot.id))) == sum(station.slots for station in fleet.stations)
        assert set(session.scalars(select(PowerBank.serial))) == {b.serial for s in fleet.stations for b in s.banks}
        assert session.scalar(select(func.count(Tariff.id))) == 1
        roles = {user.email: user.role for user in session.scalars(select(User))}
        assert roles == {RIDER_EMAIL: Role.RIDER, OPERATOR_EMAIL: Role.OPERATOR}
        rider = session.scalars(select(User).where(User.email == RIDER_EMAIL)).one()
        found = balance(session, wallet_of(session, rider.id, "EUR", NOON))
        assert Money(found.available_minor, found.currency) == Money(2000, "EUR")


def test_a_larger_fleet_later_adds_to_the_smaller(clean_database: Database) -> None:
    for stations in (2, 4):
        seed_demo(clean_database.url, default_fleet(stations), "EUR", NOON)
    with session_scope(clean_database.engine) as session:
        assert session.scalar(select(func.count(Station.id))) == 4


def test_alerts_are_listed_shown_and_acknowledged(voltbay: Any, clean_database: Database) -> None:
    assert voltbay("loaddata", str(_FIXTURES)).exit_code == 0
    assert "smoke" in voltbay("alerts", "rules").output
    assert "none" in voltbay("alerts", "list").output
    with session_scope(clean_database.engine) as session:
        station = add_station(session, NOON, "VB-0007", online=False)
        station.online_changed_at = NOON
        session.flush()
        alerting.sweep(session, NOON + timedelta(minutes=11))
    assert "VB-0007" in voltbay("alerts", "list").output
    assert "none" in voltbay("alerts", "list", "--closed").output
    assert voltbay("alerts", "acknowledge", "1", "--note", "on my way").exit_code == 0
    assert "acknowledged: on my way" in voltbay("alerts", "show", "1").output
    missing = voltbay("alerts", "show", "99")
    assert (missing.exit_code, "no alert 99" in missing.stderr) == (1, True)
