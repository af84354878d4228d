"""What a rental costs: the rules as examples, then as properties."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.rentals.price import TariffTerms, cap_reached_at, price

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

TERMS = TariffTerms(
    currency="EUR",
    unlock_minor=50,
    free_period=5 * MINUTE,
    interval_minor=100,
    interval_length=30 * MINUTE,
    daily_cap_minor=900,
    total_cap_minor=4000,
    hold_minor=1000,
    overdue_after=timedelta(days=2),
)


def after(duration: timedelta, terms: TariffTerms = TERMS, started: datetime = NOON, zone: str = "UTC") -> int:
    return price(terms, started, started + duration, time_zone=zone).total_minor


@pytest.mark.parametrize(
    ("duration", "total"),
    [
        (timedelta(0), 0),
        (5 * MINUTE, 0),
        (5 * MINUTE + timedelta(microseconds=1), 150),
        (35 * MINUTE, 150),
        (35 * MINUTE + timedelta(microseconds=1), 250),
        (5 * MINUTE + 9 * 30 * MINUTE, 950),
        (6 * HOUR, 950),
        # The last interval that begins before midnight belongs to the first day.
        (12 * HOUR, 950),
        (12 * HOUR + 6 * MINUTE, 1050),
        (timedelta(days=3), 50 + 900 * 3 + 900),
        (timedelta(days=30), 4000),
    ],
)
def test_price_by_duration(duration: timedelta, total: int) -> None:
    assert after(duration) == total


def test_the_lines_explain_the_amount() -> None:
    result = price(TERMS, NOON, NOON + timedelta(days=30))
    assert sum(line.amount_minor for line in result.lines) == result.total_minor == 4000
    assert [line.text for line in result.lines[:4]] == [
        "Unlock fee",
        "First 5 min free",
        "2026-11-23: 24 x 30 min at 1.00 EUR",
        "2026-11-23: never more than 9.00 EUR a day",
    ]
    assert result.lines[-1].kind == "total_cap"
    assert (result.unlock_minor, result.usage_minor) == (50, 3950)


def test_without_a_free_period_the_unlock_fee_is_due_at_once() -> None:
    terms = replace(TERMS, free_period=timedelta(0))
    assert after(timedelta(0), terms) == 50
    assert after(MINUTE, terms) == 150


def test_paused_time_is_not_billed() -> None:
    ended = NOON + 65 * MINUTE
    paused = [(NOON + 20 * MINUTE, NOON + 50 * MINUTE), (NOON + 40 * MINUTE, NOON + 55 * MINUTE)]
    assert price(TERMS, NOON, ended).total_minor == 250
    assert price(TERMS, NOON, ended, paused).total_minor == 150
    assert price(TERMS, NOON, ended, [(NOON - HOUR, ended + HOUR)]).total_minor == 0


@pytest.mark.parametrize(
    ("midnight", "hours"),
    [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-23", 24)],
)
def test_a_day_is_the_local_one_whatever_the_clock_does(midnight: str, hours: int) -> None:
    """Zürich's days of 23, 24 and 25 hours: each has its own cap, and begins at its own midnight."""
    zone = ZoneInfo("Europe/Zurich")
    start = datetime.fromisoformat(midnight).replace(tzinfo=zone).astimezone(UTC)
    terms = replace(TERMS, free_period=timedelta(0), unlock_minor=0, total_cap_minor=0)
    uncapped = replace(terms, daily_cap_minor=0)
    assert after(hours * HOUR, uncapped, start, "Europe/Zurich") == hours * 2 * 100
    assert after(hours * HOUR, terms, start, "Europe/Zurich") == 900
    assert after(hours * HOUR + MINUTE, terms, start, "Europe/Zurich") == 1000


def test_terms_survive_json() -> None:
    assert TariffTerms.from_json(TERMS.to_json()) == TERMS


def test_when_the_cap_is_reached() -> None:
    reached = cap_reached_at(TERMS, NOON)
    assert reached is not None
    assert price(TERMS, NOON, reached).total_minor == 4000
    assert price(TERMS, NOON, reached - timedelta(microseconds=1)).total_minor < 4000


