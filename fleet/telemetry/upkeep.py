"""What has to be done once in a while: partitions ahead, rollups, retention, figures of the fleet.

With TimescaleDB its own policies do what is said of partitions and rollups.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from fleet.telemetry import fleet_hours
from fleet.telemetry.columns import TABLES
from fleet.telemetry.rollups import midnight, roll_up

#: The same numbers as in the migrations, where TimescaleDB's policies have them.
RAW_KEPT: Final = timedelta(days=30)
HOURS_KEPT: Final = timedelta(days=400)
AHEAD: Final = timedelta(days=7)
#: Which messages were stored: a repetition comes within minutes.
SAMPLES_KEPT: Final = timedelta(days=1)
_DAY: Final = timedelta(days=1)
_LOCK: Final = 0x766F6C74


def upkeep(session: Session, now: datetime) -> None:
    """Everything that has to be done once in a while; idempotent, and safe twice at once (the second one returns)."""
    if not session.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}):
        return
    session.execute(text("DELETE FROM device_sample WHERE received_at < :before"), {"before": now - SAMPLES_KEPT})
    timescale = uses_timescale(session)
    late = fleet_hours.late_hours(session, now, timescale=timescale)
    if not timescale:
        _native(session, now)
    fleet_hours.advance(session, now, timescale=timescale, late=late)
    fleet_hours.forget(session, now - HOURS_KEPT)


def _native(session: Session, now: datetime) -> None:
    for table in TABLES:
        _partitions_ahead(session, table.name, now)
        roll_up(session, table, now, raw_since=midnight(now) - RAW_KEPT)
        _drop_old(session, table.name, now)


def uses_timescale(session: Session) -> bool:
    """Whether the tables are hypertables, kept by policies of their own."""
    return session.scalar(text("SELECT to_regclass('telemetry_rollup') IS NULL")) is True


def _partitions_ahead(session: Session, table: str, now: datetime) -> None:
    """Days up to a week ahead, and those that rows in the default partition lie in."""
    today = midnight(now)
    wanted = {today + _DAY * offset for offset in range(-1, AHEAD.days + 1)}
    stray = session.scalars(
        text(f"SELECT DISTINCT date_bin('1 day', at, '2000-01-01Z') FROM {table}_default WHERE at >= :kept"),  # noqa: S608
        {"kept": today - RAW_KEPT},
    )
    have = set(_partition_days(session, table))
    for day in sorted((wanted | set(stray)) - have):
        _add_partition(session, table, day)


def _add_partition(session: Session, table: str, day: datetime) -> None:
    """Beside the table, filled from the default partition, then attached."""
    name, end = _partition_name(table, day), day + _DAY
    session.execute(text(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)"))
    session.execute(
        text(
            f"WITH moved AS (DELETE FROM {table}_default WHERE at >= :day AND at < :end RETURNING *)"  # noqa: S608
            f" INSERT INTO {name} SELECT * FROM moved"
        ),
        {"day": day, "end": end},
    )
    session.execute(text(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{day:%F}Z') TO ('{end:%F}Z')"))


def _drop_old(session: Session, table: str, now: datetime) -> None:
    """Raw rows and hours past their time. Nothing is dropped before it is rolled up."""
    oldest = midnight(now) - RAW_KEPT
    rolled = session.scalar(
        text("SELECT min(through) FROM telemetry_rollup WHERE starts_with(name, :name || '_')"), {"name": table}
    )
    keep_from = min(oldest, midnight(rolled)) if rolled is not None else oldest
    for day in _partition_days(session, table):
        if day + _DAY <= keep_from:
            session.execute(text(f"DROP TABLE {_partition_name(table, day)}"))
    session.execute(text(f"DELETE FROM {table}_default WHERE at < :oldest"), {"oldest": keep_from})  # noqa: S608
    session.execute(
        text(f"DELETE FROM {table}_hour_rollup WHERE bucket < :oldest"),  # noqa: S608
        {"oldest": now - HOURS_KEPT},
    )


def _partition_days(session: Session, table: str) -> list[datetime]:
    query = text("""
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = CAST(:table AS regclass) AND c.relname LIKE :pattern
    """)
    rows = session.scalars(query, {"table": table, "pattern": f"{table}\\_p20%"})
    return [datetime.strptime(name.rpartition("_p")[2], "%Y%m%d").replace(tzinfo=UTC) for name in rows]


def _partition_name(table: str, day: datetime) -> str:
    return f"{table}_p{day:%Y%m%d}"
