"""A cabinet renews its certificate before it ends, with the key that it has."""

from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import select
from sqlalchemy.orm import Session

from firmware_protocol.signing import renewal_statement
from fleet.devices import authority, claims, credentials, renewal
from fleet.devices.claims import Claim
from fleet.devices.errors import BadSigningRequest, RenewalNotDue, RenewalRefused
from fleet.devices.identity_models import CredentialKind, CredentialState, DeviceCredential
from fleet.devices.issuing import Desk
from fleet.devices.renewal import Renewal
from fleet.devices.signing_requests import digest_of
from fleet.stations.models import Station
from fleet.telemetry import alerting, alerts
from fleet.telemetry.alerts import RuleSpec
from fleet.telemetry.models import Alert, AlertKind, Severity
from tests.databases import Database
from tests.factories import add_station
from tests.fleet.devices.test_claims import LIFE, VAULT, Key, csr_of, new_key, token_for
from tests.fleet.parallel import together, wide_engine

DAY = timedelta(days=1)
#: Within the last third of two years.
DUE = 500 * DAY


@pytest.fixture
def station(session: Session, now: datetime) -> Station:
    return add_station(session, now, "VB-1")


@pytest.fixture
def desk(session: Session, now: datetime) -> Desk:
    return Desk(authority.issuer(session, VAULT, now), VAULT, LIFE)


def request_of(key_id: str, old: Key, new: Key) -> Renewal:
    statement = renewal_statement(key_id, digest_of(new.public_key()))
    return Renewal(key_id, csr_of(new), old.sign(statement, ec.ECDSA(SHA256())))


def claimed(session: Session, desk: Desk, now: datetime, key: Key) -> DeviceCredential:
    return claims.claim(session, Claim(token_for(session, now), csr_of(key)), desk, now).credential


def states(session: Session, station: Station) -> list[CredentialState]:
    return [each.state for each in credentials.credentials_of(session, station.id)]


def test_in_the_last_third_of_its_life_and_as_often_as_it_asks(
    session: Session, station: Station, desk: Desk, now: datetime
) -> None:
    old, new = new_key(), new_key()
    first = claimed(session, desk, now, old)
    due = renewal.renew_from(first)
    assert due is not None
    assert abs(due - (now + LIFE * 2 / 3)) < DAY
    request = request_of(first.key_id, old, new)
    with pytest.raises(RenewalNotDue) as told:
        renewal.renew(session, request, desk, due - DAY)
    assert told.value.attributes["renew_from"] == due.isoformat()
    second = renewal.renew(session, request, desk, due).credential
    assert renewal.renew(session, request, desk, due + DAY).credential is second
    assert (first.state, second.state) == (CredentialState.CURRENT, CredentialState.NEXT)
    assert credentials.confirm(session, station.id, second.key_id, due + 2 * DAY)
    session.refresh(first)
    assert (first.state, first.revoked_reason) == (CredentialState.REVOKED, credentials.SUPERSEDED)
    with pytest.raises(RenewalRefused):
        renewal.renew(session, request, desk, due + 3 * DAY)
    with pytest.raises(RenewalNotDue):
        renewal.renew(session, request_of(second.key_id, new, new_key()), desk, due + 3 * DAY)


def test_a_key_that_was_lost_on_the_way_is_replaced_by_another(
    session: Session, station: Station, desk: Desk, now: datetime
) -> None:
    old = new_key()
    first = claimed(session, desk, now, old)
    lost = renewal.renew(session, request_of(first.key_id, old, new_key()), desk, now + DUE).credential
    again = renewal.renew(session, request_of(first.key_id, old, new_key()), desk, now + DUE).credential
    session.refresh(lost)
    assert (lost.state, again.state) == (CredentialState.REVOKED, CredentialState.NEXT)
    assert states(session, station) == [CredentialState.NEXT, CredentialState.REVOKED, CredentialState.CURRENT]


def test_who_cannot_prove_it_gets_nothing_and_learns_nothing(
    session: Session, station: Station, desk: Desk, now: datetime
) -> None:
    old, new, thief = new_key(), new_key(), new_key()
    first = claimed(session, desk, now, old)
    good = request_of(first.key_id, old, new)
    bad = [
        request_of(first.key_id, thief, thief),
        Renewal(first.key_id, csr_of(thief), good.proof),
        Renewal(first.key_id, good.csr, b""),
        request_of("0" * 16, old, new),
    ]
    messages = set()
    for request in bad:
        with pytest.raises(RenewalRefused) as told:
            renewal.renew(session, request, desk, now + DUE)
        messages.add(str(told.value))
    assert len(messages) == 1
    with pytest.raises(BadSigningRequest):
        renewal.renew(session, Renewal(first.key_id, "no csr", good.proof), desk, now + DUE)
    with pytest.raises(RenewalRefused):
        renewal.renew(session, good, desk, now + LIFE + DAY)
    credentials.revoke_all(session, station.id, "stolen", now + DUE)
    with pytest.raises(RenewalRefused):
        renewal.renew(session, good, desk, now + DUE)


def test_a_secret_does_not_end(session: Session, station: Station, desk: Desk, now: datetime) -> None:
    del station
    token = token_for(session, now, kind=CredentialKind.SECRET)
    mine = claims.claim(session, Claim(token, nonce="n" * 32), desk, now).credential
    assert renewal.renew_from(mine) is None
    with pytest.raises(RenewalRefused):
        renewal.renew(session, request_of(mine.key_id, new_key(), new_key()), desk, now + DUE)


def test_many_at_once_get_one_certificate(clean_database: Database, now: datetime) -> None:
    old, new = new_key(), new_key()
    with Session(clean_database.engine) as session:
        add_station(session, now, "VB-1")
        desk = Desk(authority.issuer(session, VAULT, now), VAULT, LIFE)
        key_id = claimed(session, desk, now, old).key_id
        session.commit()
    request = request_of(key_id, old, new)
    with wide_engine(clean_database.url, 6) as engine:

        def ask(_: int) -> str:
            with Session(engine) as session:
                found = renewal.renew(session, request, desk, now + DUE).credential.key_id
                session.commit()
                return found

        answers = together(6, ask)
    assert len(set(answers)) == 1
    assert isinstance(answers[0], str)


def test_operators_hear_of_what_was_not_renewed(session: Session, station: Station, desk: Desk, now: datetime) -> None:
    old = new_key()
    first = claimed(session, desk, now, old)
    assert first.expires_at is not None
    spec = RuleSpec(kind=AlertKind.CERTIFICATE, name="certificates", severity=Severity.WARNING, threshold=30)
    alerts.create_rule(session, spec, now)
    at = first.expires_at - 31 * DAY
    assert alerting.sweep(session, at).opened == 0
    assert renewal.count_ending(session, [at, at + 30 * DAY, at + 90 * DAY]) == [0, 0, 1]
    at += 2 * DAY
    assert alerting.sweep(session, at).opened == 1
    alert = session.scalars(select(Alert)).one()
    assert (alert.station_id, round(alert.value or 0)) == (station.id, 29)
    (row,) = renewal.expiring(session, at + 30 * DAY, limit=10)
    assert (row.station, row.key_id, row.expires_at, row.successor) == (
        "VB-1",
        first.key_id,
        first.expires_at,
        False,
    )
    second = renewal.renew(session, request_of(first.key_id, old, new_key()), desk, at).credential
    assert [each.successor for each in renewal.expiring(session, at + 30 * DAY, limit=10)] == [True]
    credentials.confirm(session, station.id, second.key_id, at)
    assert renewal.expiring(session, at + 30 * DAY, limit=10) == []
