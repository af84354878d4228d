"""Samples into the time series: each message once, rows by COPY, the banks' newest values set-based."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from psycopg2.errors import UniqueViolation
from sqlalchemy.orm import Session

from firmware_protocol.messages import Heartbeat, SlotSample, SlotTelemetry
from fleet.common.bulk import array, copy_lines, raw_cursor, words

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


class _BankValue(NamedTuple):
    at: datetime
    charge: int | None
    cycles: int | None
    health: int | None
    temperature: float | None


class SampleStore:
    """Writes samples in the caller's transaction; remembers between batches what a serial's id is and what a bank's row
    holds, so that neither is asked or written again. One per thread.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._written: dict[int, _BankValue] = {}

    def store(self, session: Session, samples: Sequence[Sample], now: datetime) -> list[Sample]:
        """Returns the samples that were new."""
        fresh = _once(session, samples, now)
        telemetry = [each for each in fresh if isinstance(each.message, SlotTelemetry)]
        self._learn(session, telemetry)
        heartbeats = _station_lines(fresh)
        _write(session, "station_telemetry", _STATION_COLUMNS, heartbeats)
        _write(session, "slot_telemetry", _SLOT_COLUMNS, self._slot_lines(telemetry))
        self._update_banks(session, telemetry)
        return fresh

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

    def _slot_lines(self, telemetry: Iterable[Sample]) -> dict[tuple[int, int, datetime], str]:
        lines: dict[tuple[int, int, datetime], str] = {}
        ids = self._ids
        for each in telemetry:
            station_id, at = each.station_id, each.at
            text = at.isoformat()
            for slot in _slots(each):
                bank = ids.get(slot.serial) if slot.serial is not None else None
                values = (
                    bank,
                    slot.charge_pct,
                    slot.voltage_mv,
                    slot.current_ma,
                    slot.temperature_c,
                    slot.cycles,
                    slot.health_pct,
                )
                lines[station_id, slot.slot, at] = f"{station_id}\t{slot.slot}\t{text}\t" + "\t".join(
                    ["\\N" if value is None else str(value) for value in values]
                )
        return lines

    def _update_banks(self, session: Session, telemetry: Iterable[Sample]) -> None:
        newest: dict[int, _BankValue] = {}
        for each in telemetry:
            for slot in _slots(each):
                bank = self._ids.get(slot.serial) if slot.serial is not None else None
                if bank is None:
                    continue
                known = newest.get(bank)
                if known is None or known.at < each.at:
                    newest[bank] = _BankValue(
                        each.at, slot.charge_pct, slot.cycles, slot.health_pct, slot.temperature_c
                    )
        changed = {bank: value for bank, value in newest.items() if self._worth_writing(bank, value)}
        if not changed:
            return
        with raw_cursor(session) as cursor:
            cursor.execute(_BANKS, _bank_columns(changed))
        self._written.update(changed)

    def _worth_writing(self, bank: int, value: _BankValue) -> bool:
        written = self._written.get(bank)
        if written is None or value.at - written.at > _REFRESH:
            return True
        if value.at <= written.at:
            return False
        return (value.charge, value.cycles, value.health) != (written.charge, written.cycles, written.health)


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


def _station_lines(samples: Iterable[Sample]) -> dict[tuple[int, datetime], str]:
    lines: dict[tuple[int, datetime], str] = {}
    for each in samples:
        beat = each.message
        if isinstance(beat, Heartbeat):
            mains = None if beat.mains is None else "t" if beat.mains else "f"
            values = (beat.signal_dbm, mains, beat.temperature_c, beat.uptime_s)
            lines[each.station_id, each.at] = f"{each.station_id}\t{each.at.isoformat()}\t" + "\t".join(
                ["\\N" if value is None else str(value) for value in values]
            )
    return lines


def _write(session: Session, table: str, columns: Sequence[str], lines: dict[Any, str]) -> None:
    """COPY; two samples of one instant, which a clock that was set back can make, leave the first one."""
    if not lines:
        return
    rows = list(lines.values())
    with raw_cursor(session) as cursor:
        cursor.execute("SAVEPOINT rows")
        try:
            copy_lines(cursor, table, columns, rows)
        except UniqueViolation:
            cursor.execute("ROLLBACK TO SAVEPOINT rows")
            cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS {table}_stage (LIKE {table}) ON COMMIT DELETE ROWS")
            copy_lines(cursor, f"{table}_stage", columns, rows)
            cursor.execute(f"INSERT INTO {table} SELECT * FROM {table}_stage ON CONFLICT DO NOTHING")  # noqa: S608


def _bank_columns(banks: dict[int, _BankValue]) -> tuple[str, ...]:
    order = sorted(banks)
    values = [banks[bank] for bank in order]
    ids = array(order)
    return (
        ids,
        ids,
        "{" + ",".join([f'"{value.at.isoformat()}"' for value in values]) + "}",
        array(value.charge for value in values),
        array(value.cycles for value in values),
        array(value.health for value in values),
        "{" + ",".join(["NULL" if value.temperature is None else str(value.temperature) for value in values]) + "}",
    )
