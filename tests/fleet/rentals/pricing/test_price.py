"""What a rental costs: the rules as examples, then as properties."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from fleet.rentals.pricing.price import TariffTerms, cap_reached_at, price

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


def test_what_does_not_divide_by_the_step_is_rounded_down_and_said() -> None:
    result = price(replace(TERMS, rounding_step_minor=20), NOON, NOON + 30 * MINUTE)
    assert (result.total_minor, result.lines[-1].amount_minor) == (140, -10)
    assert result.lines[-1].text == "Rounded down to 0.20 EUR"


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
