"""Claim tokens: made by operators, exchanged by a device for its credential, once.

A token is 256 random bits and only its hash is kept. Whoever repeats a claim with the same key (or nonce) gets the same
answer, as often as it takes to arrive; another key gets nothing.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from firmware_protocol.signing import rotation_proof, rotation_statement, same
from fleet.common.errors import InvalidInput
from fleet.common.vault import Vault
from fleet.db import new_id
from fleet.devices import authority, credentials
from fleet.devices.authority import Issuer
from fleet.devices.credentials import IssuedSecret, current_credential, lock_station
from fleet.devices.errors import (
    AlreadyProvisioned,
    ClaimExpired,
    ClaimRefused,
    ClaimUsed,
    NotAssigned,
    NotProvisioned,
)
from fleet.devices.identity_models import ClaimPurpose, ClaimToken, CredentialKind, CredentialState, DeviceCredential
from fleet.devices.signing_requests import digest_of, public_key_of, signed_by
from fleet.settings import Settings
from fleet.stations.errors import StationNotFound
from fleet.stations.models import Station

_TOKEN_BYTES: Final = 32
MIN_NONCE_CHARS: Final = 32
#: Tokens in one batch.
MAX_BATCH: Final = 10_000


@dataclass(frozen=True, slots=True)
class Binding:
    """Whom a token is for: a station, a piece of hardware, or one that will stand at that station."""

    station: str | None = None
    hardware_serial: str | None = None


@dataclass(frozen=True, slots=True)
class NewToken:
    binding: Binding
    #: Shown once.
    token: str = field(repr=False)


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


@dataclass(frozen=True, slots=True)
class Claimed:
    station: str
    credential: DeviceCredential
    #: For a secret.
    secret: IssuedSecret | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """What claims are answered with."""

    issuer: Issuer
    vault: Vault
    certificate_life: timedelta

    @classmethod
    def open(cls, session: Session, settings: Settings, now: datetime) -> "Desk":
        """With the keys of this fleet. Raises Unreadable."""
        return cls(
            authority.issuer(session, Vault.of(settings, authority.PURPOSE), now),
            Vault.of(settings, credentials.PURPOSE),
            timedelta(days=settings.certificate_days),
        )


def create_batch(
    session: Session,
    bindings: Sequence[Binding],
    *,
    kind: CredentialKind,
    expires_at: datetime,
    now: datetime,
    replace: bool = False,
    created_by: UUID | None = None,
) -> list[NewToken]:
    """One token for each binding. `replace`: for stations that have a credential, which ends with the claim.

    Raises StationNotFound, AlreadyProvisioned, InvalidInput.
    """
    if not 0 < len(bindings) <= MAX_BATCH:
        raise InvalidInput(f"expected 1 to {MAX_BATCH} tokens, got {len(bindings)}", field="stations")
    if expires_at <= now:
        raise InvalidInput("a token must be good for some time", field="valid_days")
    stations = _stations(session, {each.station for each in bindings if each.station is not None})
    if not replace:
        _none_provisioned(session, stations)
    purpose = ClaimPurpose.REPLACE if replace else ClaimPurpose.PROVISION
    batch_id = new_id()
    made = [NewToken(binding, secrets.token_urlsafe(_TOKEN_BYTES)) for binding in bindings]
    for each in made:
        code, serial = each.binding.station, each.binding.hardware_serial
        session.add(
            ClaimToken(
                token_hash=_hash(each.token),
                batch_id=batch_id,
                purpose=purpose,
                kind=kind,
                station_id=stations[code].id if code is not None else None,
                hardware_serial=serial,
                created_at=now,
                created_by=created_by,
                expires_at=expires_at,
            )
        )
    return made


def rotation_token(
    session: Session, station_id: int, *, expires_at: datetime, now: datetime, created_by: UUID | None = None
) -> str:
    """A token for a credential beside the one in force, of the same kind. Earlier such tokens end.

    Raises NotProvisioned.
    """
    station = lock_station(session, station_id)
    current = current_credential(session, station_id)
    if current is None:
        raise NotProvisioned(f"station {station.code} has no credential", station=station.code)
    for earlier in session.scalars(_open_rotations(station_id)):
        earlier.cancelled_at = now
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    session.add(
        ClaimToken(
            token_hash=_hash(token),
            batch_id=new_id(),
            purpose=ClaimPurpose.ROTATE,
            kind=current.kind,
            station_id=station_id,
            created_at=now,
            created_by=created_by,
            expires_at=expires_at,
        )
    )
    return token


def claim(session: Session, request: Claim, desk: Desk, now: datetime) -> Claimed:
    """Exchange a token for a credential. Many at once: one key wins, and what it got is what it gets again.

    Raises ClaimRefused, ClaimExpired, ClaimUsed, AlreadyProvisioned, NotAssigned, BadSigningRequest, InvalidInput.
    """
    query = select(ClaimToken).where(ClaimToken.token_hash == _hash(request.token)).with_for_update()
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
    answer = _certificate(case, wanted.key, state) if wanted.key is not None else _secret(case, state)
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


def _certificate(case: _Case, key: ec.EllipticCurvePublicKey, state: CredentialState) -> Claimed:
    pem = case.desk.issuer.client(case.station.code, key, case.now, case.desk.certificate_life)
    certificate = x509.load_pem_x509_certificate(pem.encode())
    row = DeviceCredential(
        station_id=case.station.id,
        kind=CredentialKind.CERTIFICATE,
        state=state,
        username=case.station.code,
        key_id=certificate.fingerprint(SHA256()).hex()[:16],
        authority_id=case.desk.issuer.id,
        certificate_pem=pem,
        serial_number=f"{certificate.serial_number:x}",
        issued_at=case.now,
        expires_at=certificate.not_valid_after_utc,
    )
    return Claimed(case.station.code, credentials.add_credential(case.session, row))


def _secret(case: _Case, state: CredentialState) -> Claimed:
    made = credentials.new_secret(case.station.code, signs=True)
    row = credentials.add_secret(
        case.session, case.desk.vault, made, station_id=case.station.id, state=state, now=case.now
    )
    return Claimed(case.station.code, row, made)


def _station_of(session: Session, token: ClaimToken) -> int:
    if token.station_id is not None:
        return token.station_id
    query = select(Station.id).where(Station.hardware_id == token.hardware_serial)
    station_id = session.scalars(query).one_or_none()
    if station_id is None:
        message = f"hardware {token.hardware_serial} belongs to no station yet: try again later"
        raise NotAssigned(message, hardware_serial=token.hardware_serial)
    return station_id


def _stations(session: Session, codes: set[str]) -> dict[str, Station]:
    found = {each.code: each for each in session.scalars(select(Station).where(Station.code.in_(codes)))}
    missing = sorted(codes - set(found))
    if missing:
        raise StationNotFound(f"no station {missing[0]}", station=missing[0])
    return found


def _none_provisioned(session: Session, stations: dict[str, Station]) -> None:
    query = select(Station.code).where(
        Station.id.in_([station.id for station in stations.values()]),
        select(DeviceCredential.id)
        .where(DeviceCredential.station_id == Station.id, DeviceCredential.state == CredentialState.CURRENT)
        .exists(),
    )
    code = session.scalars(query.order_by(Station.code)).first()
    if code is not None:
        raise AlreadyProvisioned(f"station {code} has a credential: revoke or replace it", station=code)


def _open_rotations(station_id: int) -> Select[ClaimToken]:
    return select(ClaimToken).where(
        ClaimToken.station_id == station_id,
        ClaimToken.purpose == ClaimPurpose.ROTATE,
        ClaimToken.used_at.is_(None),
        ClaimToken.cancelled_at.is_(None),
    )


def _hardware_fits(token: ClaimToken, request: Claim) -> bool:
    return token.hardware_serial is None or token.hardware_serial == request.hardware_serial


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
