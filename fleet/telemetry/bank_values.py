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
  FROM (SELECT told.*
          FROM unnest(%s::int[], %s::timestamptz[], %s::int[], %s::int[], %s::int[], %s::real[])
                   AS told(id, at, charge, cycles, health, temperature)
          JOIN power_bank p ON p.id = told.id AND (p.sampled_at IS NULL OR p.sampled_at < told.at)
         ORDER BY p.id FOR NO KEY UPDATE OF p SKIP LOCKED) v
 WHERE b.id = v.id
RETURNING b.id
"""
#: Values that did not change are written this often all the same, so that `sampled_at` says how fresh they are.
_REFRESH: Final = timedelta(minutes=10)
#: A bank that grows hot must not wait for that: rules look at its row.
_WARMER_C: Final = 2.0
#: Frames kept as they came, until only the newest value of each bank is: some 8 MB.
_MOST_FRAMES: Final = 1_000
#: Stations whose newest frame is kept as it came.
_MOST_STATIONS: Final = 10_000
_AT: Final = attrgetter("at")
_NEVER: Final = datetime.min.replace(tzinfo=UTC)

#: When, and what a bank measured then.
Measured = tuple[datetime, SlotSample]


class BankValues:
    """Remembers what a bank's row holds, so that the same is not written again. For all threads of a process."""

    def __init__(self) -> None:
        self._lock = Lock()
        #: By station; and frames that were overtaken, or that name other banks than the station's next one.
        self._latest: dict[int, Readings] = {}
        self._others: list[Readings] = []
        self._newest: dict[int | None, Measured] = {}
        #: No frame in `_newest` is newer.
        self._through = _NEVER
        self._written: dict[int, Measured] = {}

    def see(self, readings: Iterable[Readings]) -> None:
        """A newer frame of a station's same banks takes the older one's place; what else there is, is sorted later."""
        with self._lock:
            latest, others = self._latest, self._others
            for each in readings:
                before = latest.get(each.station_id)
                if before is not None and each.at < before.at:
                    others.append(each)
                    continue
                if before is not None and each.banks != before.banks:
                    others.append(before)
                latest[each.station_id] = each
            if len(others) > _MOST_FRAMES or len(latest) > _MOST_STATIONS:
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
        frames = [*self._others, *self._latest.values()]
        self._latest, self._others = {}, []
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
    return (
        array(order),
        instants(banks[bank][0] for bank in order),
        array(slot.charge_pct for slot in slots),
        array(slot.cycles for slot in slots),
        array(slot.health_pct for slot in slots),
        array(slot.temperature_c for slot in slots),
    )