def test_a_cap_that_is_never_reached() -> None:
    free = replace(TERMS, interval_minor=0)
    assert cap_reached_at(free, NOON) is None
    uncapped = replace(TERMS, total_cap_minor=0)
    assert cap_reached_at(uncapped, NOON) is None


amounts = st.integers(0, 5_000)
any_terms = st.builds(
    TariffTerms,
    currency=st.just("EUR"),
    unlock_minor=amounts,
    free_period=st.integers(0, 3600).map(lambda seconds: timedelta(seconds=seconds)),
    interval_minor=amounts,
    interval_length=st.integers(60, 86_400).map(lambda seconds: timedelta(seconds=seconds)),
    daily_cap_minor=amounts,
    total_cap_minor=amounts,
    hold_minor=amounts,
    overdue_after=st.just(timedelta(days=1)),
)
starts = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001  # the strategy adds the zone
durations = st.timedeltas(timedelta(0), timedelta(days=12))
zones = st.sampled_from(
    [
        "UTC",
        "Europe/Zurich",
        "America/Sao_Paulo",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Asia/Beirut",
        "Africa/Cairo",
    ]
)
pauses = st.lists(st.tuples(durations, st.timedeltas(timedelta(0), timedelta(days=2))), max_size=3)


def _ranges(started: datetime, given_pauses: list[tuple[timedelta, timedelta]]) -> list[tuple[datetime, datetime]]:
    return [(started + begin, started + begin + length) for begin, length in given_pauses]


@given(any_terms, starts, durations, durations, zones, pauses)
def test_price_never_falls_with_time(
    terms: TariffTerms,
    started: datetime,
    one: timedelta,
    other: timedelta,
    zone: str,
    paused: list[tuple[timedelta, timedelta]],
) -> None:
    early, late = sorted((one, other))
    ranges = _ranges(started, paused)
    first = price(terms, started, started + early, ranges, zone)
    second = price(terms, started, started + late, ranges, zone)
    assert first.total_minor <= second.total_minor
    assert first.usage_minor <= second.usage_minor


@given(any_terms, starts, durations, zones, pauses)
def test_price_is_explained_and_capped(
    terms: TariffTerms, started: datetime, length: timedelta, zone: str, paused: list[tuple[timedelta, timedelta]]
) -> None:
    result = price(terms, started, started + length, _ranges(started, paused), zone)
    assert sum(line.amount_minor for line in result.lines) == result.total_minor >= 0
    assert 0 <= result.unlock_minor <= terms.unlock_minor
    assert result.usage_minor >= 0
    if terms.total_cap_minor:
        assert result.total_minor <= terms.total_cap_minor
    if terms.daily_cap_minor:
        days = (started + length).astimezone(ZoneInfo(zone)).date() - started.astimezone(ZoneInfo(zone)).date()
        assert result.usage_minor <= terms.daily_cap_minor * (days.days + 1)


@given(any_terms, starts, st.floats(0, 1), zones)
def test_nothing_is_due_within_the_free_period(terms: TariffTerms, started: datetime, part: float, zone: str) -> None:
    used = terms.free_period * part
    total = price(terms, started, started + used, (), zone).total_minor
    assert total == 0 or not terms.free_period


@given(any_terms, starts, durations, zones, pauses)
def test_a_pause_never_costs(
    terms: TariffTerms, started: datetime, length: timedelta, zone: str, paused: list[tuple[timedelta, timedelta]]
) -> None:
    """More than one more day's cap can never come of a pause: it may move intervals to another day, not add any."""
    uncapped = replace(terms, daily_cap_minor=0)
    ended = started + length
    with_pause = price(uncapped, started, ended, _ranges(started, paused), zone).total_minor
    assert with_pause <= price(uncapped, started, ended, (), zone).total_minor


@given(any_terms, starts, zones)
def test_the_cap_is_reached_when_it_is_said_to_be(terms: TariffTerms, started: datetime, zone: str) -> None:
    reached = cap_reached_at(terms, started, zone)
    if reached is None:
        return
    assert price(terms, started, reached, (), zone).total_minor == terms.total_cap_minor
    if reached > started:
        before = price(terms, started, reached - timedelta(microseconds=1), (), zone)
        assert before.total_minor < terms.total_cap_minor
