"""Samples into the time series: each message once, rows by COPY, the banks' newest values set-based."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from psycopg2.errors import UniqueViolation
from sqlalchemy.orm import Session

from firmware_protocol.messages import Heartbeat, SlotSample, SlotTelemetry
from fleet.common.bulk import array, copy_lines, instants, raw_cursor, words

_SLOT_COLUMNS: Final = (
    "station_id",
    "slot",
    "at",
    "power_bank_id",
    "charge_pct",
    "voltage_mv",
    "current_ma",
    "temperature_c",
    "cycles",
    "health_pct",
)
_STATION_COLUMNS: Final = ("station_id", "at", "signal_dbm", "mains", "temperature_c", "uptime_s")
_ONCE: Final = """
INSERT INTO device_sample (station_id, boot, seq, received_at)
SELECT station_id, boot, seq, %s FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS v(station_id, boot, seq)
 ORDER BY station_id, boot, seq
ON CONFLICT DO NOTHING RETURNING station_id, boot, seq
"""
#: A bank that a rental holds locked at this moment gets its values with the next sample.
_BANKS: Final = """
UPDATE power_bank b
   SET charge_pct = coalesce(v.charge, b.charge_pct), cycles = coalesce(v.cycles, b.cycles),
       health_pct = coalesce(v.health, b.health_pct), temperature_c = coalesce(v.temperature, b.temperature_c),
       sampled_at = v.at
  FROM (SELECT b.id FROM power_bank b WHERE b.id = ANY(%s::int[]) ORDER BY b.id FOR NO KEY UPDATE SKIP LOCKED) free,
       unnest(%s::int[], %s::timestamptz[], %s::int[], %s::int[], %s::int[], %s::real[])
           AS v(id, at, charge, cycles, health, temperature)
 WHERE b.id = free.id AND b.id = v.id AND (b.sampled_at IS NULL OR b.sampled_at < v.at)
"""
#: Python's own word, so that a row is one formatted string.
_NULL: Final = "None"
#: Values that did not change are written this often all the same, so that `sampled_at` says how fresh they are.
_REFRESH: Final = timedelta(minutes=10)
_MOST_SERIALS: Final = 500_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One heartbeat or slot telemetry; `at` is corrected and never later than the receipt."""

    station_id: int
    boot: int
    seq: int
    at: datetime
    message: Heartbeat | SlotTelemetry


#: When, and what a bank measured then.
_Measured = tuple[datetime, SlotSample]


