"""Claim tokens: made by operators, one for each device. A token is 256 random bits and only its hash is kept."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.db import new_id
from fleet.devices.credentials import current_credential, lock_station
from fleet.devices.errors import AlreadyProvisioned, NotProvisioned
from fleet.devices.identity_models import ClaimPurpose, ClaimToken, CredentialKind, CredentialState, DeviceCredential
from fleet.stations.errors import StationNotFound
from fleet.stations.models import Station

_TOKEN_BYTES: Final = 32
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
                token_hash=token_hash(each.token),
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
            token_hash=token_hash(token),
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


def token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


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
