"""What operators enter of a vendor's cabinet, over the API or at the console."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from fleet.common.vault import Vault
from fleet.devices import profiles
from fleet.stations.models import Station
from fleet.stations.queries import find_station
from fleet.users import audit
from fleet.users.audit import Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class CabinetChange:
    """What is left out stays as it is."""

    #: What a Relink cabinet makes its tokens with.
    secret: bytes | None = field(default=None, repr=False)
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
    vault: Vault,
    *,
    actor: Actor,
    now: datetime,
    reason: str | None = None,
) -> Station:
    """Raises StationNotFound."""
    station = find_station(session, code)
    if wanted.secret is not None:
        profiles.set_secret(session, station, wanted.secret, vault)
    if wanted.tolerate_checksum is not None:
        profiles.set_tolerance(session, station.id, tolerate_checksum=wanted.tolerate_checksum)
    if wanted.revision is not None:
        profiles.set_revision(session, station.id, wanted.revision)
    if wanted.forget_layout:
        profiles.forget_layout(session, station.id)
    if wanted.readmit:
        profiles.readmit(session, station.id)
    audit.act(session, actor, "cabinet.change", code, now, reason=reason, **wanted.noted)
    return station
