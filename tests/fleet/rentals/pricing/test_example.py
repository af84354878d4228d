"""A price that is shown beforehand is what will be charged, for a bank that is kept too."""

from datetime import UTC, datetime, timedelta

from fleet.rentals.pricing.adjustments import Adjustment, AdjustmentKind, Effect
from fleet.rentals.pricing.example import example, kept_at
from fleet.rentals.pricing.price import price
from fleet.rentals.pricing.terms import LateTerms, TariffTerms

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
#: An hour, then late; two hours later the bank counts as lost.
LOST = TariffTerms(
    currency="EUR",
    unlock_minor=100,
    free_period=timedelta(0),
    interval_minor=50,
    interval_length=HOUR / 2,
    daily_cap_minor=0,
    total_cap_minor=0,
    hold_minor=500,
    overdue_after=HOUR,
    lost_after=2 * HOUR,
    lost_fee_minor=2000,
    late=LateTerms(hourly_minor=100, grace=timedelta(0)),
)


def test_no_time_after_a_bank_is_lost_is_shown() -> None:
    lost = example(LOST, NOON, NOON + 3 * HOUR)
    assert lost == price(LOST, NOON, NOON + 3 * HOUR)
    assert [line.kind for line in lost.lines] == ["unlock", "usage", "late_fee", "lost_fee"]
    for later in (4 * HOUR, 9 * HOUR, 1000 * HOUR):
        assert example(LOST, NOON, NOON + later) == lost


def test_before_that_the_bank_itself_costs_nothing() -> None:
    before = example(LOST, NOON, NOON + 3 * HOUR - timedelta(seconds=1))
    assert "lost_fee" not in {line.kind for line in before.lines}
    paused = [(NOON, NOON + HOUR)]
    assert kept_at(LOST, NOON, paused) == NOON + 4 * HOUR
    assert "lost_fee" not in {line.kind for line in example(LOST, NOON, NOON + 3 * HOUR, paused).lines}


def test_free_minutes_put_it_off_and_buy_no_bank() -> None:
    free = Adjustment(AdjustmentKind.SUBSCRIPTION, Effect.FREE_TIME, 1800, "half an hour free")
    granted = (free,)
    assert kept_at(LOST, NOON, adjustments=granted) == NOON + 3.5 * HOUR
    waits = example(LOST, NOON, NOON + 3.25 * HOUR, adjustments=granted)
    assert "lost_fee" not in {line.kind for line in waits.lines}
    assert {line.kind for line in waits.lines} >= {"adjustment"}
    lost = example(LOST, NOON, NOON + 4 * HOUR, adjustments=granted)
    assert lost == price(LOST, NOON, NOON + 3.5 * HOUR)
