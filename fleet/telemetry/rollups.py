# ruff: noqa: S608  # statements are made of our own names; values are bound
"""Hours and days of native partitions, kept up to date step by step; TimescaleDB's continuous aggregates do the same.

A rollup counts below its mark (`telemetry_rollup.through`), raw rows from there on: the views join the two.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from fleet.telemetry.columns import TimeSeries
from fleet.telemetry.late import SETTLED

_HOUR: Final = "date_bin('1 hour', {}, '2000-01-01Z')"
_DAY: Final = "date_bin('1 day', {}, '2000-01-01Z')"


def roll_up(session: Session, table: TimeSeries, now: datetime, *, raw_since: datetime) -> None:
    """Fill the hours and days that are over, move the marks, and add up again what got late rows since `raw_since`."""
    settled = now - SETTLED
    hours_through = _advance_hours(session, table, settled.replace(minute=0, second=0, microsecond=0))
    days_through = _advance_days(session, table, midnight(settled))
    _mend(session, table, hours_through=hours_through, days_through=days_through, raw_since=raw_since)


def _advance_hours(session: Session, table: TimeSeries, through: datetime) -> datetime:
    since = _mark(session, f"{table.name}_hour")
    if since >= through:
        return since
    _run(
        session,
        f"INSERT INTO {table.name}_hour_rollup ({_columns(table)})"
        f" SELECT {table.keys}, {_HOUR.format('at')} AS bucket, {table.raw_aggregates} FROM {table.name}"
        f" WHERE at >= :since AND at < :through GROUP BY {table.keys}, bucket {_in_order(table)}"
        " ON CONFLICT DO NOTHING",
        since=since,
        through=through,
    )
    return _move(session, f"{table.name}_hour", through)


def _advance_days(session: Session, table: TimeSeries, through: datetime) -> datetime:
    since = _mark(session, f"{table.name}_day")
    if since >= through:
        return since
    _run(
        session,
        f"INSERT INTO {table.name}_day_rollup ({_columns(table)})"
        f" SELECT {table.keys}, {_DAY.format('bucket')} AS day, {table.rolled_aggregates}"
        f" FROM {table.name}_hour_rollup WHERE bucket >= :since AND bucket < :through"
        f" GROUP BY {table.keys}, day {_in_order(table, 'day')} ON CONFLICT DO NOTHING",
        since=since,
        through=through,
    )
    return _move(session, f"{table.name}_day", through)


def _mend(
    session: Session, table: TimeSeries, *, hours_through: datetime, days_through: datetime, raw_since: datetime
) -> None:
    """Hours that got rows after they were rolled up, and their days. Hours whose raw rows are gone stay as they are."""
    session.execute(text("CREATE TEMP TABLE IF NOT EXISTS late_now (station_id int, hour timestamptz) ON COMMIT DROP"))
    session.execute(text("TRUNCATE late_now"))
    _run(
        session,
        "WITH gone AS (DELETE FROM telemetry_late WHERE series = :series RETURNING station_id, hour)"
        " INSERT INTO late_now SELECT * FROM gone WHERE hour >= :since AND hour < :through",
        series=table.name,
        since=raw_since,
        through=hours_through,
    )
    if not session.scalar(text("SELECT EXISTS (SELECT FROM late_now)")):
        return
    session.execute(text("ANALYZE late_now"))
    _run(
        session,
        f"INSERT INTO {table.name}_hour_rollup ({_columns(table)})"
        f" SELECT {_of('r', table.keys)}, l.hour, {table.raw_aggregates} FROM late_now l JOIN {table.name} r"
        " ON r.station_id = l.station_id AND r.at >= l.hour AND r.at < l.hour + interval '1 hour'"
        f" GROUP BY {_of('r', table.keys)}, l.hour {_or_replace(table)}",
    )
    _run(
        session,
        f"INSERT INTO {table.name}_day_rollup ({_columns(table)})"
        f" SELECT {_of('r', table.keys)}, l.day, {table.rolled_aggregates}"
        f" FROM (SELECT DISTINCT station_id, {_DAY.format('hour')} AS day FROM late_now) l"
        f" JOIN {table.name}_hour_rollup r"
        " ON r.station_id = l.station_id AND r.bucket >= l.day AND r.bucket < l.day + interval '1 day'"
        f" WHERE l.day < :through GROUP BY {_of('r', table.keys)}, l.day {_or_replace(table)}",
        through=days_through,
    )


def _in_order(table: TimeSeries, bucket: str = "bucket") -> str:
    """So that what a chart reads together, the slots of a station, lies together: grouping leaves it scattered."""
    return f"ORDER BY {bucket}, {table.keys}"


def _or_replace(table: TimeSeries) -> str:
    changed = ", ".join(f"{name} = excluded.{name}" for name in table.names)
    return f"ON CONFLICT ({table.keys}, bucket) DO UPDATE SET {changed}"


def _columns(table: TimeSeries) -> str:
    return f"{table.keys}, bucket, {', '.join(table.names)}"


def _of(alias: str, keys: str) -> str:
    return ", ".join(f"{alias}.{key.strip()}" for key in keys.split(","))


def _mark(session: Session, name: str) -> datetime:
    found = session.scalar(text("SELECT through FROM telemetry_rollup WHERE name = :name FOR UPDATE"), {"name": name})
    assert isinstance(found, datetime)
    return found


def _move(session: Session, name: str, through: datetime) -> datetime:
    _run(session, "UPDATE telemetry_rollup SET through = :through WHERE name = :name", through=through, name=name)
    return through


def _run(session: Session, statement: str, **values: object) -> None:
    """`statement` is made of our own names; values are bound."""
    session.execute(text(statement), values)


def midnight(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def hour_of(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hours_between(start: datetime, end: datetime) -> list[datetime]:
    """The hours that begin in [start, end)."""
    found, hour = [], hour_of(start) if start == hour_of(start) else hour_of(start) + timedelta(hours=1)
    while hour < end:
        found.append(hour)
        hour += timedelta(hours=1)
    return found
