"""The banks' own rows: the newest measurement of each, written seldom and only when it says something new."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from operator import attrgetter
from threading import Lock
from typing import Final

from sqlalchemy.orm import Session

from firmware_protocol.messages import SlotSample
from fleet.common.bulk import array, instants, raw_cursor
from fleet.telemetry.rows import Readings

#: A bank that a rental holds locked at this moment gets its values with a later sample.
_WRITE: Final = """
UPDATE power_bank b
   SET charge_pct = coalesce(v.charge, b.charge_pct), cycles = coalesce(v.cycles, b.cycles),
       health_pct = coalesce(v.health, b.health_pct), temperature_c = coalesce(v.temperature, b.temperature_c),
       sampled_at = v.at
  FROM (SELECT b.id FROM power_bank b WHERE b.id = ANY(%s::int[]) ORDER BY b.id FOR NO KEY UPDATE SKIP LOCKED) free,
       unnest(%s::int[], %s::timestamptz[], %s::int[], %s::int[], %s::int[], %s::real[])
           AS v(id, at, charge, cycles, health, temperature)
 WHERE b.id = free.id AND b.id = v.id AND (b.sampled_at IS NULL OR b.sampled_at < v.at)
RETURNING b.id
"""
#: Values that did not change are written this often all the same, so that `sampled_at` says how fresh they are.
_REFRESH: Final = timedelta(minutes=10)
#: A bank that grows hot must not wait for that: rules look at its row.
_WARMER_C: Final = 2.0
#: Frames kept until they are looked at: some 40 MB.
_MOST_FRAMES: Final = 5_000
_AT: Final = attrgetter("at")

#: When, and what a bank measured then.
Measured = tuple[datetime, SlotSample]


class BankValues:
    """Remembers what a bank's row holds, so that the same is not written again. For all threads of a process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._frames: list[Readings] = []
        self._written: dict[int, Measured] = {}

    @property
    def crowded(self) -> bool:
        """So much has been seen that it should be written before its time."""
        return len(self._frames) > _MOST_FRAMES

    def see(self, readings: Iterable[Readings]) -> None:
        with self._lock:
            self._frames += readings

    def due(self) -> dict[int, Measured]:
        """What the rows should learn of all that was seen since the last call. Needs no database."""
        with self._lock:
            frames, self._frames = self._frames, []
        return {bank: measured for bank, measured in _newest(frames) if self._worth_writing(bank, measured)}

    def write(self, session: Session, due: dict[int, Measured]) -> int:
        """Bring the newest values into the banks' rows: now and then, because a row a sample would cost more than the
        sample. Returns how many banks were due. What a crash loses comes with the next sample.
        """
        if due:
            with raw_cursor(session) as cursor:
                cursor.execute(_WRITE, _columns(due))
                self._written.update((bank, due[bank]) for (bank,) in cursor)
        return len(due)

    def _worth_writing(self, bank: int, measured: Measured) -> bool:
        written = self._written.get(bank)
        if written is None or measured[0] - written[0] > _REFRESH:
            return True
        if measured[0] <= written[0]:
            return False
        new, old = measured[1], written[1]
        if abs((new.temperature_c or 0.0) - (old.temperature_c or 0.0)) >= _WARMER_C:
            return True
        return (new.charge_pct, new.cycles, new.health_pct) != (old.charge_pct, old.cycles, old.health_pct)


def _newest(frames: Iterable[Readings]) -> Iterator[tuple[int, Measured]]:
    """Each bank's newest measurement. Sorted by time, the last frame to name a bank wins."""
    slots: dict[int | None, SlotSample] = {}
    instants_: dict[int | None, datetime] = {}
    for frame in sorted(frames, key=_AT):
        slots.update(zip(frame.banks, frame.slots, strict=True))
        instants_.update(dict.fromkeys(frame.banks, frame.at))
    for bank, slot in slots.items():
        if bank is not None:
            yield bank, (instants_[bank], slot)


def _columns(banks: dict[int, Measured]) -> tuple[str, ...]:
    order = sorted(banks)
    slots = [banks[bank][1] for bank in order]
    ids = array(order)
    return (
        ids,
        ids,
        instants(banks[bank][0] for bank in order),
        array(slot.charge_pct for slot in slots),
        array(slot.cycles for slot in slots),
        array(slot.health_pct for slot in slots),
        array(slot.temperature_c for slot in slots),
    )
