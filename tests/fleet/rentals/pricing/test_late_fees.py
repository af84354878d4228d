"""Late fees: by multiplier, flat per hour, or both; two minutes of grace; a cap per day; under the total cap."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fleet.rentals.pricing.gross import cap_reached_at
from fleet.rentals.pricing.price import price
from fleet.rentals.pricing.terms import LateTerms, Prepaid, TariffTerms

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
MOMENT = timedelta(microseconds=1)

#: 1.00 per half hour; late after 4 hours.
TERMS = TariffTerms(
    currency="EUR",
    unlock_minor=0,
    free_period=timedelta(0),
    interval_minor=100,
    interval_length=30 * MINUTE,
    daily_cap_minor=0,
    total_cap_minor=0,
    hold_minor=500,
    overdue_after=4 * HOUR,
)
TWICE = replace(TERMS, late=LateTerms(multiplier_bp=20_000))
BY_HOUR = replace(TERMS, late=LateTerms(hourly_minor=70))
BOTH = replace(TERMS, late=LateTerms(multiplier_bp=20_000, hourly_minor=70))


def after(terms: TariffTerms, duration: timedelta, **more: object) -> int:
    return price(terms, NOON, NOON + duration, **more).total_minor  # type: ignore[arg-type]  # tests name what they give


@pytest.mark.parametrize(
    ("duration", "usage", "twice", "by_hour"),
    [
        (4 * HOUR, 800, 0, 0),
        # Within the grace: the interval that has begun is to pay, no fee.
        (4 * HOUR + 2 * MINUTE, 900, 0, 0),
        # After it the fee counts from the due time.
        (4 * HOUR + 2 * MINUTE + MOMENT, 900, 100, 70),
        (4 * HOUR + 31 * MINUTE, 1000, 200, 70),
        (5 * HOUR, 1000, 200, 70),
        (5 * HOUR + MOMENT, 1100, 300, 140),
    ],
)
def test_what_being_late_costs(duration: timedelta, usage: int, twice: int, by_hour: int) -> None:
    assert after(TERMS, duration) == usage
    assert after(TWICE, duration) == usage + twice
    assert after(BY_HOUR, duration) == usage + by_hour
    assert after(BOTH, duration) == usage + twice + by_hour


def test_each_fee_has_its_line() -> None:
    found = price(BOTH, NOON, NOON + 5 * HOUR)
    assert [(line.kind, line.text, line.amount_minor) for line in found.lines] == [
        ("usage", "2026-11-23: 10 x 30 min at 1.00 EUR", 1000),
        ("late_fee", "2026-11-23: late, 100 % on 2.00 EUR", 200),
        ("late_fee", "2026-11-23: late, 1 h begun at 0.70 EUR", 70),
    ]


def test_late_fees_of_a_day_have_a_cap_of_their_own() -> None:
    terms = replace(BOTH, late=replace(BOTH.late, daily_cap_minor=500))
    found = price(terms, NOON, NOON + 36 * HOUR)
    assert [line.amount_minor for line in found.lines if line.kind == "late_cap"] == [-1660, -5980]
    assert found.total_minor == 72 * 100 + 2 * 500


def test_what_the_daily_cap_made_free_is_not_doubled() -> None:
    terms = replace(TWICE, daily_cap_minor=900)
    assert after(terms, 4 * HOUR) == 800
    assert after(terms, 12 * HOUR) == 900 + 100


def test_the_total_cap_is_above_late_fees() -> None:
    terms = replace(BOTH, total_cap_minor=1500)
    found = price(terms, NOON, NOON + timedelta(days=9))
    assert (found.total_minor, found.lines[-1].kind) == (1500, "total_cap")
    reached = cap_reached_at(terms, NOON)
    assert reached == NOON + 5 * HOUR + MOMENT
    assert after(terms, reached - NOON) == 1500 > after(terms, reached - NOON - MOMENT)


def test_a_cap_that_the_end_of_the_grace_reaches() -> None:
    terms = replace(BOTH, total_cap_minor=1000)
    assert cap_reached_at(terms, NOON) == NOON + 4 * HOUR + 2 * MINUTE + MOMENT


def test_a_pause_puts_the_due_time_off() -> None:
    paused = [(NOON + HOUR, NOON + 2 * HOUR)]
    assert price(BOTH, NOON, NOON + 5 * HOUR, paused).total_minor == 800
    assert price(BOTH, NOON, NOON + 6 * HOUR, paused).total_minor == after(BOTH, 5 * HOUR)


def test_beyond_a_package_is_late_and_by_the_tariff() -> None:
    prepaid = (Prepaid("Two hours", 2 * HOUR, 300), Prepaid("Extension", HOUR, 200))
    assert after(BOTH, MINUTE, prepaid=prepaid) == after(BOTH, 3 * HOUR, prepaid=prepaid) == 500
    found = price(BOTH, NOON, NOON + 4 * HOUR, prepaid=prepaid)
    assert [(line.kind, line.amount_minor) for line in found.lines] == [
        ("package", 300),
        ("package", 200),
        ("usage", 200),
        ("late_fee", 200),
        ("late_fee", 70),
    ]
    assert found.lines[0].text == "Two hours: 2 h prepaid"


def test_terms_without_late_fees_are_what_older_rentals_were_frozen_with() -> None:
    old = {name: value for name, value in TERMS.to_json().items() if name in _BEFORE}
    assert TariffTerms.from_json(old) == TERMS


_BEFORE = (
    "currency", "unlock_minor", "free_period", "interval_minor", "interval_length", "daily_cap_minor",
    "total_cap_minor", "hold_minor", "overdue_after",
)  # fmt: skip
