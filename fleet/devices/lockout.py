"""An operator locks a station out: nothing that it proves itself with counts any more, and it is away at once."""

from datetime import datetime
from typing import Final

from sqlalchemy import update
from sqlalchemy.orm import Session

from fleet.devices import credentials, presence, profiles, streams
from fleet.devices.models import DeviceSession
from fleet.stations.models import Station

#: Why a station that was locked out is offline, and its session at an end.
REVOKED: Final = "revoked"
#: The dialect whose cabinets have no way in but credentials.
NATIVE: Final = "native"


def lock_out(session: Session, station_id: int, reason: str, now: datetime) -> int:
    """`credentials.revoke_all`, which holds: a vendor's cabinet would be given a new secret, or needs none at all.

    Returns how many credentials ended. No rider is sent there from now on: its own silence would show in 20 minutes.
    """
    streams.lock_stations(session, [station_id])
    revoked = credentials.revoke_all(session, station_id, reason, now)
    if session.get_one(Station, station_id).dialect != NATIVE:
        profiles.lock_out(session, station_id, now)
    session.execute(
        update(DeviceSession)
        .where(DeviceSession.station_id == station_id, DeviceSession.ended_at.is_(None))
        .values(ended_at=now, cause=REVOKED)
        .execution_options(synchronize_session=False)
    )
    evidence = {station_id: {"reason": reason}}
    presence.change(session, [station_id], online=False, cause=REVOKED, trigger="operator", evidence=evidence, now=now)
    return revoked
