"""Stations that say nothing any more, and whether it is they who are silent or we who are deaf."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.bulk import array
from fleet.devices import causes, presence, streams
from fleet.devices.causes import BACKEND, BROKER, Lost
from fleet.devices.models import BackendOutage, GatewayInstance
from fleet.devices.presence import GATEWAY_ALIVE, SILENT

_ALLOWED: Final = "coalesce(t.silent_after_s, t.heartbeat_s * CAST(:periods AS float))"
_TOO_LONG_AGO: Final = f"CAST(:now AS timestamptz) - {_ALLOWED} * interval '1 second'"
_FIND: Final = text(f"""
SELECT s.station_id FROM device_session s JOIN station t ON t.id = s.station_id
 WHERE s.ended_at IS NULL AND s.last_seen_at < {_TOO_LONG_AGO}
   AND EXISTS (
       SELECT FROM gateway_instance g
        WHERE g.last_seen_at > CAST(:now AS timestamptz) - CAST(:alive AS interval)
          AND g.connected_since < {_TOO_LONG_AGO})
""")  # noqa: S608  # constants
_END: Final = text(f"""
UPDATE device_session s SET ended_at = :now, cause = :silent, heard_again_at = NULL FROM station t
 WHERE t.id = s.station_id AND s.station_id = ANY(CAST(:ids AS int[])) AND s.ended_at IS NULL
   AND s.last_seen_at < {_TOO_LONG_AGO}
RETURNING s.station_id, s.last_seen_at, {_ALLOWED}, t.h3_cell
""")  # noqa: S608  # constants


def mark_silent(session: Session, now: datetime, periods: float) -> list[int]:
    """End the sessions of stations that were silent for longer than their own ways allow; returns who went offline.

    Counts only while a gateway that has listened for that long is alive: otherwise the silence may be our own.
    `periods`: heartbeats missed, for stations whose dialect names no number of its own.
    """
    values = {"now": now, "periods": periods, "alive": GATEWAY_ALIVE, "silent": SILENT}
    found = session.scalars(_FIND, values).all()
    if not found:
        return []
    streams.lock_stations(session, found)
    rows: Any = session.execute(_END, {**values, "ids": array(found)}).all()
    if not rows:
        return []
    lost = [Lost(*row) for row in rows]
    why, evidence = causes.diagnose(session, lost, now, periods)
    return presence.change(
        session,
        why,
        online=False,
        cause=why,
        trigger="silence",
        since={each.station_id: each.last_seen_at for each in lost},
        evidence=evidence,
        now=now,
    )


def watch_gateways(session: Session, now: datetime) -> str | None:
    """Note when nobody listens, and when somebody does again; returns why nobody does now."""
    rows = session.execute(select(GatewayInstance.last_seen_at, GatewayInstance.connected_since)).all()
    alive = [connected for seen, connected in rows if seen > now - GATEWAY_ALIVE]
    listening = [connected for connected in alive if connected is not None]
    query = select(BackendOutage).where(BackendOutage.until.is_(None)).with_for_update()
    outage = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if listening:
        if outage is not None:
            outage.until = max(outage.since, min(listening))
        return None
    cause = BROKER if alive else BACKEND
    if outage is None:
        # A gateway that was killed wrote its row for the last time when it still listened.
        last = max((seen for seen, _ in rows), default=now) if not alive else now
        session.execute(insert(BackendOutage).values(cause=cause, since=min(last, now)).on_conflict_do_nothing())
    return cause
