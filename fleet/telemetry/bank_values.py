"""The banks' own rows: the newest measurement of each, written seldom and only when it says something new."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import repeat
from operator import attrgetter
from threading import Lock
from typing import Final

from sqlalchemy.orm import Session

from firmware_protocol.messages import SlotSample
from fleet.common.bulk import array, instants, raw_cursor
from fleet.telemetry.rows import Readings

#: A bank that a rental holds locked at this moment gets its values with a later sample. Of a charge that an event told
#: for the same instant or a later one, the event has the last word.
_WRITE: Final = """
UPDATE power_bank b
   SET charge_pct = CASE WHEN v.charge IS NOT NULL AND (b.charge_at IS NULL OR b.charge_at < v.at)
                         THEN v.charge ELSE b.charge_pct END,
       charge_at = CASE WHEN v.charge IS NOT NULL AND (b.charge_at IS NULL OR b.charge_at < v.at)
                        THEN v.at ELSE b.charge_at END,
       cycles = coalesce(v.cycles, b.cycles),
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
#: Frames kept as they came, until only the newest value of each bank is: some 8 MB.
_MOST_FRAMES: Final = 1_000
_AT: Final = attrgetter("at")
_NEVER: Final = datetime.min.replace(tzinfo=UTC)

#: When, and what a bank measured then.
Measured = tuple[datetime, SlotSample]


class BankValues:
    """Remembers what a bank's row holds, so that the same is not written again. For all threads of a process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._frames: list[Readings] = []
        self._newest: dict[int | None, Measured] = {}
        #: No frame in `_newest` is newer.
        self._through = _NEVER
        self._written: dict[int, Measured] = {}

    def see(self, readings: Iterable[Readings]) -> None:
        with self._lock:
            self._frames += readings
            if len(self._frames) > _MOST_FRAMES:
                self._condense()

    def due(self) -> dict[int, Measured]:
        """What the rows should learn of all that was seen since the last call. Needs no database."""
        with self._lock:
            self._condense()
            newest, self._newest = self._newest, {}
        written = self._written.get
        return {
            bank: measured
            for bank, measured in newest.items()
            if bank is not None and _worth_writing(measured, written(bank))
        }

    def write(self, session: Session, due: dict[int, Measured]) -> int:
        """Bring the newest values into the banks' rows: now and then, because a row a sample would cost more than the
        sample. Returns how many banks were due. What a crash loses comes with the next sample.
        """
        if due:
            with raw_cursor(session) as cursor:
                cursor.execute(_WRITE, _columns(due))
                self._written.update((bank, due[bank]) for (bank,) in cursor)
        return len(due)

    def forget(self, due: Iterable[int]) -> None:
        """They were not committed after all: their next samples are written, whatever they say."""
        for bank in due:
            self._written.pop(bank, None)

    def _condense(self) -> None:
        """Of what was seen keep each bank's newest measurement: that of the newest frame to name it."""
        frames, self._frames = self._frames, []
        newest = self._newest
        for _, at, slots, banks, _ in sorted(frames, key=_AT):
            if at >= self._through:
                newest.update(zip(banks, zip(repeat(at), slots, strict=False), strict=True))
                self._through = at
                continue
            for bank, slot in zip(banks, slots, strict=True):
                if bank not in newest or newest[bank][0] <= at:
                    newest[bank] = (at, slot)


def _worth_writing(measured: Measured, written: Measured | None) -> bool:
    """Looked at for every bank of every frame: what is seldom so comes last."""
    if written is None:
        return True
    at, new = measured
    before, old = written
    if at <= before:
        return False
    if new.charge_pct != old.charge_pct or new.cycles != old.cycles or new.health_pct != old.health_pct:
        return True
    return abs((new.temperature_c or 0.0) - (old.temperature_c or 0.0)) >= _WARMER_C or at - before > _REFRESH


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
