"""What devices prove themselves with: secrets given out, credentials that take over, credentials that end."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from sqlalchemy import select, true, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from firmware_protocol.signing import SECRET_BYTES, mqtt_password, secret_text
from fleet.common.errors import NotFound
from fleet.common.notify import Channel, notify
from fleet.common.vault import Vault
from fleet.devices.errors import UsernameTaken
from fleet.devices.identity_models import CredentialKind, CredentialState, DeviceCredential
from fleet.devices.passwords import ENTERED_ROUNDS, broker_hash
from fleet.stations.models import Station

#: Purpose of the Vault that seals secrets of devices: `Vault.of(settings, PURPOSE)`.
PURPOSE: Final = "device secrets"
#: Why a credential ended whose successor is in use. Its session is gone: the broker keeps one per device.
SUPERSEDED: Final = "superseded"
_KEY_ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class IssuedSecret:
    """What a device is told: never logged, never stored as it is.

    `password` is what it tells the broker: the secret itself (base64url, 43 characters), for a device that signs what
    is derived from it (`firmware_protocol.signing.mqtt_password`), or the text that an operator `entered`.
    """

    username: str
    key_id: str
    secret: bytes = field(repr=False)
    signs: bool
    entered: bool = False

    @property
    def password(self) -> str:
        if self.entered:
            return self.secret.decode()
        return mqtt_password(self.secret) if self.signs else secret_text(self.secret)


def secret_for(
    session: Session, vault: Vault, *, station_id: int, username: str, now: datetime, signs: bool = False
) -> IssuedSecret:
    """The user name and secret of a station's device: those in force, or new ones when it has none.

    `username` is what the broker binds topics to (`%u`). The broker lets the device in a moment after the commit. A
    device under another name, or with another kind of credential, is revoked by an operator first, or replaced by
    `replace_secret`. Raises UsernameTaken, NotFound.
    """
    lock_station(session, station_id)
    current = current_credential(session, station_id)
    if current is None:
        made = new_secret(username, signs=signs)
        add_secret(session, vault, made, station_id=station_id, state=CredentialState.CURRENT, now=now)
        return made
    if current.kind is not CredentialKind.SECRET or current.username != username or current.signs is not signs:
        message = f"the station proves itself in another way (as {current.username}, by {current.kind.value})"
        raise UsernameTaken(message, username=username)
    return told(vault, current)


def replace_secret(
    session: Session,
    vault: Vault,
    *,
    station_id: int,
    username: str,
    now: datetime,
    reason: str,
    password: str | None = None,
) -> IssuedSecret:
    """New user name and secret; what the station had is revoked, and a live session of it is cut.

    `password`: the one that the device has already, as text. Raises UsernameTaken, NotFound.
    """
    revoke_all(session, station_id, reason, now)
    made = new_secret(username, signs=False)
    if password is not None:
        made = replace(made, secret=password.encode(), entered=True)
    add_secret(session, vault, made, station_id=station_id, state=CredentialState.CURRENT, now=now)
    return made


def current_credential(session: Session, station_id: int) -> DeviceCredential | None:
    return _in_state(session, station_id, CredentialState.CURRENT)


def next_credential(session: Session, station_id: int) -> DeviceCredential | None:
    """One that was handed out, and is not in use yet."""
    return _in_state(session, station_id, CredentialState.NEXT)


def credentials_of(session: Session, station_id: int) -> list[DeviceCredential]:
    """All there ever were, newest first."""
    query = select(DeviceCredential).where(DeviceCredential.station_id == station_id)
    return list(session.scalars(query.order_by(DeviceCredential.id.desc())))


def revoke_all(session: Session, station_id: int, reason: str, now: datetime) -> int:
    """Revoke every credential of a station that is not revoked yet; returns how many. Takes the station's lock.

    The broker refuses them, and ends a live session of them, in a moment after the commit (`broker_files`).
    """
    lock_station(session, station_id)
    return _revoke(session, station_id, (CredentialState.CURRENT, CredentialState.NEXT), reason, now)


def discard_next(session: Session, station_id: int, reason: str, now: datetime) -> None:
    """A credential that was handed out and never seen in use is not waited for any longer. The station is locked."""
    _revoke(session, station_id, (CredentialState.NEXT,), reason, now)


def unconfirmed(session: Session, used: Collection[tuple[int, str]]) -> list[tuple[int, str]]:
    """Those of these (station, key id) that exist and were not seen in use before."""
    if not used:
        return []
    query = select(DeviceCredential.station_id, DeviceCredential.key_id).where(
        tuple_(DeviceCredential.station_id, DeviceCredential.key_id).in_(used), DeviceCredential.confirmed_at.is_(None)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def confirm(
    session: Session, station_id: int, key_id: str, now: datetime, *, kind: CredentialKind | None = None
) -> bool:
    """The device was seen using the credential `key_id` (of that kind): the first time, what it replaces is revoked.

    Returns whether anything changed. Any order and repetition of calls ends the same; what is revoked stays revoked.
    """
    seen = session.execute(
        select(DeviceCredential.state, DeviceCredential.confirmed_at).where(
            DeviceCredential.station_id == station_id,
            DeviceCredential.key_id == key_id,
            true() if kind is None else DeviceCredential.kind == kind,
        )
    ).one_or_none()
    if seen is None or seen.state is CredentialState.REVOKED or seen.confirmed_at is not None:
        return False
    lock_station(session, station_id)
    waiting = _in_state(session, station_id, CredentialState.NEXT)
    if waiting is not None and waiting.key_id == key_id:
        _revoke(session, station_id, (CredentialState.CURRENT,), SUPERSEDED, now, cut_at=now)
        waiting.state = CredentialState.CURRENT
    session.execute(
        update(DeviceCredential)
        .where(DeviceCredential.station_id == station_id, DeviceCredential.key_id == key_id)
        .values(confirmed_at=now)
    )
    session.flush()  # one current credential at a time: the old one is out before the next is looked for
    return True


def new_secret(username: str, *, signs: bool) -> IssuedSecret:
    return IssuedSecret(
        username=username,
        key_id=secrets.token_hex(_KEY_ID_BYTES),
        secret=secrets.token_bytes(SECRET_BYTES),
        signs=signs,
    )


def add_secret(
    session: Session, vault: Vault, made: IssuedSecret, *, station_id: int, state: CredentialState, now: datetime
) -> DeviceCredential:
    """Keep a secret as its hash and sealed. The station is locked. Raises UsernameTaken."""
    return add_credential(
        session,
        DeviceCredential(
            station_id=station_id,
            kind=CredentialKind.SECRET,
            state=state,
            username=made.username,
            key_id=made.key_id,
            password_hash=broker_hash(made.password, ENTERED_ROUNDS) if made.entered else broker_hash(made.password),
            sealed_secret=vault.seal(made.secret, made.key_id),
            signs=made.signs,
            entered=made.entered,
            issued_at=now,
        ),
    )


def add_credential(session: Session, credential: DeviceCredential) -> DeviceCredential:
    """The station is locked, so that only another station's name can be in the way: UsernameTaken."""
    try:
        with session.begin_nested():
            session.add(credential)
            session.flush()
    except IntegrityError as error:
        message = f"another device calls itself {credential.username}"
        raise UsernameTaken(message, username=credential.username) from error
    notify(session, Channel.CREDENTIAL)
    return credential


