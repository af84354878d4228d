"""Samples into the time series: each message once, rows by COPY, the banks' newest values set-based."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Final, NamedTuple

from psycopg2.errors import UniqueViolation
from sqlalchemy.orm import Session

from firmware_protocol.messages import Heartbeat, SlotTelemetry
from fleet.common.bulk import array, copy_binary, raw_cursor, words
from fleet.telemetry import late
from fleet.telemetry.bank_values import BankValues
from fleet.telemetry.columns import SLOT, STATION
from fleet.telemetry.rows import (
    KEY_COLUMNS,
    SLOT_COLUMNS,
    STATION_COLUMNS,
    Readings,
    key_rows,
    slot_rows,
    station_rows,
)
from fleet.telemetry.samples import Sample

_ONCE: Final = """
INSERT INTO device_sample (station_id, boot, seq, received_at)
SELECT station_id, boot, seq, %s FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS v(station_id, boot, seq)
 ORDER BY station_id, boot, seq
ON CONFLICT DO NOTHING RETURNING station_id, boot, seq
"""
_MOST_SERIALS: Final = 500_000
_SERIAL: Final = attrgetter("serial")
#: Station, boot, seq.
Key = tuple[int, int, int]
#: What becomes a row: `fleet.telemetry.deadband.Deadband.thin`, or everything when there is none.
Thin = Callable[[Session, Sequence[Sample]], Sequence[Sample]]


Copy = Callable[[Session, str, Iterable[str], bytes], None]


class Rows(NamedTuple):
    """For COPY into either table."""

    slots: bytes
    beats: bytes


class Prepared(NamedTuple):
    """A batch, each message once. `rows`: what it becomes if all of it is new, known and stored; None with a deadband,
    which decides in the transaction.
    """

    by_key: dict[Key, Sample]
    readings: list[Readings]
    rows: Rows | None


class SampleStore:
    """Writes samples in the caller's transaction; remembers between batches what a serial's id is and what a bank's row
    holds, so that neither is asked or written again. One per thread.
    """

    def __init__(self, thin: Thin | None = None, banks: BankValues | None = None) -> None:
        """`banks`: shared by all threads that see samples of the same banks."""
        self._thin = thin
        self._ids: dict[str | None, int] = {}
        self.banks = banks or BankValues()

    def store(self, session: Session, samples: Sequence[Sample], now: datetime) -> list[Sample]:
        """`prepare` and `write` in one."""
        return self.write(session, self.prepare(samples), now)

    def prepare(self, samples: Sequence[Sample]) -> Prepared:
        """All that needs no database: it is done while another thread's batch is written."""
        if len(self._ids) > _MOST_SERIALS:
            self._ids.clear()
        by_key = {(each.station_id, each.boot, each.seq): each for each in samples}
        readings = self._readings(by_key.values())
        return Prepared(by_key, readings, _rows(by_key.values(), readings) if self._thin is None else None)

    def write(self, session: Session, prepared: Prepared, now: datetime) -> list[Sample]:
        """Returns the samples that were new. The banks' own rows are left to `write_banks`."""
        with raw_cursor(session) as cursor:
            cursor.execute("SAVEPOINT samples")
            try:
                # In one order for all who write, so that two of them never wait for each other.
                keys = key_rows(sorted(prepared.by_key), now)
                copy_binary(cursor, "device_sample", KEY_COLUMNS, keys)
                return self._write(session, prepared, list(prepared.by_key.values()), now, _copy)
            except UniqueViolation:  # a repetition, or two samples of one instant: seldom, and worth another way
                cursor.execute("ROLLBACK TO SAVEPOINT samples")
        fresh = _once(session, prepared.by_key, now)
        again = Prepared(prepared.by_key, self._readings(fresh), None)
        return self._write(session, again, fresh, now, _copy_around)

    def write_banks(self, session: Session) -> int:
        """Bring the newest values into the banks' rows; returns how many were due."""
        return self.banks.write(session, self.banks.due())

    def _write(
        self, session: Session, prepared: Prepared, fresh: list[Sample], now: datetime, copy: Copy
    ) -> list[Sample]:
        readings, rows = prepared.readings, prepared.rows
        if self._learn(session, readings):
            readings, rows = self._readings(fresh), None
        seen, worth = readings, fresh
        if self._thin is not None:
            worth = list(self._thin(session, fresh))
            readings = self._readings(worth)
        late.note(session, worth, now)
        slots, beats = rows or _rows(worth, readings)
        if beats:
            copy(session, STATION.name, STATION_COLUMNS, beats)
        if slots:
            copy(session, SLOT.name, SLOT_COLUMNS, slots)
        self.banks.see(seen)
        return fresh

    def _readings(self, samples: Iterable[Sample]) -> list[Readings]:
        """The slots of each frame with the ids of the banks in them, as far as they are known."""
        find = self._ids.get
        return [
            Readings(station_id, at, message.slots, list(map(find, map(_SERIAL, message.slots))), span_s)
            for station_id, _, _, at, message, span_s in samples
            if isinstance(message, SlotTelemetry)
        ]

    def _learn(self, session: Session, readings: Iterable[Readings]) -> bool:
        """Look serials up that are not known yet; whether any of them is a bank's."""
        unknown = {
            slot.serial
            for frame in readings
            if None in frame.banks
            for slot, bank in zip(frame.slots, frame.banks, strict=True)
            if bank is None and slot.serial is not None
        }
        if not unknown:
            return False
        with raw_cursor(session) as cursor:
            cursor.execute("SELECT serial, id FROM power_bank WHERE serial = ANY(%s::text[])", (words(unknown),))
            found = cursor.fetchall()
        self._ids.update(found)
        return bool(found)


def _rows(samples: Iterable[Sample], readings: Iterable[Readings]) -> Rows:
    beats = [
        (station_id, at, message, span_s)
        for station_id, _, _, at, message, span_s in samples
        if isinstance(message, Heartbeat)
    ]
    return Rows(slot_rows(readings), station_rows(beats))


def _once(session: Session, by_key: dict[Key, Sample], now: datetime) -> list[Sample]:
    """Those never seen before."""
    with raw_cursor(session) as cursor:
        cursor.execute(
            _ONCE, (now, array(k[0] for k in by_key), array(k[1] for k in by_key), array(k[2] for k in by_key))
        )
        return [by_key[row] for row in cursor]


def _copy(session: Session, table: str, columns: Iterable[str], rows: bytes) -> None:
    with raw_cursor(session) as cursor:
        copy_binary(cursor, table, columns, rows)


def _copy_around(session: Session, table: str, columns: Iterable[str], rows: bytes) -> None:
    """Of two samples of one instant, which a clock that was set back can make, one is left."""
    with raw_cursor(session) as cursor:
        cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS {table}_stage (LIKE {table}) ON COMMIT DELETE ROWS")
        copy_binary(cursor, f"{table}_stage", columns, rows)
        cursor.execute(f"INSERT INTO {table} SELECT * FROM {table}_stage ON CONFLICT DO NOTHING")  # noqa: S608
        cursor.execute(f"TRUNCATE {table}_stage")
