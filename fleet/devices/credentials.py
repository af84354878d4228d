"""Giving devices what they prove themselves with: user name and secret."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from firmware_protocol.signing import SECRET_BYTES, mqtt_password, secret_text
from fleet.common.errors import NotFound
from fleet.common.vault import Vault
from fleet.devices.errors import UsernameTaken
from fleet.devices.models import CredentialKind, CredentialState, DeviceCredential
from fleet.devices.passwords import broker_hash
from fleet.stations.models import Station

#: Purpose of the Vault that seals secrets of devices: `Vault.of(settings, PURPOSE)`.
PURPOSE = "device secrets"
_KEY_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class IssuedSecret:
    """What a device is told: never logged, never stored as it is.

    `password` is what it tells the broker: the secret itself (base64url, 43 characters), or for a device that signs
    what is derived from it (`firmware_protocol.signing.mqtt_password`).
    """

    username: str
    key_id: str
    secret: bytes = field(repr=False)
    signs: bool

    @property
    def password(self) -> str:
        return mqtt_password(self.secret) if self.signs else secret_text(self.secret)


def secret_for(
    session: Session, vault: Vault, *, station_id: int, username: str, now: datetime, signs: bool = False
) -> IssuedSecret:
    """The user name and secret of a station's device: those in force, or new ones when it has none.

    `username` is what the broker binds topics to (`%u`). The broker lets the device in a moment after the commit. A
    device under another name, or with another kind of credential, is revoked by an operator first, or replaced by
    `replace_secret`. Raises UsernameTaken, NotFound.
    """
    current = current_credential(session, station_id)
    if current is None:
        return _issue(session, vault, station_id=station_id, username=username, now=now, signs=signs)
    if current.kind is not CredentialKind.SECRET or current.username != username or current.signs is not signs:
        message = f"the station proves itself in another way (as {current.username}, by {current.kind.value})"
        raise UsernameTaken(message, username=username)
    return _told(vault, current)


def replace_secret(
    session: Session, vault: Vault, *, station_id: int, username: str, now: datetime, reason: str, signs: bool = False
) -> IssuedSecret:
    """New user name and secret; what the station had is revoked, and a live session of it is cut."""
    revoke_all(session, station_id, reason, now)
    return _issue(session, vault, station_id=station_id, username=username, now=now, signs=signs)


def current_credential(session: Session, station_id: int) -> DeviceCredential | None:
    query = select(DeviceCredential).where(
        DeviceCredential.station_id == station_id, DeviceCredential.state == CredentialState.CURRENT
    )
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def revoke_all(session: Session, station_id: int, reason: str, now: datetime) -> int:
    """Revoke every credential of a station that is not revoked yet; returns how many. Takes the station's lock."""
    _lock(session, station_id)
    revoked = session.execute(
        update(DeviceCredential)
        .where(DeviceCredential.station_id == station_id, DeviceCredential.state != CredentialState.REVOKED)
        .values(state=CredentialState.REVOKED, revoked_at=now, revoked_reason=reason)
        .returning(DeviceCredential.id)
        .execution_options(synchronize_session="fetch")
    )
    return len(revoked.all())


def _issue(
    session: Session, vault: Vault, *, station_id: int, username: str, now: datetime, signs: bool
) -> IssuedSecret:
    """Two that issue at once: the second one gets what the first one made."""
    _lock(session, station_id)
    made = IssuedSecret(
        username=username,
        key_id=secrets.token_hex(_KEY_ID_BYTES),
        secret=secrets.token_bytes(SECRET_BYTES),
        signs=signs,
    )
    added = session.scalar(
        insert(DeviceCredential)
        .values(
            station_id=station_id,
            kind=CredentialKind.SECRET,
            state=CredentialState.CURRENT,
            username=username,
            key_id=made.key_id,
            password_hash=broker_hash(made.password),
            sealed_secret=vault.seal(made.secret, made.key_id),
            signs=signs,
            issued_at=now,
        )
        .on_conflict_do_nothing()
        .returning(DeviceCredential.id)
    )
    if added is not None:
        return made
    other = current_credential(session, station_id)
    if other is None or other.username != username or other.signs is not signs:
        raise UsernameTaken(f"another device calls itself {username}", username=username)
    return _told(vault, other)


def _told(vault: Vault, credential: DeviceCredential) -> IssuedSecret:
    assert credential.sealed_secret is not None
    return IssuedSecret(
        username=credential.username,
        key_id=credential.key_id,
        secret=vault.open(credential.sealed_secret, credential.key_id),
        signs=credential.signs,
    )


def _lock(session: Session, station_id: int) -> None:
    if session.scalar(select(Station.id).where(Station.id == station_id).with_for_update()) is None:
        raise NotFound("no such station", station_id=station_id)
