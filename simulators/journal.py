"""The cabinet's memory of what the backend has not acknowledged yet. Bounded, as flash is."""

from collections import deque
from collections.abc import Iterable, Iterator

from msgspec import Struct

from firmware_protocol.commands import Resend
from firmware_protocol.limits import MAX_JOURNAL_RANGES
from firmware_protocol.messages import EventMessage, JournalRange


class JournalEntry(Struct, kw_only=True):
    """One event. `sent_ms`: when it was last given to the network, 0 when never."""

    boot: int
    seq: int
    at_ms: int | None
    message: EventMessage
    sent_ms: int = 0


class Journal:
    """Events in (boot, seq) order, oldest first; when full, the oldest is given up and its number is kept as lost."""

    def __init__(self, capacity: int, entries: Iterable[JournalEntry] = (), lost: Iterable[JournalRange] = ()) -> None:
        self.capacity = capacity
        self._entries = deque(entries)
        self._lost = list(lost)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[JournalEntry]:
        return iter(self._entries)

    @property
    def lost(self) -> tuple[JournalRange, ...]:
        """What overflowed and is not known to the backend yet."""
        return tuple(self._lost)

    def append(self, entry: JournalEntry) -> bool:
        """Keep `entry`; True when an older one had to go."""
        overflow = len(self._entries) >= self.capacity
        if overflow:
            gone = self._entries.popleft()
            self._lost = _merge([*self._lost, JournalRange(boot=gone.boot, first=gone.seq, last=gone.seq)])
            del self._lost[:-MAX_JOURNAL_RANGES]
        self._entries.append(entry)
        return overflow

    def acknowledge(self, boot: int, through: int) -> bool:
        """Forget events of `boot` up to `through`; True when that changed anything."""
        before = len(self._entries), len(self._lost)
        while self._entries and self._entries[0].boot == boot and self._entries[0].seq <= through:
            self._entries.popleft()
        if self._entries and self._entries[0].boot < boot:  # an older boot is still waiting in front
            kept = [entry for entry in self._entries if entry.boot != boot or entry.seq > through]
            self._entries = deque(kept)
        self._lost = [gone for gone in self._lost if gone.boot != boot or gone.last > through]
        return before != (len(self._entries), len(self._lost))

    def restamp(self, old_boot: int, new_boot: int) -> None:
        """Events of a start that turned out to carry a used boot number move to the new one."""
        for entry in self._entries:
            if entry.boot == old_boot:
                entry.boot = new_boot

    def ranges(self) -> tuple[JournalRange, ...]:
        """What is held, as `Booted.journal` lists it: the oldest ranges when there are more than fit."""
        singles = (JournalRange(boot=e.boot, first=e.seq, last=e.seq) for e in self._entries)
        return tuple(_merge(singles)[:MAX_JOURNAL_RANGES])

    def answer(self, resend: Resend, boot: int, seq: int) -> tuple[list[JournalEntry], list[JournalRange]]:
        """Events asked for that are held, and the ranges that are gone.

        `boot`, `seq`: the last event produced. What was never produced is neither held nor lost.
        """
        held: list[JournalEntry] = []
        gone: list[JournalRange] = []
        for asked in resend.ranges:
            last = min(asked.last, seq) if asked.boot == boot else asked.last
            if asked.boot > boot or asked.first > last:
                continue
            found = [e for e in self._entries if e.boot == asked.boot and asked.first <= e.seq <= last]
            held += found
            gone += _holes(JournalRange(boot=asked.boot, first=asked.first, last=last), found)
        return held, gone


def _merge(ranges: Iterable[JournalRange]) -> list[JournalRange]:
    """Neighbours joined; `ranges` come in order."""
    merged: list[JournalRange] = []
    for item in ranges:
        if merged and merged[-1].boot == item.boot and item.first <= merged[-1].last + 1:
            merged[-1] = JournalRange(boot=item.boot, first=merged[-1].first, last=max(merged[-1].last, item.last))
        else:
            merged.append(item)
    return merged


def _holes(asked: JournalRange, found: list[JournalEntry]) -> list[JournalRange]:
    """What of `asked` is not among `found` (in order), without walking a range that may be 2^63 long."""
    holes: list[JournalRange] = []
    cursor = asked.first
    for entry in found:
        if entry.seq > cursor:
            holes.append(JournalRange(boot=asked.boot, first=cursor, last=entry.seq - 1))
        cursor = entry.seq + 1
    if cursor <= asked.last:
        holes.append(JournalRange(boot=asked.boot, first=cursor, last=asked.last))
    return holes
