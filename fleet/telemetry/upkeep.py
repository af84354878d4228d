"""What TimescaleDB's policies do by themselves, for native partitions: rollups, partitions ahead, retention."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from fleet.telemetry.columns import TABLES, TimeSeries

#: The same numbers as in the migration, where TimescaleDB's policies have them.
RAW_KEPT: Final = timedelta(days=30)
HOURS_KEPT: Final = timedelta(days=400)
AHEAD: Final = timedelta(days=7)
#: Hours and days are rolled up this long after their end; a sample that comes later is not in them.
SETTLED: Final = timedelta(hours=2)
#: Which messages were stored: a repetition comes within minutes.
SAMPLES_KEPT: Final = timedelta(days=1)
_DAY: Final = timedelta(days=1)
_LOCK: Final = 0x766F6C74


def upkeep(session: Session, now: datetime) -> None:
    """Everything that has to be done once in a while; idempotent, and safe twice at once (the second one returns)."""
    if not session.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}):
        return
    session.execute(text("DELETE FROM device_sample WHERE received_at < :before"), {"before": now - SAMPLES_KEPT})
    if uses_timescale(session):
        return
    for table in TABLES:
        _partitions_ahead(session, table.name, now)
        roll_up(session, table, now)
        _drop_old(session, table.name, now)


def uses_timescale(session: Session) -> bool:
    """Whether the tables are hypertables, kept by policies of their own."""
    return session.scalar(text("SELECT to_regclass('telemetry_rollup') IS NULL")) is True


def roll_up(session: Session, table: TimeSeries, now: datetime) -> None:
    """Fill the hours and days that are over, and move the marks from which the raw rows count."""
    settled = now - SETTLED
    _advance(session, table, "hour", settled.replace(minute=0, second=0, microsecond=0))
    _advance(session, table, "day", _midnight(settled))


def _advance(session: Session, table: TimeSeries, step: str, through: datetime) -> None:
    rollup = f"{table.name}_{step}"
    mark = text("SELECT through FROM telemetry_rollup WHERE name = :name FOR UPDATE")
    since = session.scalar(mark, {"name": rollup})
    if since is None or since >= through:
        return
    columns = f"{table.keys}, bucket, {', '.join(table.columns)}"
    # The view adds up what is above the mark: its rows up to the new mark are the ones that are missing below it.
    session.execute(
        text(
            f"INSERT INTO {rollup}_rollup ({columns}) SELECT {columns} FROM {rollup}"  # noqa: S608  # our own names
            " WHERE bucket >= :since AND bucket < :through ON CONFLICT DO NOTHING"
        ),
        {"since": since, "through": through},
    )
    session.execute(
        text("UPDATE telemetry_rollup SET through = :through WHERE name = :name"), {"through": through, "name": rollup}
    )


def _partitions_ahead(session: Session, table: str, now: datetime) -> None:
    """Days up to a week ahead, and those that rows in the default partition lie in."""
    today = _midnight(now)
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
    oldest = _midnight(now) - RAW_KEPT
    rolled = session.scalar(
        text("SELECT min(through) FROM telemetry_rollup WHERE starts_with(name, :name || '_')"), {"name": table}
    )
    keep_from = min(oldest, _midnight(rolled)) if rolled is not None else oldest
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


def _midnight(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
