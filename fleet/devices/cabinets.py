"""What operators enter of a vendor's cabinet, over the API or at the console."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.vault import Vault
from fleet.devices import credentials, profiles
from fleet.devices.errors import LockedOut
from fleet.settings import Settings
from fleet.stations.models import Station
from fleet.stations.queries import find_station
from fleet.users import audit
from fleet.users.audit import Actor

#: Of a Volinks cabinet: whoever reaches the broker may try.
MIN_PASSWORD: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class CabinetChange:
    """What is left out stays as it is."""

    #: What a Relink cabinet makes its tokens with, or the password of a Volinks cabinet.
    secret: str | None = field(default=None, repr=False)
    tolerate_checksum: bool | None = None
    #: Of the guide that a Volinks cabinet goes by: `old` or `new`.
    revision: str | None = None
    #: The next complete inventory is a new layout.
    forget_layout: bool = False
    #: It was revoked, and may come in again.
    readmit: bool = False

    @property
    def noted(self) -> dict[str, Any]:
        """For the audit log: of the secret only that there is another one."""
        values = {
            "secret": self.secret is not None,
            "tolerate_checksum": self.tolerate_checksum,
            "revision": self.revision,
            "forget_layout": self.forget_layout,
            "readmit": self.readmit,
        }
        switches = {"tolerate_checksum"}
        return {name: value for name, value in values.items() if value or (name in switches and value is not None)}


def change(
    session: Session,
    code: str,
    wanted: CabinetChange,
    settings: Settings,
    *,
    actor: Actor,
    now: datetime,
    reason: str | None = None,
) -> Station:
    """Raises StationNotFound, and for a secret InvalidInput, LockedOut, UsernameTaken."""
    station = find_station(session, code)
    if wanted.readmit:
        profiles.readmit(session, station.id)
    if wanted.secret is not None:
        _give_secret(session, station, wanted.secret, settings, now)
    if wanted.tolerate_checksum is not None:
        profiles.set_tolerance(session, station.id, tolerate_checksum=wanted.tolerate_checksum)
    if wanted.revision is not None:
        profiles.set_revision(session, station.id, wanted.revision)
    if wanted.forget_layout:
        profiles.forget_layout(session, station.id)
    audit.act(session, actor, "cabinet.change", code, now, reason=reason, **wanted.noted)
    return station


def has_secret(session: Session, station: Station) -> bool:
    """Whether the cabinet proves itself with one that is known here."""
    if station.dialect == "relink":
        profile = profiles.profile_of(session, station.id)
        return profile is not None and profile.sealed_secret is not None
    current = credentials.current_credential(session, station.id)
    return current is not None and current.sealed_secret is not None


def _give_secret(session: Session, station: Station, secret: str, settings: Settings, now: datetime) -> None:
    if station.dialect == "relink":
        profiles.set_secret(session, station, secret.encode(), Vault.of(settings, profiles.PURPOSE))
    elif station.dialect == "volinks":
        _give_password(session, station, secret, settings, now)
    else:
        message = f"{station.code} has a {station.dialect} cabinet: it gets its secret for a claim token"
        raise InvalidInput(message, field="secret")


def _give_password(session: Session, station: Station, password: str, settings: Settings, now: datetime) -> None:
    """`connect` hands out this one from now on; the one before ends, and a session of it."""
    if len(password) < MIN_PASSWORD:
        raise InvalidInput(f"a password at the broker has at least {MIN_PASSWORD} characters", field="secret")
    if station.hardware_id is None:
        raise InvalidInput(f"{station.code} has no hardware id, which is its user name", field="secret")
    credentials.lock_station(session, station.id)  # before it is looked: a revocation holds it as well
    if profiles.locked_out(session, [station.id]):
        raise LockedOut(f"station {station.code} was revoked: re-admit it as well", station=station.code)
    credentials.replace_secret(
        session,
        Vault.of(settings, credentials.PURPOSE),
        station_id=station.id,
        username=station.hardware_id,
        now=now,
        reason="another secret was entered",
        password=password,
    )
