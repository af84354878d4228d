"""Claims: a device exchanges a token for its credential, once.

Whoever repeats a claim with the same key (or nonce) gets the same answer, as often as it takes to arrive; another key
gets nothing.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select
from sqlalchemy.orm import Session

from firmware_protocol.signing import rotation_proof, rotation_statement, same
from fleet.common.errors import InvalidInput
from fleet.devices import credentials
from fleet.devices.claim_tokens import token_hash
from fleet.devices.credentials import current_credential, lock_station
from fleet.devices.errors import AlreadyProvisioned, ClaimExpired, ClaimRefused, ClaimUsed, NotAssigned
from fleet.devices.identity_models import ClaimPurpose, ClaimToken, CredentialKind, CredentialState, DeviceCredential
from fleet.devices.issuing import Claimed, Desk, issue_certificate, issue_secret
from fleet.devices.signing_requests import digest_of, public_key_of, signed_by
from fleet.stations.models import Station

MIN_NONCE_CHARS: Final = 32


@dataclass(frozen=True, slots=True)
class Claim:
    """What a device sends: a `csr` for a certificate, or a `nonce` of its own making for a secret.

    `proof`, for a rotation only: made with the credential in force (`firmware_protocol.signing.rotation_statement`).
    """

    token: str = field(repr=False)
    csr: str | None = None
    nonce: str | None = field(default=None, repr=False)
    hardware_serial: str | None = None
    proof: bytes | None = None


def claim(session: Session, request: Claim, desk: Desk, now: datetime) -> Claimed:
    """Exchange a token for a credential. Many at once: one key wins, and what it got is what it gets again.

    Raises ClaimRefused, ClaimExpired, ClaimUsed, AlreadyProvisioned, NotAssigned, BadSigningRequest, InvalidInput.
    """
    query = select(ClaimToken).where(ClaimToken.token_hash == token_hash(request.token)).with_for_update()
    token = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if token is None or token.cancelled_at is not None or not _hardware_fits(token, request):
        raise ClaimRefused("this token is good for nothing here")
    if token.used_at is None and token.expires_at <= now:
        raise ClaimExpired("this token has expired")
    station = lock_station(session, _station_of(session, token))
    wanted = _wanted(token.kind, request, station.code)
    if token.used_at is not None:
        return _again(session, token, station, wanted, desk)
    case = _Case(session, station, request, wanted, desk, now)
    state = _make_room(case, token.purpose)
    if wanted.key is not None:
        answer = issue_certificate(session, station, wanted.key, state=state, desk=desk, now=now)
    else:
        answer = issue_secret(session, station, state=state, desk=desk, now=now)
    token.station_id, token.used_at = station.id, now
    token.request_hash, token.credential_id = wanted.digest, answer.credential.id
    session.flush()  # the constraints of a used token speak here, and not at some later query
    return answer


@dataclass(frozen=True, slots=True)
class _Wanted:
    digest: bytes
    #: None: a secret.
    key: ec.EllipticCurvePublicKey | None


@dataclass(frozen=True, slots=True)
class _Case:
    """One claim, with all that decides it."""

    session: Session
    station: Station
    request: Claim
    wanted: _Wanted
    desk: Desk
    now: datetime


def _wanted(kind: CredentialKind, request: Claim, code: str) -> _Wanted:
    if kind is CredentialKind.CERTIFICATE:
        if request.csr is None:
            raise InvalidInput("this token is good for a certificate: send a csr", field="csr")
        key = public_key_of(request.csr, code)
        return _Wanted(digest_of(key), key)
    if request.nonce is None or len(request.nonce) < MIN_NONCE_CHARS:
        raise InvalidInput(f"this token is good for a secret: send {MIN_NONCE_CHARS} random characters", field="nonce")
    return _Wanted(hashlib.sha256(request.nonce.encode()).digest(), None)


def _again(session: Session, token: ClaimToken, station: Station, wanted: _Wanted, desk: Desk) -> Claimed:
    credential = session.get(DeviceCredential, token.credential_id)
    assert credential is not None
    assert token.request_hash is not None
    if not same(token.request_hash, wanted.digest) or credential.state is CredentialState.REVOKED:
        raise ClaimUsed("this token has been used")
    secret = credentials.told(desk.vault, credential) if credential.kind is CredentialKind.SECRET else None
    return Claimed(station.code, credential, secret)


def _make_room(case: _Case, purpose: ClaimPurpose) -> CredentialState:
    """Whether the station may have another credential, and as what."""
    session, station = case.session, case.station
    current = current_credential(session, station.id)
    if purpose is ClaimPurpose.ROTATE:
        if current is None or not _proven(current, case):
            raise ClaimRefused("this token is good for nothing here")
        credentials.discard_next(session, station.id, credentials.SUPERSEDED, case.now)
        return CredentialState.NEXT
    if purpose is ClaimPurpose.REPLACE:
        credentials.revoke_all(session, station.id, "replaced", case.now)
    elif current is not None:
        raise AlreadyProvisioned(f"station {station.code} has a credential already", station=station.code)
    return CredentialState.CURRENT


def _proven(current: DeviceCredential, case: _Case) -> bool:
    """Whoever reads a rotation's token on its way cannot use it: it takes the credential in force as well."""
    proof, token, digest = case.request.proof, case.request.token, case.wanted.digest
    if proof is None:
        return False
    if current.kind is CredentialKind.CERTIFICATE:
        assert current.certificate_pem is not None
        return signed_by(current.certificate_pem, proof, rotation_statement(token, digest))
    secret = credentials.told(case.desk.vault, current).secret
    return same(proof, rotation_proof(secret, token, digest))


def _station_of(session: Session, token: ClaimToken) -> int:
    if token.station_id is not None:
        return token.station_id
    query = select(Station.id).where(Station.hardware_id == token.hardware_serial)
    station_id = session.scalars(query).one_or_none()
    if station_id is None:
        message = f"hardware {token.hardware_serial} belongs to no station yet: try again later"
        raise NotAssigned(message, hardware_serial=token.hardware_serial)
    return station_id


def _hardware_fits(token: ClaimToken, request: Claim) -> bool:
    return token.hardware_serial is None or token.hardware_serial == request.hardware_serial
