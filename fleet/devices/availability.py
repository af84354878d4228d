"""How long stations were there, and why they were not: by `station_status_history`, and when each change really was."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from fleet.devices.models import BackendOutage
from fleet.stations.models import StationStatus

#: A silence is noticed late, at most by so much.
_NOTICED_WITHIN: Final = timedelta(hours=3)
#: The last change of each station before the period, and all in it; acts of operators change no presence.
_SPELLS: Final = text("""
WITH chosen AS (
    SELECT id FROM station WHERE (CAST(:station_id AS int) IS NULL OR id = :station_id)
       AND (CAST(:city AS text) IS NULL OR city = :city)
), rows AS (
    SELECT h.station_id, h.id, h.online, h.cause, h.at, coalesce(h.since, h.at) AS since
      FROM chosen c JOIN LATERAL (
          (SELECT * FROM station_status_history WHERE station_id = c.id AND at < :since
              AND trigger IS DISTINCT FROM 'operator' ORDER BY at DESC, id DESC LIMIT 1)
          UNION ALL
          SELECT * FROM station_status_history WHERE station_id = c.id AND at >= :since AND at < :noticed
              AND trigger IS DISTINCT FROM 'operator') h ON true
), spells AS (
    SELECT station_id, online, cause, since, lead(since) OVER (PARTITION BY station_id ORDER BY at, id) AS until
      FROM rows
), clipped AS (
    SELECT station_id, online, cause, greatest(since, :since) AS since, least(coalesce(until, :until), :until) AS until
      FROM spells
)
SELECT station_id, online, cause, since, until FROM clipped WHERE until > since ORDER BY station_id, since
""")
_HISTORY: Final = text("""
SELECT id, online, status, cause, trigger, evidence, at, since, until FROM (
    SELECT id, online, status, cause, trigger, evidence, at, coalesce(since, at) AS since,
           lead(coalesce(since, at)) OVER (ORDER BY at, id) AS until
      FROM station_status_history WHERE station_id = :station_id) h
 WHERE (CAST(:before AS bigint) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class StatusSpell:
    """From one change to the next. `until` None: it is so now. `at`: when it was noticed."""

    id: int
    online: bool
    status: StationStatus | None
    cause: str
    trigger: str | None
    evidence: dict[str, Any]
    at: datetime
    since: datetime
    until: datetime | None

    def lasted(self, now: datetime) -> timedelta:
        return max((self.until or now) - self.since, timedelta(0))


@dataclass(slots=True)
class Availability:
    """How a period was spent. `unknown`: before the station was first heard of. All sum up to the period."""

    since: datetime
    until: datetime
    online: timedelta = timedelta(0)
    #: Thought to be online while no gateway listened.
    unobserved: timedelta = timedelta(0)
    offline: timedelta = timedelta(0)
    unknown: timedelta = timedelta(0)
    #: Time offline by cause, and how often it went away.
    by_cause: dict[str, timedelta] = field(default_factory=dict)
    losses: int = 0

    @property
    def share(self) -> float | None:
        """Online of what is known; None when nothing is."""
        known = self.online + self.offline
        return self.online / known if known else None


@dataclass(frozen=True, slots=True)
class OfflineTime:
    """Time offline for one cause, over some stations."""

    cause: str
    stations: int
    losses: int
    offline: timedelta


def status_history(
    session: Session, station_id: int, *, limit: int = 50, before: int | None = None
) -> list[StatusSpell]:
    """Newest first; `before` is the id of the last one seen."""
    rows = session.execute(_HISTORY, {"station_id": station_id, "before": before, "limit": limit})
    return [
        StatusSpell(
            id=row.id,
            online=row.online,
            status=None if row.status is None else StationStatus(row.status),
            cause=row.cause,
            trigger=row.trigger,
            evidence=row.evidence or {},
            at=row.at,
            since=row.since,
            until=row.until,
        )
        for row in rows
    ]


def availability(session: Session, station_id: int, since: datetime, until: datetime) -> Availability:
    """Of one station in [since, until)."""
    found = Availability(since, until)
    outages = _outages(session, since, until)
    for online, cause, begun, ended in _spells(session, since, until, station_id=station_id).get(station_id, []):
        if online:
            unobserved = _overlap(outages, begun, ended)
            found.online += ended - begun - unobserved
            found.unobserved += unobserved
        else:
            found.offline += ended - begun
            found.losses += begun > since
            found.by_cause[cause] = found.by_cause.get(cause, timedelta(0)) + (ended - begun)
    found.unknown = until - since - found.online - found.unobserved - found.offline
    return found


def offline_by_cause(
    session: Session, since: datetime, until: datetime, *, city: str | None = None
) -> list[OfflineTime]:
    """Of all stations, or those of a city, in [since, until); most time first."""
    spent: dict[str, tuple[set[int], int, timedelta]] = {}
    for station_id, spells in _spells(session, since, until, city=city).items():
        for online, cause, begun, ended in spells:
            if online:
                continue
            stations, losses, total = spent.get(cause, (set(), 0, timedelta(0)))
            spent[cause] = (stations | {station_id}, losses + (begun > since), total + (ended - begun))
    rows = [OfflineTime(cause, len(stations), n, total) for cause, (stations, n, total) in spent.items()]
    return sorted(rows, key=lambda row: (-row.offline, row.cause))


_Spell = tuple[bool, str, datetime, datetime]


def _spells(
    session: Session, since: datetime, until: datetime, *, station_id: int | None = None, city: str | None = None
) -> Mapping[int, list[_Spell]]:
    """Spells inside the period by station, in order."""
    values = {"since": since, "until": until, "noticed": until + _NOTICED_WITHIN}
    rows = session.execute(_SPELLS, {**values, "station_id": station_id, "city": city})
    found: dict[int, list[_Spell]] = {}
    for station, online, cause, begun, ended in rows:
        found.setdefault(station, []).append((online, cause, begun, ended))
    return found


def _outages(session: Session, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    query = select(BackendOutage).where(
        BackendOutage.since < until, BackendOutage.until.is_(None) | (BackendOutage.until > since)
    )
    return [(max(row.since, since), min(row.until or until, until)) for row in session.scalars(query)]


def _overlap(outages: Iterable[tuple[datetime, datetime]], since: datetime, until: datetime) -> timedelta:
    inside = (min(ended, until) - max(begun, since) for begun, ended in outages)
    return sum((each for each in inside if each > timedelta(0)), timedelta(0))
