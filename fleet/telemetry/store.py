"""Samples into the time series: each message once, rows by COPY, the banks' newest values set-based."""

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import chain
from operator import attrgetter
from typing import Final

from psycopg2.errors import UniqueViolation
from sqlalchemy.orm import Session

from firmware_protocol.messages import Heartbeat, SlotTelemetry
from fleet.common.bulk import array, copy_text, raw_cursor, words
from fleet.telemetry import late
from fleet.telemetry.bank_values import BankValues
from fleet.telemetry.columns import SLOT, STATION
from fleet.telemetry.rows import COPY_OPTIONS, SLOT_COLUMNS, STATION_COLUMNS, Readings, slot_rows, station_rows
from fleet.telemetry.samples import Sample

_ONCE: Final = """
INSERT INTO device_sample (station_id, boot, seq, received_at)
SELECT station_id, boot, seq, %s FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS v(station_id, boot, seq)
 ORDER BY station_id, boot, seq
ON CONFLICT DO NOTHING RETURNING station_id, boot, seq
"""
_MOST_SERIALS: Final = 500_000
_SERIAL: Final = attrgetter("serial")


#: What becomes a row: `fleet.telemetry.deadband.Deadband.thin`, or everything when there is none.
Thin = Callable[[Session, Sequence[Sample]], Sequence[Sample]]


class SampleStore:
    """Writes samples in the caller's transaction; remembers between batches what a serial's id is and what a bank's row
    holds, so that neither is asked or written again. One per thread.
    """

    def __init__(self, thin: Thin | None = None) -> None:
        self._thin = thin
        self._ids: dict[str | None, int] = {}
        self._banks = BankValues()

    def store(self, session: Session, samples: Sequence[Sample], now: datetime) -> list[Sample]:
        """Returns the samples that were new. The banks' own rows are left to `write_banks`."""
        fresh = _once(session, samples, now)
        readings = self._readings(session, fresh)
        self._banks.see(readings)
        if self._thin is None:
            worth: Sequence[Sample] = fresh
        else:
            worth = self._thin(session, fresh)
            readings = self._readings(session, worth)
        late.note(session, worth, now)
        beats = [
            (row.station_id, row.at, row.message, row.span_s) for row in worth if isinstance(row.message, Heartbeat)
        ]
        if beats:
            _copy(session, STATION.name, STATION_COLUMNS, station_rows(beats))
        if readings:
            _copy(session, SLOT.name, SLOT_COLUMNS, slot_rows(readings))
        return fresh

    def write_banks(self, session: Session) -> int:
        """Bring the newest values into the banks' rows; returns how many were due."""
        return self._banks.write(session)

    def _readings(self, session: Session, samples: Sequence[Sample]) -> list[Readings]:
        """The slots of each frame with the ids of the banks in them."""
        frames = [(each, each.message.slots) for each in samples if isinstance(each.message, SlotTelemetry)]
        serials = [list(map(_SERIAL, slots)) for _, slots in frames]
        self._learn(session, set(chain.from_iterable(serials)))
        find = self._ids.get
        return [
            Readings(each.station_id, each.at, slots, list(map(find, named)), each.span_s)
            for (each, slots), named in zip(frames, serials, strict=True)
        ]

    def _learn(self, session: Session, named: set[str | None]) -> None:
        unknown = sorted(serial for serial in named - self._ids.keys() if serial is not None)
        if not unknown:
            return
        if len(self._ids) > _MOST_SERIALS:
            self._ids.clear()
            unknown = sorted(serial for serial in named if serial is not None)
        with raw_cursor(session) as cursor:
            cursor.execute("SELECT serial, id FROM power_bank WHERE serial = ANY(%s::text[])", (words(unknown),))
            self._ids.update(cursor.fetchall())


def _once(session: Session, samples: Sequence[Sample], now: datetime) -> list[Sample]:
    """Those never seen before, each once."""
    by_key = {(each.station_id, each.boot, each.seq): each for each in samples}
    with raw_cursor(session) as cursor:
        cursor.execute(
            _ONCE, (now, array(k[0] for k in by_key), array(k[1] for k in by_key), array(k[2] for k in by_key))
        )
        return [by_key[row] for row in cursor.fetchall()]


def _copy(session: Session, table: str, columns: Sequence[str], rows: bytes) -> None:
    """Of two samples of one instant, which a clock that was set back can make, one is left."""
    with raw_cursor(session) as cursor:
        cursor.execute("SAVEPOINT rows")
        try:
            copy_text(cursor, table, columns, rows, COPY_OPTIONS)
        except UniqueViolation:
            cursor.execute("ROLLBACK TO SAVEPOINT rows")
            cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS {table}_stage (LIKE {table}) ON COMMIT DELETE ROWS")
            copy_text(cursor, f"{table}_stage", columns, rows, COPY_OPTIONS)
            cursor.execute(f"INSERT INTO {table} SELECT * FROM {table}_stage ON CONFLICT DO NOTHING")  # noqa: S608
