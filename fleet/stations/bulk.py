"""Set-based writes for streams of simple state, where one statement stands for thousands of events."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from sqlalchemy.orm import Session

from fleet.common.bulk import array, booleans, raw_cursor


class LockState(NamedTuple):
    """One `slot_locked` (locked) or `slot_unlocked` event."""

    station_id: int
    slot: int
    locked: bool
    boot: int
    seq: int


_APPLY: Final = """
UPDATE station_slot s
   SET locked = v.locked, lock_boot = v.boot, lock_seq = v.seq
  FROM unnest(%s::int[], %s::int[], %s::bool[], %s::bigint[], %s::bigint[]) AS v(station_id, number, locked, boot, seq)
 WHERE s.station_id = v.station_id AND s.number = v.number AND (s.lock_boot, s.lock_seq) < (v.boot, v.seq)
"""


def apply_lock_states(session: Session, rows: Iterable[LockState]) -> int:
    """Set `locked` where the event is newer than what the slot knows; the order of `rows` is nothing.

    Slots that the station does not have are left out. Returns how many slots changed.
    """
    newest: dict[tuple[int, int], LockState] = {}
    for row in rows:
        known = newest.get(row[:2])
        if known is None or known[3:] < row[3:]:
            newest[row[:2]] = row
    if not newest:
        return 0
    # In one order everywhere: two gateways then wait for each other and never in a circle.
    ordered = [newest[key] for key in sorted(newest)]
    stations, slots, locked, boots, seqs = zip(*ordered, strict=True)
    with raw_cursor(session) as cursor:
        cursor.execute(_APPLY, (array(stations), array(slots), booleans(locked), array(boots), array(seqs)))
        return int(cursor.rowcount)
