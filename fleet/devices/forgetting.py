"""Events past their time leave the inbox, once nothing of them can be asked for any more (decision 0201)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from fleet.devices import dead_letters

#: Stations in one transaction, and events of each: what a run locks and writes at once stays small.
STATIONS: Final = 100
OF_EACH: Final = 1_000

#: The first event of a station is its oldest: one look in the primary key for each station.
_DUE: Final = text("""
SELECT s.id FROM station s, LATERAL (
    SELECT received_at FROM device_event WHERE station_id = s.id ORDER BY boot, seq LIMIT 1) oldest
 WHERE s.id > :after AND oldest.received_at < :before ORDER BY s.id LIMIT :most
""")
#: What is settled of a boot that ended so long ago: holes in it will not fill any more.
_SETTLE: Final = text("""
UPDATE device_stream s SET lost = '[]', acked_through = greatest(s.acked_through, s.seen_through)
  FROM (SELECT station_id, boot FROM device_stream
         WHERE station_id = ANY(CAST(:ids AS int[])) AND closed_at < :before
               AND (lost <> '[]' OR acked_through < seen_through)
         ORDER BY station_id, boot FOR UPDATE SKIP LOCKED) ended
 WHERE s.station_id = ended.station_id AND s.boot = ended.boot
""")
#: Up to `acked_through` the stream itself knows that an event was here, save in ranges that were declared lost.
_FORGET: Final = text("""
DELETE FROM device_event e USING (
    SELECT o.station_id, o.boot, o.seq
      FROM unnest(CAST(:ids AS int[])) AS i(id), LATERAL (
          SELECT * FROM device_event WHERE station_id = i.id ORDER BY boot, seq LIMIT :of_each) o
      JOIN device_stream s ON s.station_id = o.station_id AND s.boot = o.boot
     WHERE o.received_at < :before AND (o.applied_at IS NOT NULL OR o.received_at < :unapplied_before)
           AND o.seq <= least(s.acked_through, s.applied_through)
           AND NOT EXISTS (SELECT 1 FROM jsonb_array_elements(s.lost) AS lost(range)
                            WHERE o.seq BETWEEN (lost.range ->> 0)::bigint AND (lost.range ->> 1)::bigint)) gone
 WHERE e.station_id = gone.station_id AND e.boot = gone.boot AND e.seq = gone.seq
""")


def due(session: Session, before: datetime, *, after: int = 0) -> Sequence[int]:
    """The next stations (ids, rising, above `after`) that have an event from before then; empty: no more."""
    return session.scalars(_DUE, {"after": after, "before": before, "most": STATIONS}).all()


def forget(session: Session, stations: Sequence[int], before: datetime, now: datetime) -> int:
    """Delete events of these stations that came before then; returns how many.

    At most OF_EACH of each station. A repetition of one of them is still known for one by its stream. What waits for
    its turn stays, and what could not be applied as long as its dead letter may be replayed.
    """
    which: dict[str, object] = {"ids": list(stations), "before": before}
    session.execute(_SETTLE, which)
    unapplied = min(before, now - dead_letters.KEPT)
    deleted = session.execute(_FORGET, {**which, "unapplied_before": unapplied, "of_each": OF_EACH})
    return int(deleted.rowcount)  # type: ignore[attr-defined]  # a DELETE gives a CursorResult