class SampleStore:
    """Writes samples in the caller's transaction; remembers between batches what a serial's id is and what a bank's row
    holds, so that neither is asked or written again. One per thread.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._written: dict[int, _Measured] = {}
        self._newest: dict[int, _Measured] = {}

    def store(self, session: Session, samples: Sequence[Sample], now: datetime) -> list[Sample]:
        """Returns the samples that were new. The banks' own rows are left to `write_banks`."""
        fresh = _once(session, samples, now)
        telemetry = [each for each in fresh if isinstance(each.message, SlotTelemetry)]
        self._learn(session, telemetry)
        beats = [each for each in fresh if isinstance(each.message, Heartbeat)]
        _write(session, "station_telemetry", _STATION_COLUMNS, beats, _station_lines)
        _write(session, "slot_telemetry", _SLOT_COLUMNS, telemetry, self._slot_lines)
        return fresh

    def write_banks(self, session: Session) -> int:
        """Bring the newest values into the banks' rows: now and then, because a row a sample would cost more than the
        sample. Returns how many banks were due. What a crash loses comes with the next sample.
        """
        newest, self._newest = self._newest, {}
        due = {bank: value for bank, value in newest.items() if self._worth_writing(bank, value)}
        if due:
            with raw_cursor(session) as cursor:
                cursor.execute(_BANKS, _bank_columns(due))
            self._written.update(due)
        return len(due)

    def _learn(self, session: Session, telemetry: Iterable[Sample]) -> None:
        named = {slot.serial for each in telemetry for slot in _slots(each) if slot.serial is not None}
        unknown = sorted(named - self._ids.keys())
        if not unknown:
            return
        if len(self._ids) > _MOST_SERIALS:
            self._ids.clear()
        with raw_cursor(session) as cursor:
            cursor.execute("SELECT serial, id FROM power_bank WHERE serial = ANY(%s::text[])", (words(unknown),))
            self._ids.update(cursor.fetchall())

    def _slot_lines(self, telemetry: Iterable[Sample]) -> Iterator[str]:
        """Rows for COPY; on the way, the newest measurement of each bank."""
        ids, newest = self._ids.get, self._newest
        for each in telemetry:
            at = each.at
            prefix, text = f"{each.station_id}\t", at.isoformat()
            for slot in _slots(each):
                serial = slot.serial
                bank = ids(serial) if serial is not None else None
                yield (
                    f"{prefix}{slot.slot}\t{text}\t{bank}\t{slot.charge_pct}\t{slot.voltage_mv}\t{slot.current_ma}"
                    f"\t{slot.temperature_c}\t{slot.cycles}\t{slot.health_pct}"
                )
                if bank is not None:
                    known = newest.get(bank)
                    if known is None or known[0] < at:
                        newest[bank] = (at, slot)

    def _worth_writing(self, bank: int, measured: _Measured) -> bool:
        written = self._written.get(bank)
        if written is None or measured[0] - written[0] > _REFRESH:
            return True
        if measured[0] <= written[0]:
            return False
        new, old = measured[1], written[1]
        return (new.charge_pct, new.cycles, new.health_pct) != (old.charge_pct, old.cycles, old.health_pct)


def _once(session: Session, samples: Sequence[Sample], now: datetime) -> list[Sample]:
    """Those never seen before, each once."""
    by_key = {(each.station_id, each.boot, each.seq): each for each in samples}
    with raw_cursor(session) as cursor:
        cursor.execute(
            _ONCE, (now, array(k[0] for k in by_key), array(k[1] for k in by_key), array(k[2] for k in by_key))
        )
        return [by_key[row] for row in cursor.fetchall()]


def _slots(sample: Sample) -> tuple[SlotSample, ...]:
    assert isinstance(sample.message, SlotTelemetry)
    return sample.message.slots


def _station_lines(samples: Iterable[Sample]) -> Iterator[str]:
    for each in samples:
        beat = each.message
        assert isinstance(beat, Heartbeat)
        yield (
            f"{each.station_id}\t{each.at.isoformat()}\t{beat.signal_dbm}\t{beat.mains}\t{beat.temperature_c}"
            f"\t{beat.uptime_s}"
        )


def _write(
    session: Session,
    table: str,
    columns: Sequence[str],
    samples: Sequence[Sample],
    rows: Callable[[Iterable[Sample]], Iterator[str]],
) -> None:
    """COPY; of two samples of one instant, which a clock that was set back can make, one is left."""
    if not samples:
        return
    with raw_cursor(session) as cursor:
        cursor.execute("SAVEPOINT rows")
        try:
            copy_lines(cursor, table, columns, rows(samples), null=_NULL)
        except UniqueViolation:
            cursor.execute("ROLLBACK TO SAVEPOINT rows")
            cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS {table}_stage (LIKE {table}) ON COMMIT DELETE ROWS")
            copy_lines(cursor, f"{table}_stage", columns, rows(samples), null=_NULL)
            cursor.execute(f"INSERT INTO {table} SELECT * FROM {table}_stage ON CONFLICT DO NOTHING")  # noqa: S608


def _bank_columns(banks: dict[int, _Measured]) -> tuple[str, ...]:
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
        "{" + ",".join(["NULL" if slot.temperature_c is None else str(slot.temperature_c) for slot in slots]) + "}",
    )
