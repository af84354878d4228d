"""The deadband: unchanged values are not stored (decision 0110).

What was last stored of a station is one row of `telemetry_run`, locked while a batch decides about it: several lanes
and several gateways see the samples of one station, and each must compare with what any of them stored.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Self

import msgspec
from sqlalchemy.orm import Session

from fleet.common.bulk import array, instants, raw_cursor, words
from fleet.settings import Settings
from fleet.telemetry.runs import Runs, Thresholds, forget_silent, take
from fleet.telemetry.samples import Sample

_LOCK: Final = """
SELECT station_id, runs FROM telemetry_run WHERE station_id = ANY(%s::int[]) ORDER BY station_id FOR UPDATE
"""
_SAVE: Final = """
INSERT INTO telemetry_run (station_id, at, runs)
SELECT station_id, at, decode(runs, 'hex')
  FROM unnest(%s::int[], %s::timestamptz[], %s::text[]) AS v(station_id, at, runs) ORDER BY station_id
ON CONFLICT (station_id) DO UPDATE SET at = excluded.at, runs = excluded.runs
"""
_ENCODE: Final = msgspec.msgpack.Encoder()
_DECODE: Final = msgspec.msgpack.Decoder(Runs)


class Deadband:
    """One per process; holds no state of its own, so that a restart forgets nothing."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """None: everything is stored."""
        if settings.deadband_keep_s <= 0:
            return None
        return cls(
            Thresholds(
                keep_ms=round(settings.deadband_keep_s * 1000),
                charge_pct=settings.deadband_charge_pct,
                voltage_mv=settings.deadband_voltage_mv,
                current_ma=settings.deadband_current_ma,
                temperature_c=settings.deadband_temperature_c,
                signal_dbm=settings.deadband_signal_dbm,
            )
        )

    def thin(self, session: Session, samples: Sequence[Sample]) -> list[Sample]:
        """The rows that these samples are worth. What is decided counts only if the caller's transaction commits."""
        if not samples:
            return []
        known = _locked(session, {sample.station_id for sample in samples})
        rows: list[Sample] = []
        newest: dict[int, datetime] = {}
        for sample in sorted(samples, key=lambda each: (each.station_id, each.at, each.boot, each.seq)):
            rows += take(known.setdefault(sample.station_id, Runs()), sample, self._thresholds)
            newest[sample.station_id] = sample.at
        for station_id in newest:
            forget_silent(known[station_id], self._thresholds)
        _save(session, newest, known)
        return rows


def _locked(session: Session, station_ids: set[int]) -> dict[int, Runs]:
    with raw_cursor(session) as cursor:
        cursor.execute(_LOCK, (array(sorted(station_ids)),))
        return {station_id: _decoded(bytes(runs)) for station_id, runs in cursor.fetchall()}


def _decoded(runs: bytes) -> Runs:
    try:
        return _DECODE.decode(runs)
    except msgspec.DecodeError:
        return Runs()  # of another version: the next sample is stored whole


def _save(session: Session, newest: dict[int, datetime], runs: dict[int, Runs]) -> None:
    order = sorted(newest)
    states = [_ENCODE.encode(runs[station_id]).hex() for station_id in order]
    with raw_cursor(session) as cursor:
        cursor.execute(_SAVE, (array(order), instants(newest[each] for each in order), words(states)))
