"""`device_stream` rows: created, locked and written back as `Cursor`s.

Lock order everywhere: station rows first (only to create streams or to change presence), then streams by (station,
boot).
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import column, text
from sqlalchemy.orm import Session

from fleet.common.bulk import array, instants, raw_cursor, words
from fleet.common.prepared import Prepared
from fleet.devices.cursor import Cursor

Key = tuple[int, int]

_NAMES: Final = (
    "station_id",
    "boot",
    "acked_through",
    "applied_through",
    "seen_through",
    "last_seq",
    "clock_offset_ms",
    "gap_since",
    "resend_asked_at",
    "closed_at",
    "lost",
)
_COLUMNS: Final = f"{', '.join(_NAMES[:-1])}, CASE WHEN lost <> '[]' THEN CAST(lost AS text) END"
_LOCK_STATIONS: Final = "SELECT id FROM station WHERE id = ANY(%s::int[]) ORDER BY id FOR NO KEY UPDATE"
_CREATE: Final = """
INSERT INTO device_stream (station_id, boot)
SELECT * FROM unnest(%s::int[], %s::bigint[]) ON CONFLICT DO NOTHING
"""
_LOCK_OPEN: Final = Prepared(
    text(f"""
SELECT {_COLUMNS} FROM device_stream WHERE station_id = ANY(CAST(:ids AS int[])) AND closed_at IS NULL
 ORDER BY station_id, boot FOR UPDATE
""").columns(*(column(name) for name in _NAMES)),  # noqa: S608  # a constant
    planned=True,
)
_LOCK_NAMED: Final = f"""
SELECT {_COLUMNS} FROM device_stream
 WHERE (station_id, boot) IN (SELECT * FROM unnest(%s::int[], %s::bigint[])) ORDER BY station_id, boot FOR UPDATE
"""  # noqa: S608  # a constant
_ADVANCE: Final = Prepared(
    text("""
UPDATE device_stream s
   SET acked_through = v.acked, applied_through = v.seq, seen_through = v.seq, clock_offset_ms = v.clock_offset_ms
  FROM unnest(CAST(:ids AS int[]), CAST(:boots AS bigint[]), CAST(:acked AS bigint[]), CAST(:seen AS bigint[]),
              CAST(:offsets AS bigint[]))
       AS v(station_id, boot, acked, seq, clock_offset_ms)
 WHERE s.station_id = v.station_id AND s.boot = v.boot
"""),
    planned=True,
)
_SAVE: Final = """
UPDATE device_stream s
   SET acked_through = v.acked, applied_through = v.applied, seen_through = v.seen, last_seq = v.last_seq,
       clock_offset_ms = v.clock_offset_ms, gap_since = v.gap_since, resend_asked_at = v.resend_asked_at,
       closed_at = v.closed_at, lost = v.lost::jsonb
  FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
              %s::timestamptz[], %s::timestamptz[], %s::timestamptz[], %s::text[])
       AS v(station_id, boot, acked, applied, seen, last_seq, clock_offset_ms, gap_since, resend_asked_at, closed_at,
            lost)
 WHERE s.station_id = v.station_id AND s.boot = v.boot
"""


def lock_stations(session: Session, station_ids: Collection[int]) -> None:
    """Serialize with everybody who creates streams or changes the presence of these stations."""
    if station_ids:
        with raw_cursor(session) as cursor:
            cursor.execute(_LOCK_STATIONS, (array(station_ids),))


def create(session: Session, keys: Iterable[Key]) -> None:
    """Make streams that do not exist yet; their stations must be locked."""
    ordered = sorted(set(keys))
    if ordered:
        with raw_cursor(session) as cursor:
            cursor.execute(_CREATE, (array(k[0] for k in ordered), array(k[1] for k in ordered)))


def lock_open(session: Session, station_ids: Collection[int]) -> dict[int, list[Cursor]]:
    """The open streams of these stations by rising boot, locked."""
    found: dict[int, list[Cursor]] = {}
    for row in _LOCK_OPEN.all(session, ids=array(station_ids)):
        found.setdefault(row[0], []).append(_cursor(row))
    return found


def lock_named(session: Session, keys: Collection[Key]) -> dict[Key, Cursor]:
    """Single streams, open or closed, locked."""
    if not keys:
        return {}
    with raw_cursor(session) as cursor:
        cursor.execute(_LOCK_NAMED, (array(k[0] for k in keys), array(k[1] for k in keys)))
        return {(row[0], row[1]): _cursor(row) for row in cursor}


def _cursor(row: tuple[Any, ...]) -> Cursor:
    cursor = Cursor(*row[:-1])
    if row[-1]:  # nearly all have no losses: these cost no JSON
        cursor.lost = json.loads(row[-1])
    return cursor


def save_level(session: Session, cursors: Sequence[Cursor]) -> None:
    """Write cursors that only moved on and are level: the usual case."""
    if not cursors:
        return
    _ADVANCE.later(
        session,
        certain=True,  # the rows are locked
        ids=array(c.station_id for c in cursors),
        boots=array(c.boot for c in cursors),
        acked=array(c.acked for c in cursors),
        seen=array(c.seen for c in cursors),
        offsets=array(c.offset_ms for c in cursors),
    )


def save(session: Session, cursors: Sequence[Cursor]) -> None:
    """Write cursors whole."""
    if not cursors:
        return
    with raw_cursor(session) as cursor:
        cursor.execute(_SAVE, _whole(cursors))


def _whole(cursors: Sequence[Cursor]) -> tuple[str, ...]:
    return (
        array(c.station_id for c in cursors),
        array(c.boot for c in cursors),
        array(c.acked for c in cursors),
        array(c.applied for c in cursors),
        array(c.seen for c in cursors),
        array(c.last_seq for c in cursors),
        array(c.offset_ms for c in cursors),
        instants(c.gap_since for c in cursors),
        instants(c.resend_asked_at for c in cursors),
        instants(c.closed_at for c in cursors),
        words(json.dumps(c.lost) for c in cursors),
    )


def highest_boots(session: Session, station_ids: Collection[int]) -> Mapping[int, Sequence[int]]:
    """The two highest boots known of each station, highest first."""
    query = """
    SELECT s.id, b.boot FROM unnest(%s::int[]) AS s(id), LATERAL (
        SELECT boot FROM device_stream WHERE station_id = s.id ORDER BY boot DESC LIMIT 2) b
    """
    found: dict[int, list[int]] = {}
    with raw_cursor(session) as cursor:
        cursor.execute(query, (array(station_ids),))
        rows: list[Any] = cursor.fetchall()
    for station_id, boot in rows:
        found.setdefault(station_id, []).append(boot)
    return found
