"""Periods, the schedule of retries, free minutes: rules alone."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fleet.common.errors import IllegalTransition
from fleet.subscriptions.models import LIVE_STATES, PeriodUnit, SubscriptionState
from fleet.subscriptions.rules import (
    SLACK,
    Allowance,
    Anchor,
    Dunning,
    Length,
    Span,
    after_periods,
    check_move,
    in_line,
    period_after,
)

ZONES = ("UTC", "Europe/Zurich", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia")
MONTH = Length(PeriodUnit.MONTH, 1)
instants = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # aware by `timezones`
lengths = st.builds(Length, st.sampled_from(PeriodUnit), st.integers(1, 24))


def local(at: datetime, zone: str) -> str:
    return at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def test_a_short_month_shortens_only_itself() -> None:
    anchor = datetime(2026, 1, 31, 9, 30, tzinfo=ZoneInfo("Europe/Zurich"))
    ends = [local(after_periods(anchor, "Europe/Zurich", MONTH, count), "Europe/Zurich") for count in range(5)]
    assert ends == ["2026-01-31 09:30", "2026-02-28 09:30", "2026-03-31 09:30", "2026-04-30 09:30", "2026-05-31 09:30"]


def test_a_leap_day_comes_back() -> None:
    year, anchor = Length(PeriodUnit.MONTH, 12), datetime(2028, 2, 29, tzinfo=UTC)
    assert [local(after_periods(anchor, "UTC", year, count), "UTC")[:10] for count in (1, 2, 4)] == [
        "2029-02-28", "2030-02-28", "2032-02-29",
    ]  # fmt: skip


def test_a_day_is_a_local_day_whatever_the_clocks_do() -> None:
    day, anchor = Length(PeriodUnit.DAY, 1), datetime(2026, 3, 28, 2, 30, tzinfo=ZoneInfo("Europe/Zurich"))
    # 02:30 does not exist on the 29th: it is as much later. On the 30th it is 02:30 again.
    assert [local(after_periods(anchor, "Europe/Zurich", day, count), "Europe/Zurich") for count in (1, 2)] == [
        "2026-03-29 03:30", "2026-03-30 02:30",
    ]  # fmt: skip


def test_an_hour_that_comes_twice_begins_when_it_began() -> None:
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # 02:30 for the second time
    found = period_after(Anchor(second, 0, "Europe/Zurich"), Length(PeriodUnit.DAY, 1), 1)
    assert found == Span(second, datetime(2026, 10, 26, 1, 30, tzinfo=UTC))


@settings(deadline=None)
@given(instants, st.sampled_from(ZONES), lengths, st.integers(0, 40))
def test_periods_follow_each_other_without_gap(anchor: datetime, zone: str, length: Length, number: int) -> None:
    found = Anchor(anchor, number, zone)
    first, second, third = (period_after(found, length, number + count) for count in (1, 2, 3))
    assert first.starts_at == anchor
    assert first.ends_at == second.starts_at < second.ends_at == third.starts_at < third.ends_at


@settings(deadline=None)
@given(instants, st.sampled_from(ZONES), st.integers(1, 60))
def test_months_keep_their_day_as_far_as_they_have_it(anchor: datetime, zone: str, count: int) -> None:
    begun = anchor.astimezone(ZoneInfo(zone))
    end = after_periods(anchor, zone, MONTH, count).astimezone(ZoneInfo(zone))
    assert (end.year * 12 + end.month) - (begun.year * 12 + begun.month) == count
    assert end.day == min(begun.day, monthrange(end.year, end.month)[1])


def test_only_these_moves() -> None:
    for state in LIVE_STATES:
        check_move(state, SubscriptionState.CANCELLED)
    with pytest.raises(IllegalTransition):
        check_move(SubscriptionState.EXPIRED, SubscriptionState.ACTIVE)
    with pytest.raises(IllegalTransition):
        check_move(SubscriptionState.CANCELLED, SubscriptionState.ACTIVE)


def test_the_schedule_of_retries_ends() -> None:
    since, dunning = datetime(2026, 3, 1, tzinfo=UTC), Dunning()
    days = [dunning.retry_at(since, retries) for retries in range(5)]
    assert days == [*(since + timedelta(days=day) for day in (1, 3, 5, 7)), None]


def test_a_schedule_goes_forward() -> None:
    with pytest.raises(ValidationError, match="the days of retries grow"):
        Dunning(retry_days=(3, 3))


def test_there_is_always_some_grace() -> None:
    assert (Dunning(grace_days=0).grace, Dunning(grace_days=2).grace) == (SLACK, timedelta(days=2))


def test_a_period_is_in_line_while_benefits_go_on_and_it_is_not_over() -> None:
    start, grace = datetime(2026, 3, 1, tzinfo=UTC), timedelta(days=3)
    month, day = Span(start, start + timedelta(days=31)), Span(start, start + timedelta(days=1))
    assert in_line(month, start + timedelta(days=2), grace)
    assert not in_line(month, start + grace, grace)
    assert not in_line(day, start + timedelta(days=1), grace)


@pytest.mark.parametrize(
    ("allowance", "in_day", "in_period", "left"),
    [
        (Allowance(None, None, None), 0, 0, 0),
        (Allowance(1800, None, None), 9999, 9999, 1800),
        (Allowance(None, 3600, None), 3000, 9999, 600),
        (Allowance(1800, 3600, 36_000), 0, 35_000, 1000),
        (Allowance(None, 3600, 36_000), 0, 40_000, 0),
    ],
)
def test_the_least_of_what_is_left_counts(allowance: Allowance, in_day: int, in_period: int, left: int) -> None:
    assert allowance.left(in_day, in_period) == left


@settings(deadline=None)
@given(st.integers(1, 7200), st.lists(st.integers(0, 4000), max_size=12))
def test_however_it_is_split_no_more_than_the_period_has_is_used(per_period: int, rentals: list[int]) -> None:
    allowance, used = Allowance(None, None, per_period), 0
    for seconds in rentals:
        used += min(seconds, allowance.left(0, used))
    assert used == min(per_period, sum(rentals))
