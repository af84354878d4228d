"""`device_event`: what came, once by (station, boot, seq). All calls need the lock of the streams they touch."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from fleet.common.bulk import array, copy_lines, raw_cursor, words
from fleet.common.prepared import Prepared

Key = tuple[int, int, int]


class StoredEvent(NamedTuple):
    """An event as it waits in the inbox."""

    station_id: int
    boot: int
    seq: int
    raw: bytes
    received_at: datetime


class Row(NamedTuple):
    """A new event. Instants as text; `applied_at` None: its turn has not come."""

    station_id: int
    boot: int
    seq: int
    type: str
    at_ms: int | None
    received_at: str
    replayed: bool
    raw: bytes
    applied_at: str | None


#: More new events than these go by COPY.
FEW: Final = 8
_MISSING: Final = "\\N"
_COLUMNS: Final = (
    "station_id",
    "boot",
    "seq",
    "type",
    "at_ms",
    "received_at",
    "replayed",
    "raw",
    "encoding",
    "applied_at",
)
_INSERT: Final = Prepared(
    text(
        f"INSERT INTO device_event ({', '.join(_COLUMNS)}) "  # noqa: S608  # our own names
        f"VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"
    ),
    planned=True,
)
_KEYS: Final = "unnest(%s::int[], %s::bigint[], %s::bigint[]) AS v(station_id, boot, seq)"
_KNOWN: Final = f"""
SELECT e.station_id, e.boot, e.seq, e.applied_at IS NOT NULL
  FROM {_KEYS} JOIN device_event e USING (station_id, boot, seq)
"""  # noqa: S608  # a constant
_WAITING: Final = """
SELECT e.station_id, e.boot, e.seq
  FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS v(station_id, boot, applied)
  JOIN device_event e ON e.station_id = v.station_id AND e.boot = v.boot AND e.seq > v.applied
 WHERE e.applied_at IS NULL
"""
_LOAD: Final = f"""
SELECT e.station_id, e.boot, e.seq, e.raw, e.received_at FROM {_KEYS} JOIN device_event e USING (station_id, boot, seq)
"""  # noqa: S608  # a constant
_MARK: Final = f"""
UPDATE device_event e SET applied_at = %s FROM {_KEYS}
 WHERE e.station_id = v.station_id AND e.boot = v.boot AND e.seq = v.seq
"""  # noqa: S608  # a constant
_ANNOTATE: Final = """
UPDATE device_event e SET encoding = %s, message = v.message::jsonb
  FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::text[]) AS v(station_id, boot, seq, message)
 WHERE e.station_id = v.station_id AND e.boot = v.boot AND e.seq = v.seq
"""
#: `DeviceEvent.encoding` of a frame that only its dialect can read.
VENDOR_ENCODING: Final = 3
#: Enough to cross what one reconnect brings; a longer prefix is followed with the next batch.
_PREFIX_STEP: Final = 10_000


def _columns(keys: Collection[Key]) -> tuple[str, str, str]:
    return array(k[0] for k in keys), array(k[1] for k in keys), array(k[2] for k in keys)


def _line(row: Row) -> str:
    """As COPY reads it."""
    at = "\\N" if row.at_ms is None else row.at_ms
    flag = "t" if row.replayed else "f"
    return (
        f"{row.station_id}\t{row.boot}\t{row.seq}\t{row.type}\t{at}\t{row.received_at}\t{flag}\t\\\\x{row.raw.hex()}\t"
        f"{_encoding(row.raw)}\t{row.applied_at or _MISSING}"
    )


def _encoding(raw: bytes) -> int:
    return 1 if raw[:1] in b"{ \t\r\n" else 2


def insert(session: Session, rows: Sequence[Row]) -> None:
    """Store new events. A key that exists already is a UniqueViolation: the caller has looked, under the lock.

    A few go with the session's next statement, and fail there; COPY, which is for many, is a message of its own.
    """
    if len(rows) <= FEW:
        for row in rows:
            _INSERT.later(session, **row._asdict(), encoding=_encoding(row.raw))
    else:
        with raw_cursor(session) as cursor:
            copy_lines(cursor, "device_event", _COLUMNS, [_line(row) for row in rows])


def annotate(session: Session, messages: Sequence[tuple[Key, str]]) -> None:
    """What a vendor's frame was read as (JSON), beside its bytes: the bytes alone do not say."""
    if not messages:
        return
    keys = [key for key, _ in messages]
    with raw_cursor(session) as cursor:
        cursor.execute(_ANNOTATE, (VENDOR_ENCODING, *_columns(keys), words(message for _, message in messages)))


def known(session: Session, keys: Collection[Key]) -> dict[Key, bool]:
    """Which of these are stored, and whether they are applied."""
    if not keys:
        return {}
    with raw_cursor(session) as cursor:
        cursor.execute(_KNOWN, _columns(keys))
        return {(row[0], row[1], row[2]): row[3] for row in cursor}


def waiting(session: Session, applied: Collection[Key]) -> list[Key]:
    """Stored events above the given (station, boot, applied_through) that are not applied yet."""
    if not applied:
        return []
    with raw_cursor(session) as cursor:
        cursor.execute(_WAITING, _columns(applied))
        return [(row[0], row[1], row[2]) for row in cursor]


def load(session: Session, keys: Collection[Key]) -> list[StoredEvent]:
    """The bytes of stored events, in no order."""
    if not keys:
        return []
    with raw_cursor(session) as cursor:
        cursor.execute(_LOAD, _columns(keys))
        return [StoredEvent(row[0], row[1], row[2], bytes(row[3]), row[4]) for row in cursor]


def mark_applied(session: Session, keys: Collection[Key], at: datetime | None) -> None:
    """`at` None: it could not be applied and lies in `dead_letter`."""
    if keys:
        with raw_cursor(session) as cursor:
            cursor.execute(_MARK, (at, *_columns(keys)))


def stored_above(session: Session, station_id: int, boot: int, seq: int) -> list[int]:
    """Seqs stored above `seq`, ascending, at most a bounded number."""
    query = """
    SELECT seq FROM device_event WHERE station_id = %s AND boot = %s AND seq > %s ORDER BY seq LIMIT %s
    """
    with raw_cursor(session) as cursor:
        cursor.execute(query, (station_id, boot, seq, _PREFIX_STEP))
        return [row[0] for row in cursor]
