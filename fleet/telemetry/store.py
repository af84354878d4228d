"""Samples into the time series: each message once, rows by COPY, the banks' newest values set-based."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

from psycopg2.errors import UniqueViolation
from sqlalchemy import column, text
from sqlalchemy.orm import Session

from firmware_protocol.messages import Heartbeat, SlotSample, SlotTelemetry
from fleet.common.bulk import array, copy_binary, raw_cursor, words
from fleet.common.prepared import Prepared as Statement
from fleet.telemetry import late
from fleet.telemetry.bank_values import BankValues
from fleet.telemetry.columns import SLOT, STATION
from fleet.telemetry.rows import SLOT_COLUMNS, STATION_COLUMNS, Readings, slot_rows, station_rows
from fleet.telemetry.samples import Sample

#: In one order for all who write, so that two of them never wait for each other.
_KEYS: Final = """
INSERT INTO device_sample (station_id, boot, seq, received_at)
SELECT station_id, boot, seq, :now
  FROM unnest(CAST(:stations AS int[]), CAST(:boots AS bigint[]), CAST(:seqs AS bigint[])) AS v(station_id, boot, seq)
 ORDER BY station_id, boot, seq
"""
_NEW: Final = Statement(text(_KEYS), planned=True)
_UNLESS_KNOWN: Final = Statement(
    text(f"{_KEYS} ON CONFLICT DO NOTHING RETURNING station_id, boot, seq").columns(
        column("station_id"), column("boot"), column("seq")
    ),
    planned=True,
)
_MOST_SERIALS: Final = 500_000
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


class Written(NamedTuple):
    """The samples that were new, and what they say of slots."""

    fresh: list[Sample]
    seen: list[Readings]


class SampleStore:
    """Writes samples in the caller's transaction; remembers between batches what a serial's id is and what a bank's row
    holds, so that neither is asked or written again. One per thread.
    """

    def __init__(self, thin: Thin | None = None, banks: BankValues | None = None) -> None:
        """`banks`: shared by all threads that see samples of the same banks."""
        self._thin = thin
        self._ids: dict[str | None, int] = {}
        #: By station: the serials of its last frame, and the banks they are. Seldom another than the one before.
        self._inside: dict[int, tuple[str, list[int | None]]] = {}
        self.banks = banks or BankValues()

    def store(self, session: Session, samples: Sequence[Sample], now: datetime) -> list[Sample]:
        """`prepare` and `write` in one; the samples that were new. The banks' own rows are left to `write_banks`."""
        written = self.write(session, self.prepare(samples), now)
        self.banks.see(written.seen)
        return written.fresh

    def prepare(self, samples: Sequence[Sample]) -> Prepared:
        """All that needs no database: it is done while another thread's batch is written."""
        if len(self._ids) > _MOST_SERIALS:
            self._ids.clear()
            self._inside.clear()
        by_key = {(each.station_id, each.boot, each.seq): each for each in samples}
        readings = self._readings(by_key.values())
        return Prepared(by_key, readings, _rows(by_key.values(), readings) if self._thin is None else None)

    def write(self, session: Session, prepared: Prepared, now: datetime) -> Written:
        """`banks` is for the caller to tell, once this is committed."""
        with raw_cursor(session) as cursor:
            cursor.execute("SAVEPOINT samples")
            try:
                # With the rows that follow, in one message, and refused with them.
                _NEW.later(session, **_keys(prepared.by_key, now))
                return self._write(session, prepared, list(prepared.by_key.values()), now, _copy)
            except UniqueViolation:  # a repetition, or two samples of one instant: seldom, and worth another way
                cursor.execute("ROLLBACK TO SAVEPOINT samples")
        fresh = _once(session, prepared.by_key, now)
        again = Prepared(prepared.by_key, self._readings(fresh), None)
        return self._write(session, again, fresh, now, _copy_around)

    def write_banks(self, session: Session) -> Collection[int]:
        """Bring the newest values into the banks' rows; returns whose were due: those `banks.forget` is to be told of
        by a transaction that is not committed.
        """
        due = self.banks.due()
        self.banks.write(session, due)
        return due.keys()

    def _write(self, session: Session, prepared: Prepared, fresh: list[Sample], now: datetime, copy: Copy) -> Written:
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
        return Written(fresh, seen)

    def _readings(self, samples: Iterable[Sample]) -> list[Readings]:
        """The slots of each frame with the ids of the banks in them, as far as they are known."""
        return [
            Readings(station_id, at, message.slots, self._banks(station_id, message.slots), span_s)
            for station_id, _, _, at, message, span_s in samples
            if isinstance(message, SlotTelemetry)
        ]

    def _banks(self, station_id: int, slots: Sequence[SlotSample]) -> list[int | None]:
        serials = [slot.serial for slot in slots]
        told = "\n".join([serial or "" for serial in serials])
        known = self._inside.get(station_id)
        if known is not None and known[0] == told:
            return known[1]
        banks = list(map(self._ids.get, serials))
        if None not in banks:
            self._inside[station_id] = told, banks
        return banks

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
    return [by_key[cast("Key", row)] for row in _UNLESS_KNOWN.all(session, **_keys(by_key, now))]


def _keys(keys: Collection[Key], now: datetime) -> dict[str, Any]:
    columns = {"stations": array(k[0] for k in keys), "boots": array(k[1] for k in keys)}
    return {**columns, "seqs": array(k[2] for k in keys), "now": now}


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
