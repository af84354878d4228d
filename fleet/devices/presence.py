"""Whether a station is there: `station.online`, its history, and signs of life (decision 0102)."""

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from fleet.common.bulk import array, booleans, instants, words
from fleet.common.notify import Channel
from fleet.common.outbox import publish_all
from fleet.devices import reconcile, streams
from fleet.devices.events import StationOffline, StationOnline
from fleet.devices.models import CommandPurpose, GatewayInstance

#: A gateway writes its row every few seconds; one that has not for so long is taken for dead.
GATEWAY_ALIVE: Final = timedelta(seconds=15)
#: Whoever ended a session without saying so may be heard again in it.
SILENT: Final = "silent"
#: Heartbeats missed, where the settings say nothing else.
DEFAULT_PERIODS: Final = 2.5

#: A second word must come at least so long after the first, and at most an allowed silence after it.
SETTLES: Final = timedelta(seconds=1)

_CHANGE: Final = text("""
WITH told AS (
    SELECT * FROM unnest(CAST(:ids AS int[]), CAST(:causes AS text[]), CAST(:since AS timestamptz[]),
                         CAST(:evidence AS text[])) AS v(id, cause, since, evidence)
), before AS (
    SELECT id, online_changed_at FROM station WHERE id = ANY(CAST(:ids AS int[]))
), changed AS (
    UPDATE station t
       SET online = :online, online_changed_at = :now, updated_at = :now,
           offline_cause = CASE WHEN :online THEN NULL ELSE told.cause END
      FROM told, before
     WHERE t.id = told.id AND t.id = before.id AND t.online IS DISTINCT FROM :online
    RETURNING t.id, t.status, told.cause, told.since, told.evidence, before.online_changed_at
), history AS (
    INSERT INTO station_status_history (station_id, online, cause, at, since, status, trigger, evidence)
    SELECT id, :online, cause, :now, since, status, :trigger, CAST(evidence AS jsonb) FROM changed ORDER BY id
)
SELECT id, cause, since, online_changed_at, pg_notify(:channel, CAST(id AS text)) FROM changed ORDER BY id
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
#: The first word after silence is noted; the second one in time opens the session again (decision 0102).
_AGAIN: Final = text("""
UPDATE device_session s
   SET heard_again_at = CASE
           WHEN s.heard_again_at > CAST(:now AS timestamptz) - t.allowed * interval '1 second' THEN s.heard_again_at
           ELSE :now END,
       last_seen_at = greatest(s.last_seen_at, :now)
  FROM (SELECT id, coalesce(silent_after_s, heartbeat_s * CAST(:periods AS float)) AS allowed FROM station) t
 WHERE t.id = s.station_id AND s.station_id = ANY(CAST(:ids AS int[])) AND s.cause = :silent
   AND s.epoch = (SELECT max(epoch) FROM device_session WHERE station_id = s.station_id)
RETURNING s.station_id, s.heard_again_at
""")
_LEARN: Final = text("""
UPDATE station t SET period_s = v.period, silent_after_s = v.allowed, mains = v.mains, temperature_c = v.celsius
  FROM unnest(CAST(:ids AS int[]), CAST(:periods AS float[]), CAST(:allowed AS float[]), CAST(:mains AS bool[]),
              CAST(:celsius AS float[])) AS v(id, period, allowed, mains, celsius),
       (SELECT id FROM station WHERE id = ANY(CAST(:ids AS int[])) ORDER BY id FOR NO KEY UPDATE) locked
 WHERE t.id = v.id AND t.id = locked.id
   AND (t.period_s, t.silent_after_s, t.mains, t.temperature_c)
       IS DISTINCT FROM (v.period, v.allowed, v.mains, v.celsius)
""")
_RETURN: Final = text("""
UPDATE device_session s SET ended_at = NULL, cause = NULL, heard_again_at = NULL
 WHERE s.station_id = ANY(CAST(:ids AS int[])) AND s.cause = :silent
   AND s.epoch = (SELECT max(epoch) FROM device_session WHERE station_id = s.station_id)
""")
_BEAT: Final = text("""
INSERT INTO gateway_instance (name, started_at, last_seen_at, connected_since)
VALUES (:name, :started_at, :now, :connected_since)
ON CONFLICT (name) DO UPDATE
  SET started_at = :started_at, last_seen_at = :now, connected_since = :connected_since
""")


def change(
    session: Session,
    station_ids: Collection[int],
    *,
    online: bool,
    cause: str | Mapping[int, str],
    now: datetime,
    trigger: str,
    since: Mapping[int, datetime] | None = None,
    evidence: Mapping[int, dict[str, Any]] | None = None,
) -> list[int]:
    """Set the presence of locked stations. Those it changed get a history row, a notification and an event, and are
    returned. `trigger`: what brought it about; `since`: from when on it was so, where that is not now.
    """
    ids = sorted(station_ids)
    if not ids:
        return []
    causes = {each: cause if isinstance(cause, str) else cause[each] for each in ids}
    begun, proof = since or {}, evidence or {}
    rows = session.execute(
        _CHANGE,
        {
            "ids": array(ids),
            "causes": words(causes[each] for each in ids),
            "since": instants(begun.get(each, now) for each in ids),
            "evidence": words(json.dumps(proof.get(each, {})) for each in ids),
            "online": online,
            "trigger": trigger,
            "now": now,
            "channel": Channel.STATION.value,
        },
    ).all()
    if online:
        publish_all(session, [StationOnline(row[0], row[1], row[2], row[3]) for row in rows], now)
    else:
        publish_all(session, [StationOffline(row[0], row[1], row[2]) for row in rows], now)
    return [row[0] for row in rows]


def heard(session: Session, station_ids: Collection[int], now: datetime, periods: float = DEFAULT_PERIODS) -> list[int]:
    """Signs of life. A session that silence alone ended is open again with the second word; one late heartbeat of a
    cabinet that is going down makes nobody flap. Returns the stations that came back so; they are asked what they hold.
    """
    ids = array(sorted(station_ids))
    alive = set(session.scalars(_TOUCH, {"ids": ids, "now": now}))
    session.execute(_HEARD, {"ids": ids, "now": now})
    lost = sorted(set(station_ids) - alive)
    if not lost:
        return []
    streams.lock_stations(session, lost)
    known = {"ids": array(lost), "now": now, "silent": SILENT}
    again = session.execute(_AGAIN, {**known, "periods": periods}).all()
    first_word = {row[0]: row[1] for row in again if row[1] <= now - SETTLES}
    if not first_word:
        return []
    session.execute(_RETURN, {"ids": array(sorted(first_word)), "silent": SILENT})
    back = change(session, first_word, online=True, cause="heard", trigger="heard", since=first_word, now=now)
    reconcile.ask_now(session, back, now, CommandPurpose.HEARD_AGAIN)
    return back


class Habit(NamedTuple):
    """How a station was found to speak. `silent_after_s` None: as it is asked to."""

    station_id: int
    period_s: float | None
    silent_after_s: float | None
    #: None: its heartbeats do not tell.
    mains: bool | None
    #: Of the cabinet, °C; None: its heartbeats do not tell.
    temperature_c: float | None = None


def learn(session: Session, habits: Collection[Habit]) -> None:
    """Write what was found of stations' ways; what says nothing new writes nothing."""
    if not habits:
        return
    ordered = sorted(habits)
    session.execute(
        _LEARN,
        {
            "ids": array(each.station_id for each in ordered),
            "periods": _floats(each.period_s for each in ordered),
            "allowed": _floats(each.silent_after_s for each in ordered),
            "mains": booleans(each.mains for each in ordered),
            "celsius": _floats(each.temperature_c for each in ordered),
        },
    )


def _floats(values: Iterable[float | None]) -> str:
    return "{" + ",".join("NULL" if value is None else repr(value) for value in values) + "}"


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
