"""`voltbay stations claim-batch|rotate|revoke` on a real database."""

import csv
import io
import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

from cli.main import app
from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.devices import claims
from fleet.devices.claims import Claim
from fleet.devices.identity_models import ClaimToken, CredentialState, DeviceCredential
from fleet.devices.issuing import Desk
from fleet.devices.models import DeviceCommand
from fleet.settings import Settings
from fleet.users.models import UserAuditLog
from tests.conftest import NOON
from tests.databases import Database
from tests.factories import add_station
from tests.fleet.devices.test_claims import csr_of, new_key


@pytest.fixture(autouse=True)
def _fleet(clean_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", clean_database.url)
    monkeypatch.setenv("VOLTBAY_HOME", str(tmp_path))
    with session_scope(clean_database.engine) as session:
        for code in ("VB-1", "VB-2"):
            add_station(session, NOON, code)


def stations(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, ["stations", *arguments], input=given)


def rows_of(done: Result) -> list[dict[str, str]]:
    assert done.exit_code == 0, done.output
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_tokens_are_printed_once_and_kept_as_hashes(clean_database: Database) -> None:
    rows = rows_of(stations("claim-batch", "VB-1", "--hardware", "-", given="SN-1\n\nSN-2,VB-2\n"))
    assert [(row["station"], row["hardware_serial"]) for row in rows] == [("VB-1", ""), ("", "SN-1"), ("VB-2", "SN-2")]
    with session_scope(clean_database.engine) as session:
        assert len(session.scalars(select(ClaimToken)).all()) == 3
        log = session.scalars(select(UserAuditLog)).one()
        assert (log.action, log.detail["tokens"]) == ("credential.tokens", 3)


def claimed(session: Session, token: str) -> DeviceCredential:
    return claims.claim(session, Claim(token, csr_of(new_key())), Desk.open(session, Settings(), NOON), NOON).credential


def test_rotate_and_revoke(clean_database: Database) -> None:
    token = rows_of(stations("claim-batch", "VB-1"))[0]["token"]
    with session_scope(clean_database.engine) as session:
        claimed(session, token)
    assert stations("claim-batch", "VB-1").exit_code == 1
    assert len(rows_of(stations("claim-batch", "VB-1", "--replace"))) == 1
    assert stations("rotate", "VB-1").exit_code == 0
    assert stations("revoke", "VB-1", "--reason", "stolen").exit_code == 0
    with session_scope(clean_database.engine) as session:
        assert session.scalars(select(DeviceCommand.kind)).one() == "rotate_credential"
        assert session.scalars(select(DeviceCredential.state)).one() is CredentialState.REVOKED


def test_who_has_no_credential_is_not_said_to_be_locked_out(clean_database: Database) -> None:
    token = rows_of(stations("claim-batch", "VB-1"))[0]["token"]
    with session_scope(clean_database.engine) as session:
        claimed(session, token)
    done = stations("revoke", "VB-2", "VB-1", "--reason", "stolen")
    assert (done.exit_code, done.stdout) == (1, "VB-1: locked out, 1 credential revoked\n")
    assert "NOT locked out" in done.stderr
    assert done.stderr.endswith(": VB-2\n")
    with session_scope(clean_database.engine) as session:
        assert session.scalars(select(DeviceCredential.state)).one() is CredentialState.REVOKED
    assert stations("revoke", "VB-1", "--reason", "again").exit_code == 0


def test_certificates_that_are_about_to_end(clean_database: Database) -> None:
    token = rows_of(stations("claim-batch", "VB-1"))[0]["token"]
    with session_scope(clean_database.engine) as session:
        claimed(session, token).expires_at = utc_now() + timedelta(days=20, hours=1)
    assert json.loads(stations("certificates", "--days", "19", "--json").stdout) == []
    (row,) = json.loads(stations("certificates", "--json").stdout)
    assert (row["station"], row["days_left"], row["successor"]) == ("VB-1", 20, False)


@pytest.mark.parametrize(
    "arguments",
    [("claim-batch",), ("claim-batch", "NO"), ("rotate", "VB-1"), ("revoke", "NO", "--reason", "why")],
    ids=["nobody", "unknown", "not provisioned", "revoke unknown"],
)
def test_what_cannot_be_done_says_why(arguments: tuple[str, ...]) -> None:
    done = stations(*arguments)
    assert (done.exit_code, done.stderr[:8]) == (1, "voltbay:")


def test_a_line_that_is_no_serial() -> None:
    done = stations("claim-batch", "--hardware", "-", given="SN-1,VB-1,more\n")
    assert done.exit_code == 2
    assert "-:1" in done.stderr
