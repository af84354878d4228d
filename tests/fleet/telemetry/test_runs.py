"""When a measurement is worth a row."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from firmware_protocol.messages import Heartbeat, SlotSample, SlotTelemetry
from fleet.telemetry.runs import Runs, Thresholds, forget_silent, take
from fleet.telemetry.samples import Sample

LEAST = Thresholds(keep_ms=600_000, charge_pct=1, voltage_mv=25, current_ma=50, temperature_c=0.5, signal_dbm=3)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def told(minute: float, *slots: SlotSample) -> Sample:
    return Sample(1, 1, 1 + round(minute * 60), NOON + minute * MINUTE, SlotTelemetry(slots=slots))


def bank(charge: int | None, slot: int = 1, serial: str = "PB1", **more: float) -> SlotSample:
    return SlotSample(slot=slot, serial=serial, charge_pct=charge, **more)  # type: ignore[arg-type]  # of the tests


def rows(samples: Sequence[Sample]) -> list[tuple[float, int, int | None, int]]:
    """(minute, slot, charge, span) of each row."""
    return [
        ((sample.at - NOON) / MINUTE, slot.slot, slot.charge_pct, sample.span_s)
        for sample in samples
        if isinstance(sample.message, SlotTelemetry)
        for slot in sample.message.slots
    ]


def feed(runs: Runs, *samples: Sample) -> list[tuple[float, int, int | None, int]]:
    return rows([row for sample in samples for row in take(runs, sample, LEAST)])


def test_what_did_not_change_is_left_out_and_said_again_now_and_then() -> None:
    runs = Runs()
    stored = feed(runs, *[told(minute, bank(50)) for minute in range(25)])
    assert stored == [(0, 1, 50, 1), (10, 1, 50, 600), (20, 1, 50, 600)]


def test_a_change_ends_the_run_before_it() -> None:
    runs = Runs()
    stored = feed(runs, *[told(minute, bank(50 if minute < 5 else 51)) for minute in range(7)])
    assert stored == [(0, 1, 50, 1), (4, 1, 50, 240), (5, 1, 51, 60)]


def test_small_changes_add_up() -> None:
    """Against what was stored, not against the sample before: a slow drift is not lost."""
    runs = Runs()
    drift = [told(minute, bank(50, voltage_mv=3900 + 10 * minute)) for minute in range(7)]
    assert [row[0] for row in feed(runs, *drift)] == [0, 2, 3, 5, 6]


def test_values_that_appear_and_vanish_are_changes() -> None:
    runs = Runs()
    stored = feed(runs, told(0, bank(None)), told(1, bank(50)), told(2, bank(None)), told(3, bank(None)))
    assert stored == [(0, 1, None, 1), (1, 1, 50, 60), (2, 1, None, 60)]


def test_another_bank_is_a_change() -> None:
    runs = Runs()
    assert len(feed(runs, told(0, bank(50)), told(1, bank(50, serial="PB2")))) == 2


def test_slots_are_apart() -> None:
    runs = Runs()
    stored = feed(runs, told(0, bank(50), bank(80, 2, "PB2")), told(1, bank(50), bank(81, 2, "PB2")), told(2, bank(50)))
    assert stored == [(0, 1, 50, 1), (0, 2, 80, 1), (1, 2, 81, 60)]


def test_a_late_sample_is_stored_whole_and_so_is_what_came_after_it() -> None:
    runs = Runs()
    stored = feed(runs, told(0, bank(50)), told(3, bank(50)), told(2, bank(51)), told(4, bank(50)))
    assert stored == [(0, 1, 50, 1), (3, 1, 50, 180), (2, 1, 51, 1)]
    assert feed(runs, told(2, bank(50))) == [(4, 1, 50, 60), (2, 1, 50, 1)]


def test_silence_ends_a_run() -> None:
    """Nobody knows what was in between: a row after it stands for nothing but itself."""
    runs = Runs()
    assert feed(runs, told(0, bank(50)), told(5, bank(50)), told(60, bank(50))) == [(0, 1, 50, 1), (60, 1, 50, 1)]


def test_a_slot_without_a_bank_is_forgotten() -> None:
    runs = Runs()
    feed(runs, told(0, bank(50), bank(60, 2, "PB2")), told(40, bank(50)))
    forget_silent(runs, LEAST)
    assert set(runs.slots) == {1}


def beat(minute: float, **values: object) -> Sample:
    return Sample(1, 1, 1 + round(minute * 60), NOON + minute * MINUTE, Heartbeat(**values))  # type: ignore[arg-type]  # of the tests


def minutes(found: Sequence[Sample]) -> Iterator[float]:
    return ((row.at - NOON) / MINUTE for row in found)


def test_heartbeats_are_worth_a_row_when_something_but_the_uptime_changed() -> None:
    runs, kept = Runs(), []
    said = [
        beat(0, mains=True, signal_dbm=-70, uptime_s=10),
        beat(1, mains=True, signal_dbm=-72, uptime_s=70),
        beat(2, mains=False, signal_dbm=-72, uptime_s=130),
        beat(3, mains=False, signal_dbm=-72, uptime_s=5),
        beat(4, mains=False, signal_dbm=-60, uptime_s=65),
    ]
    for each in said:
        kept += take(runs, each, LEAST)
    assert list(minutes(kept)) == [0, 1, 2, 3, 4]
    assert list(minutes(take(runs, beat(5, mains=False, signal_dbm=-60, uptime_s=125), LEAST))) == []


@given(st.lists(st.integers(min_value=0, max_value=3), min_size=2, max_size=60))
def test_rows_give_back_the_series_and_its_average(charges: list[int]) -> None:
    """Whatever the values do: the newest row at or before a sample has its value, and spans add up to the time."""
    runs = Runs()
    kept = feed(runs, *[told(minute, bank(charge)) for minute, charge in enumerate(charges)])
    for minute, charge in enumerate(charges):
        assert [row[2] for row in kept if row[0] <= minute][-1] == charge
    assert all(before[0] < after[0] for before, after in pairwise(kept))
    through = kept[-1][0]
    weight = sum(row[3] for row in kept)
    total = sum(row[3] * (row[2] or 0) for row in kept)
    assert weight == through * 60 + 1
    assert total == sum(60 * charges[minute] for minute in range(1, int(through) + 1)) + charges[0]
