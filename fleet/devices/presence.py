"""Whether a station is there: `station.online`, its history, and signs of life."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from fleet.common.bulk import array
from fleet.common.notify import Channel
from fleet.devices.models import GatewayInstance

#: A gateway writes its row every few seconds; one that has not for so long is taken for dead.
GATEWAY_ALIVE: Final = timedelta(seconds=15)

_CHANGE: Final = text("""
WITH changed AS (
    UPDATE station SET online = :online, online_changed_at = :now, updated_at = :now
     WHERE id = ANY(CAST(:ids AS int[])) AND online IS DISTINCT FROM :online RETURNING id
), history AS (
    INSERT INTO station_status_history (station_id, online, cause, at) SELECT id, :online, :cause, :now FROM changed
)
SELECT id, pg_notify(:channel, CAST(id AS text)) FROM changed
""")
_TOUCH: Final = text("""
UPDATE device_session SET last_seen_at = :now
 WHERE ended_at IS NULL AND last_seen_at < :now AND station_id = ANY(CAST(:ids AS int[]))
RETURNING station_id
""")
#: Somebody else may hold the row for a moment; the next message will do.
_HEARD: Final = text("""
UPDATE station SET last_heard_at = :now WHERE id IN (
    SELECT id FROM station WHERE id = ANY(CAST(:ids AS int[])) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
""")
_RETURN: Final = text("""
UPDATE device_session s SET ended_at = NULL, cause = NULL, last_seen_at = :now
 WHERE s.station_id = ANY(CAST(:ids AS int[])) AND s.cause = :silent
   AND s.epoch = (SELECT max(epoch) FROM device_session WHERE station_id = s.station_id)
RETURNING s.station_id
""")
_BEAT: Final = text("""
INSERT INTO gateway_instance (name, started_at, last_seen_at, connected_since)
VALUES (:name, :started_at, :now, :connected_since)
ON CONFLICT (name) DO UPDATE
  SET started_at = :started_at, last_seen_at = :now, connected_since = :connected_since
""")


def change(session: Session, station_ids: Collection[int], *, online: bool, cause: str, now: datetime) -> list[int]:
    """Set the presence of locked stations; those it changed get a history row and a notification, and are returned."""
    if not station_ids:
        return []
    rows = session.execute(
        _CHANGE,
        {"ids": array(station_ids), "online": online, "cause": cause, "now": now, "channel": Channel.STATION.value},
    )
    return [row[0] for row in rows]


def heard(session: Session, station_ids: Collection[int], now: datetime) -> list[int]:
    """Signs of life. Sessions ended by silence alone are open again; returns the stations that came back so."""
    ids = array(sorted(station_ids))
    alive = set(session.scalars(_TOUCH, {"ids": ids, "now": now}))
    session.execute(_HEARD, {"ids": ids, "now": now})
    lost = sorted(set(station_ids) - alive)
    if not lost:
        return []
    session.execute(
        text("SELECT id FROM station WHERE id = ANY(CAST(:ids AS int[])) ORDER BY id FOR NO KEY UPDATE"),
        {"ids": array(lost)},
    )
    back = list(session.scalars(_RETURN, {"ids": array(lost), "now": now, "silent": "silent"}))
    return change(session, back, online=True, cause="heard", now=now)


def gateway_beat(
    session: Session, *, name: str, started_at: datetime, connected_since: datetime | None, now: datetime
) -> None:
    """A gateway is alive, caught up with its messages, and connected to the broker since then (None: it is not)."""
    session.execute(_BEAT, {"name": name, "started_at": started_at, "connected_since": connected_since, "now": now})


def other_gateways(session: Session, name: str, now: datetime) -> bool:
    """Whether a gateway besides this one is alive and connected."""
    query = select(GatewayInstance.name).where(
        GatewayInstance.name != name,
        GatewayInstance.connected_since.is_not(None),
        GatewayInstance.last_seen_at > now - GATEWAY_ALIVE,
    )
    return session.scalars(query.limit(1)).first() is not None


def gateway_gone(session: Session, name: str) -> None:
    """A gateway has left in good order."""
    session.query(GatewayInstance).filter_by(name=name).delete(synchronize_session=False)