def told(vault: Vault, credential: DeviceCredential) -> IssuedSecret:
    """A secret that was given out, to be told again. Raises Unreadable."""
    assert credential.sealed_secret is not None
    return IssuedSecret(
        username=credential.username,
        key_id=credential.key_id,
        secret=vault.open(credential.sealed_secret, credential.key_id),
        signs=credential.signs,
        entered=credential.entered,
    )


def lock_station(session: Session, station_id: int) -> Station:
    """What changes a station's credentials holds its row. Raises NotFound."""
    query = select(Station).where(Station.id == station_id).with_for_update()
    station = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if station is None:
        raise NotFound("no such station", station_id=station_id)
    return station


def _in_state(session: Session, station_id: int, state: CredentialState) -> DeviceCredential | None:
    query = select(DeviceCredential).where(DeviceCredential.station_id == station_id, DeviceCredential.state == state)
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def _revoke(  # what is revoked, why, when
    session: Session,
    station_id: int,
    states: Sequence[CredentialState],
    reason: str,
    now: datetime,
    *,
    cut_at: datetime | None = None,
) -> int:
    revoked = session.execute(
        update(DeviceCredential)
        .where(DeviceCredential.station_id == station_id, DeviceCredential.state.in_(states))
        .values(state=CredentialState.REVOKED, revoked_at=now, revoked_reason=reason, cut_at=cut_at)
        .returning(DeviceCredential.id)
        .execution_options(synchronize_session="fetch")
    ).all()
    if revoked:
        notify(session, Channel.CREDENTIAL)
    return len(revoked)
