"""Certificates before their end: a device renews its own, with the key that it has (docs/protocol.md, 18.7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from firmware_protocol.signing import renewal_statement, same
from fleet.devices import credentials
from fleet.devices.credentials import lock_station
from fleet.devices.errors import RenewalNotDue, RenewalRefused
from fleet.devices.identity_models import CredentialKind, CredentialState, DeviceCredential
from fleet.devices.issuing import Claimed, Desk, issue_certificate
from fleet.devices.signing_requests import digest_of, public_key_digest, public_key_of, signed_by
from fleet.stations.models import Station

#: A certificate is renewed in the last third of its life: years of one that is good for two, days of one for a month.
_LAST_PART: Final = 3
_MAX_KEY_ID: Final = 16


@dataclass(frozen=True, slots=True)
class Renewal:
    """`key_id` of the certificate in use, a request for the next one, and the proof made with the key in use."""

    key_id: str
    csr: str
    proof: bytes


@dataclass(frozen=True, slots=True)
class Expiring:
    """A station whose certificate ends. `successor`: one has been fetched, and was not used yet."""

    station: str
    key_id: str
    issued_at: datetime
    expires_at: datetime
    renew_from: datetime
    successor: bool


def renew_from(credential: DeviceCredential) -> datetime | None:
    """From when on a credential may be renewed; None: it does not end."""
    if credential.expires_at is None:
        return None
    return credential.expires_at - (credential.expires_at - credential.issued_at) / _LAST_PART


def renew(session: Session, request: Renewal, desk: Desk, now: datetime) -> Claimed:
    """A certificate beside the one in force, which ends once the new one has been used.

    The same key gets the same certificate, however often it asks; another key in its place gets another one, and the
    one that was never used ends. Raises RenewalRefused, RenewalNotDue, BadSigningRequest.
    """
    station, current = _in_force(session, request.key_id, now)
    key = public_key_of(request.csr, station.code)
    statement = renewal_statement(request.key_id, digest_of(key))
    assert current.certificate_pem is not None
    if not signed_by(current.certificate_pem, request.proof, statement):
        raise RenewalRefused(_REFUSED)
    waiting = credentials.next_credential(session, station.id)
    if waiting is not None and waiting.certificate_pem is not None:
        asked_before = public_key_digest(waiting.certificate_pem)
        if same(asked_before, digest_of(key)):
            return Claimed(station.code, waiting)
    due = renew_from(current)
    assert due is not None
    if now < due:
        raise RenewalNotDue(f"this certificate may be renewed from {due:%Y-%m-%d} on", renew_from=due.isoformat())
    credentials.discard_next(session, station.id, credentials.SUPERSEDED, now)
    return issue_certificate(session, station, key, state=CredentialState.NEXT, desk=desk, now=now)


def expiring(session: Session, before: datetime, *, limit: int) -> list[Expiring]:
    """Stations whose certificate in force ends before then, the first to end first."""
    following = aliased(DeviceCredential)
    successor = (
        select(following.id).where(following.station_id == Station.id, following.state == CredentialState.NEXT).exists()
    )
    query = (
        select(Station.code, DeviceCredential, successor)
        .join(DeviceCredential, DeviceCredential.station_id == Station.id)
        .where(DeviceCredential.state == CredentialState.CURRENT, DeviceCredential.expires_at < before)
        .order_by(DeviceCredential.expires_at, Station.code)
        .limit(limit)
    )
    return [_expiring(code, row, fetched) for code, row, fetched in session.execute(query)]


def count_ending(session: Session, ends: Sequence[datetime]) -> list[int]:
    """How many certificates in force end before each of these times."""
    counts = [func.count().filter(DeviceCredential.expires_at < end) for end in ends]
    query = select(*counts).where(DeviceCredential.state == CredentialState.CURRENT)
    return list(session.execute(query.where(DeviceCredential.expires_at < max(ends))).one())


_REFUSED: Final = "no certificate in force that this could be done with"


def _in_force(session: Session, key_id: str, now: datetime) -> tuple[Station, DeviceCredential]:
    """The station is locked."""
    by_key = DeviceCredential.key_id == key_id[:_MAX_KEY_ID]
    station_id = session.scalar(select(DeviceCredential.station_id).where(by_key))
    if station_id is None:
        raise RenewalRefused(_REFUSED)
    station = lock_station(session, station_id)
    current = credentials.current_credential(session, station_id)
    usable = current is not None and current.key_id == key_id and current.kind is CredentialKind.CERTIFICATE
    if current is None or not usable or current.expires_at is None or current.expires_at <= now:
        raise RenewalRefused(_REFUSED)
    return station, current


def _expiring(code: str, row: DeviceCredential, fetched: bool) -> Expiring:
    due = renew_from(row)
    assert row.expires_at is not None
    assert due is not None
    return Expiring(code, row.key_id, row.issued_at, row.expires_at, due, fetched)
