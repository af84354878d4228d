"""When a measurement is worth a row: pure rules of the deadband, on what is known of one station.

A run is a stored row and the unchanged samples after it. It ends with a row for the last of them, so that a chart that
joins the rows shows when the change began, and every row carries for how long its values held before it.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from firmware_protocol.messages import Heartbeat, SlotSample, SlotTelemetry
from fleet.telemetry.samples import Sample

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
#: A run that was not heard of for so many keeping periods is over: nobody knows what was in between.
_SILENCE: Final = 3


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The least change of each value that is stored, and after which time (ms) an unchanged one is stored again."""

    keep_ms: int
    charge_pct: int
    voltage_mv: int
    current_ma: int
    temperature_c: float
    signal_dbm: int


class SlotRun(msgspec.Struct, array_like=True):
    """`stored` and `seen`: ms since 1970, of the newest row and of the newest sample."""

    stored: int
    seen: int
    values: SlotSample

    def differs(self, new: SlotSample, least: Thresholds) -> bool:
        old = self.values
        return (
            old.serial != new.serial
            or old.cycles != new.cycles
            or old.health_pct != new.health_pct
            or _moved(old.charge_pct, new.charge_pct, least.charge_pct)
            or _moved(old.voltage_mv, new.voltage_mv, least.voltage_mv)
            or _moved(old.current_ma, new.current_ma, least.current_ma)
            or _moved(old.temperature_c, new.temperature_c, least.temperature_c)
        )


class BeatRun(msgspec.Struct, array_like=True):
    stored: int
    seen: int
    values: Heartbeat

    def differs(self, new: Heartbeat, least: Thresholds) -> bool:
        """Uptime alone is no news, unless the cabinet started again."""
        old = self.values
        return (
            old.mains != new.mains
            or (new.uptime_s or 0) < (old.uptime_s or 0)
            or _moved(old.signal_dbm, new.signal_dbm, least.signal_dbm)
            or _moved(old.temperature_c, new.temperature_c, least.temperature_c)
        )


class Runs(msgspec.Struct, array_like=True):
    """What is known of one station. `at`: its newest sample."""

    at: int = 0
    slots: dict[int, SlotRun] = {}
    beat: BeatRun | None = None


def _moved(old: float | None, new: float | None, least: float) -> bool:
    if old is None or new is None:
        return old is not new
    return abs(new - old) >= least


def take(runs: Runs, sample: Sample, least: Thresholds) -> list[Sample]:
    """The rows that `sample` is worth, some of them for earlier samples; `runs` moves on.

    One that comes late is stored whole, and so is what was left out after it: its place in the order is then plain.
    """
    at = milliseconds(sample.at)
    late = at <= runs.at
    runs.at = max(runs.at, at)
    if isinstance(sample.message, Heartbeat):
        return _take_beat(runs, sample, sample.message, at, least, late=late)
    return _take_slots(runs, sample, sample.message, at, least, late=late)


def _take_slots(
    runs: Runs, sample: Sample, message: SlotTelemetry, at: int, least: Thresholds, *, late: bool
) -> list[Sample]:
    rows: dict[tuple[int, int], list[SlotSample]] = defaultdict(list)
    for slot in message.slots:
        run = runs.slots.get(slot.slot)
        if run is not None and not late and at - run.seen > _SILENCE * least.keep_ms:
            run = None
        differs = late or run is None or run.differs(slot, least)
        if not differs and run is not None and at - run.stored < least.keep_ms:
            run.seen = at
            continue
        since = None if run is None else run.stored
        if differs and run is not None and run.seen > run.stored:
            rows[run.seen, _span(run.stored, run.seen)].append(run.values)
            run.stored = since = run.seen
        rows[at, 1 if late else _span(since, at)].append(slot)
        if not late:
            runs.slots[slot.slot] = SlotRun(at, at, slot)
    return [_row(sample, when, span, SlotTelemetry(slots=tuple(kept))) for (when, span), kept in rows.items()]


def _take_beat(runs: Runs, sample: Sample, beat: Heartbeat, at: int, least: Thresholds, *, late: bool) -> list[Sample]:
    run = runs.beat
    if run is not None and not late and at - run.seen > _SILENCE * least.keep_ms:
        run = None
    differs = late or run is None or run.differs(beat, least)
    if not differs and run is not None and at - run.stored < least.keep_ms:
        run.seen = at
        return []
    rows, since = [], None if run is None else run.stored
    if differs and run is not None and run.seen > run.stored:
        rows.append(_row(sample, run.seen, _span(run.stored, run.seen), run.values))
        run.stored = since = run.seen
    rows.append(_row(sample, at, 1 if late else _span(since, at), beat))
    if not late:
        runs.beat = BeatRun(at, at, beat)
    return rows


def forget_silent(runs: Runs, least: Thresholds) -> None:
    """Slots without a bank are not told of: what was in them is over."""
    over = [number for number, run in runs.slots.items() if runs.at - run.seen > _SILENCE * least.keep_ms]
    for number in over:
        del runs.slots[number]


def _row(sample: Sample, at: int, span: int, message: Heartbeat | SlotTelemetry) -> Sample:
    # Of the sample itself to the microsecond: rows and samples must be told apart by their time.
    when = sample.at if at == milliseconds(sample.at) else _EPOCH + timedelta(milliseconds=at)
    return Sample(sample.station_id, sample.boot, sample.seq, when, message, span)


def _span(since: int | None, at: int) -> int:
    return 1 if since is None else max(1, round((at - since) / 1000))


def milliseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)
