"""Figures of the whole fleet, hour by hour, so that their charts cost the same for ten stations and a hundred thousand.

The same with TimescaleDB and without: made of the hours of stations and slots, and of the history of presence.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from fleet.telemetry.columns import SLOT, STATION
from fleet.telemetry.late import SETTLED
from fleet.telemetry.rollups import hour_of, hours_between

#: How far back a fleet begins that has no hours yet.
FIRST: Final = timedelta(days=2)
#: Hours made in one go after an outage of upkeep; the others follow with the next ones.
MOST_AT_ONCE: Final = 72
#: TimescaleDB adds late rows to its hours by a policy of its own; after this they are in.
REFRESHED: Final = timedelta(hours=1)
SUBJECTS: Final = {"cabinet": STATION.name, "bank": SLOT.name}
_HOUR: Final = timedelta(hours=1)

_ONLINE: Final = text("""
WITH counted AS (
    SELECT id, online, online_changed_at FROM station
     WHERE created_at < CAST(:until AS timestamptz) AND status <> 'disabled'
), moved AS (SELECT id FROM counted WHERE online_changed_at >= :hour),
points AS (
    SELECT m.id, CAST(:hour AS timestamptz) AS at, CAST(0 AS bigint) AS place, coalesce((
        SELECT h.online FROM station_status_history h
         WHERE h.station_id = m.id AND coalesce(h.since, h.at) < :hour
         ORDER BY coalesce(h.since, h.at) DESC, h.id DESC LIMIT 1), false) AS online
      FROM moved m
    UNION ALL
    SELECT h.station_id, coalesce(h.since, h.at), h.id, h.online
      FROM station_status_history h JOIN moved m ON m.id = h.station_id
     WHERE coalesce(h.since, h.at) >= :hour AND coalesce(h.since, h.at) < :until
), spans AS (
    SELECT online, lead(at, 1, CAST(:until AS timestamptz)) OVER (PARTITION BY id ORDER BY at, place) - at AS lasted
      FROM points
)
INSERT INTO fleet_hour (hour, stations, online_s)
SELECT :hour, (SELECT count(*) FROM counted),
       (SELECT count(*) FROM counted WHERE online AND (online_changed_at IS NULL OR online_changed_at < :hour)) * 3600
       + coalesce((SELECT sum(extract(epoch FROM lasted)) FROM spans WHERE online), 0)
ON CONFLICT (hour) DO UPDATE SET stations = excluded.stations, online_s = excluded.online_s
""")


def advance(session: Session, now: datetime, *, timescale: bool, late: set[datetime]) -> None:
    """Make the hours that are over and settled, and temperatures of `late` hours again."""
    through = hour_of(now - SETTLED)
    newest = session.scalar(text("SELECT max(hour) FROM fleet_hour"))
    since = hour_of(now) - FIRST if newest is None else newest + _HOUR
    for hour in hours_between(since, through)[:MOST_AT_ONCE]:
        session.execute(_ONLINE, {"hour": hour, "until": hour + _HOUR})
        _temperatures(session, hour, timescale=timescale)
    for hour in sorted(each for each in late if newest is not None and each <= newest):
        _temperatures(session, hour, timescale=timescale)


def late_hours(session: Session, now: datetime, *, timescale: bool) -> set[datetime]:
    """Hours with late rows. With TimescaleDB they are forgotten here, once its own hours have them."""
    if not timescale:
        return set(session.scalars(text("SELECT DISTINCT hour FROM telemetry_late")))
    gone = text(
        "WITH gone AS (DELETE FROM telemetry_late WHERE noted_at < :before RETURNING hour)"
        " SELECT DISTINCT hour FROM gone"
    )
    return set(session.scalars(gone, {"before": now - REFRESHED}))


def forget(session: Session, before: datetime) -> None:
    for table in ("fleet_hour", "fleet_temperature"):
        session.execute(text(f"DELETE FROM {table} WHERE hour < :before"), {"before": before})  # noqa: S608  # our own names


def _temperatures(session: Session, hour: datetime, *, timescale: bool) -> None:
    session.execute(text("DELETE FROM fleet_temperature WHERE hour = :hour"), {"hour": hour})
    for subject, series in SUBJECTS.items():
        source = f"{series}_hour" if timescale else f"{series}_hour_rollup"
        # The names are our own.
        statement = f"""
        INSERT INTO fleet_temperature (hour, subject, degrees, things)
        SELECT :hour, :subject, floor(temperature_sum / temperature_count)::smallint AS degrees, count(*) FROM {source}
         WHERE bucket = :hour AND temperature_count > 0 GROUP BY degrees
        """  # noqa: S608
        session.execute(text(statement), {"hour": hour, "subject": subject})
