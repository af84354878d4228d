"""In which order events are applied: pure arithmetic over (boot, seq). See decision 0061.

A `Cursor` mirrors one `device_stream` row while its lock is held. `waiting` sets hold the seqs of one boot that are
stored and not yet applied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

#: Live messages can wait in the broker, so the smallest difference seen is the best one. Only a difference larger by
#: this much means that the cabinet's clock was set back.
CLOCK_SET_BACK_MS: Final = 3_600_000

Range = tuple[int, int]


@dataclass(slots=True)
class Cursor:
    station_id: int
    boot: int
    acked: int = 0
    applied: int = 0
    seen: int = 0
    last_seq: int | None = None
    offset_ms: int | None = None
    gap_since: datetime | None = None
    resend_asked_at: datetime | None = None
    closed_at: datetime | None = None
    lost: list[list[int]] = field(default_factory=list)

    @property
    def level(self) -> bool:
        """Nothing waits and nothing is expected of an earlier boot: the next event may simply follow."""
        return self.applied == self.seen and self.last_seq is None

    def follow(self, seq: int) -> None:
        """`seq` came right after `seen` of a level cursor. A hole that was given up still holds back `acked`."""
        if self.acked == self.applied:
            self.acked = seq
        self.applied = self.seen = seq

    def is_lost(self, seq: int) -> bool:
        return any(first <= seq <= last for first, last in self.lost)

    def declare_lost(self, first: int, last: int) -> None:
        """Nobody waits for `first`..`last` any more."""
        if first > last:
            return
        ranges = sorted([*self.lost, [first, last]])
        merged = [ranges[0][:]]
        for start, end in ranges[1:]:
            if start <= merged[-1][1] + 1:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        self.lost = merged

    def observe_clock(self, at_ms: int | None, received_ms: int) -> None:
        """Learn the clock's difference from a live message."""
        if at_ms is None:
            return
        measured = received_ms - at_ms
        known = self.offset_ms
        if known is None or measured < known or measured - known > CLOCK_SET_BACK_MS:
            self.offset_ms = measured


def take_ready(cursor: Cursor, waiting: set[int]) -> list[int]:
    """Take from `waiting` what may be applied now, in order; what is declared lost is stepped over."""
    ready: list[int] = []
    while True:
        following = cursor.applied + 1
        if following in waiting:
            waiting.discard(following)
            ready.append(following)
            cursor.applied = following
            continue
        end = next((last for first, last in cursor.lost if first <= following <= last), None)
        if end is None:
            cursor.seen = max(cursor.seen, cursor.applied)
            return ready
        stored_inside = [seq for seq in waiting if seq <= end]
        cursor.applied = min(stored_inside) - 1 if stored_inside else end


def release(cursors: Sequence[Cursor], waiting: Mapping[int, set[int]], now: datetime) -> list[tuple[int, int]]:
    """All (boot, seq) of one station that may be applied now, in order.

    `cursors` are the station's open streams by rising boot; `waiting` has a set for each of their boots. A boot is
    closed when it is complete and a later one exists; until then it holds back the later ones, and `gap_since` says
    since when, counted anew with every step forward.
    """
    ready: list[tuple[int, int]] = []
    for index, cursor in enumerate(cursors):
        own = waiting[cursor.boot]
        before = cursor.applied
        ready += [(cursor.boot, seq) for seq in take_ready(cursor, own)]
        later = cursors[index + 1 :]
        if later and not own and cursor.last_seq is not None and cursor.applied >= cursor.last_seq:
            cursor.closed_at, cursor.gap_since, cursor.resend_asked_at = now, None, None
            continue
        if not own and not any(waiting[each.boot] for each in later):
            cursor.gap_since, cursor.resend_asked_at = None, None
        elif cursor.gap_since is None or cursor.applied != before:
            cursor.gap_since, cursor.resend_asked_at = now, None
        return ready
    return ready


def give_up(cursor: Cursor, waiting: set[int]) -> None:
    """Stop waiting: step to the next stored event, or to the end of the boot when none is stored."""
    if waiting:
        cursor.applied = min(waiting) - 1
        return
    cursor.last_seq = max(cursor.last_seq or 0, cursor.seen, cursor.applied)
    cursor.applied = cursor.last_seq


def missing(cursor: Cursor, waiting: set[int], limit: int) -> list[Range]:
    """Ranges that must arrive before the cursor can move on, at most `limit`, oldest first."""
    present = sorted({seq for seq in waiting if seq > cursor.applied})
    end = max(cursor.last_seq or 0, present[-1] if present else 0)
    stops = [
        *((seq, seq) for seq in present),
        *((a, b) for a, b in cursor.lost if b > cursor.applied),
        (end + 1, end + 1),
    ]
    found: list[Range] = []
    following = cursor.applied + 1
    for first, last in sorted(stops):
        if first > following:
            found.append((following, min(first - 1, end)))
        following = max(following, last + 1)
    return [each for each in found if each[0] <= each[1]][:limit]


def follow_acked(cursor: Cursor, stored: Sequence[int]) -> None:
    """Move `acked` over what is stored (seqs above it, ascending) or declared lost, up to the first hole."""
    acked = cursor.acked
    for seq in [*stored, None]:
        while (end := next((last for first, last in cursor.lost if first <= acked + 1 <= last), None)) is not None:
            acked = end
        if seq is None or seq > acked + 1:
            break
        acked = max(acked, seq)
    cursor.acked = acked


def declare_journal(cursor: Cursor, held: Sequence[Range], *, current: bool) -> None:
    """A cabinet has booted and said what it still holds of this boot (`held`, ascending; empty: nothing).

    What is neither stored nor held will never come. `current` is the boot that speaks: it will write more.
    """
    following = cursor.acked + 1
    for first, last in held:
        cursor.declare_lost(following, first - 1)
        following = max(following, last + 1)
    end = max(cursor.seen, held[-1][1] if held else 0)
    cursor.declare_lost(following, cursor.seen)
    if not current:
        cursor.last_seq = max(end, cursor.last_seq or 0)
