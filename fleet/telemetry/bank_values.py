"""The banks' own rows: the newest measurement of each, written seldom and only when it says something new."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import repeat
from operator import attrgetter
from threading import Lock
from typing import Final, NamedTuple

from sqlalchemy.orm import Session

from fleet.common.binary_copy import Column, Kind, packed
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
#: Frames kept until only the newest value of each bank is.
_MOST_FRAMES: Final = 1_000
#: Stations whose newest frame is kept: some 10 MB of 24 slots each.
_MOST_STATIONS: Final = 10_000
_AT: Final = attrgetter("at")
_NEVER: Final = datetime.min.replace(tzinfo=UTC)

#: When a bank was measured; its charge, cycles, health and temperature then.
Measured = tuple[datetime, float | None, float | None, float | None, float | None]


class Told(NamedTuple):
    """What is kept of a frame: columns, so that nothing of it stays among the frames to come and scatters them over the
    memory, which made each of them dearer than the one before.
    """

    at: datetime
    banks: Sequence[int | None]
    charges: Column
    cycles: Column
    healths: Column
    temperatures: Column

    @classmethod
    def of(cls, frame: Readings) -> "Told":
        slots = frame.slots
        return cls(
            frame.at,
            frame.banks,
            _column(Kind.SMALLINT, [slot.charge_pct for slot in slots]),
            _column(Kind.INTEGER, [slot.cycles for slot in slots]),
            _column(Kind.SMALLINT, [slot.health_pct for slot in slots]),
            _column(Kind.DOUBLE, [slot.temperature_c for slot in slots]),
        )


class BankValues:
    """Remembers what a bank's row holds, so that the same is not written again. For all threads of a process."""

    def __init__(self) -> None:
        self._lock = Lock()
        #: By station; and frames that were overtaken, or that name other banks than the station's next one.
        self._latest: dict[int, Told] = {}
        self._others: list[Told] = []
        self._newest: dict[int | None, Measured] = {}
        #: No frame in `_newest` is newer.
        self._through = _NEVER
        self._written: dict[int, Measured] = {}

    def see(self, readings: Iterable[Readings]) -> None:
        """A newer frame of a station's same banks takes the older one's place; what else there is, is sorted later."""
        with self._lock:
            latest, others = self._latest, self._others
            for each in readings:
                told, before = Told.of(each), latest.get(each.station_id)
                if before is not None and told.at < before.at:
                    others.append(told)
                    continue
                if before is not None and told.banks != before.banks:
                    others.append(before)
                latest[each.station_id] = told
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

    def write(self, session: Session, due: dict[int, Measured]) -> None:
        """Bring the newest values into the banks' rows: now and then, because a row a sample would cost more than the
        sample. What a crash loses comes with the next sample.
        """
        if due:
            with raw_cursor(session) as cursor:
                cursor.execute(_WRITE, _columns(due))
                self._written.update((bank, due[bank]) for (bank,) in cursor)

    def forget(self, due: Iterable[int]) -> None:
        """They were not committed after all: their next samples are written, whatever they say."""
        for bank in due:
            self._written.pop(bank, None)

    def _condense(self) -> None:
        """Of what was seen keep each bank's newest measurement: that of the newest frame to name it."""
        frames = [*self._others, *self._latest.values()]
        self._latest, self._others = {}, []
        newest = self._newest
        for at, banks, *columns in sorted(frames, key=_AT):
            measured = zip(repeat(at), *columns, strict=False)
            if at >= self._through:
                newest.update(zip(banks, measured, strict=True))
                self._through = at
                continue
            for bank, each in zip(banks, measured, strict=True):
                if bank not in newest or newest[bank][0] <= at:
                    newest[bank] = each


def _column(kind: Kind, values: Column) -> Column:
    found = packed(kind, values)
    return values if found is None else found


def _worth_writing(measured: Measured, written: Measured | None) -> bool:
    """Looked at for every bank of every frame: what is seldom so comes last."""
    if written is None:
        return True
    if measured[0] <= written[0]:
        return False
    if measured[1:4] != written[1:4]:
        return True
    return abs((measured[4] or 0.0) - (written[4] or 0.0)) >= _WARMER_C or measured[0] - written[0] > _REFRESH


def _columns(banks: dict[int, Measured]) -> tuple[str, ...]:
    order = sorted(banks)
    at, *told = zip(*(banks[bank] for bank in order), strict=True)
    return (array(order), instants(at), *map(array, told))
