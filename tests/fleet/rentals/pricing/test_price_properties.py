"""What holds for every tariff, start, pause and grant there can be."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import assume, given
from hypothesis import strategies as st

from fleet.rentals.pricing.adjustments import Adjustment, AdjustmentKind, Effect
from fleet.rentals.pricing.gross import bought_at, cap_reached_at
from fleet.rentals.pricing.price import Price, price, recorded
from fleet.rentals.pricing.terms import LateTerms, Prepaid, TariffTerms, TaxTerms
from tests.fleet.rentals.pricing import samples

MOMENT = timedelta(microseconds=1)
Start = tuple[str, datetime]
Pauses = list[tuple[timedelta, timedelta]]
PLAIN = TaxTerms()


def total_before_tax(found: Price, terms: TariffTerms) -> int:
    return found.total_minor - (0 if terms.tax.inclusive else found.tax_minor)


@given(
    samples.any_terms, samples.starts, samples.durations, samples.durations, samples.pauses, samples.prepaid,
    samples.adjustments,
)  # fmt: skip
def test_a_price_never_falls_with_time(
    terms: TariffTerms,
    start: Start,
    one: timedelta,
    other: timedelta,
    paused: Pauses,
    prepaid: tuple[Prepaid, ...],
    granted: list[Adjustment],
) -> None:
    zone, started = start
    early, late = sorted((one, other))
    ranges = samples.ranges(started, paused)
    first, second = (
        price(terms, started, started + length, ranges, zone, prepaid=prepaid, adjustments=granted)
        for length in (early, late)
    )
    assert first.total_minor <= second.total_minor
    assert first.total_minor - first.tax_minor <= second.total_minor - second.tax_minor


@given(samples.any_terms, samples.starts, samples.durations, samples.pauses, samples.prepaid, samples.adjustments)
def test_a_price_is_explained_and_bounded(
    terms: TariffTerms,
    start: Start,
    length: timedelta,
    paused: Pauses,
    prepaid: tuple[Prepaid, ...],
    granted: list[Adjustment],
) -> None:
    zone, started = start
    found = price(
        terms, started, started + length, samples.ranges(started, paused), zone, prepaid=prepaid, adjustments=granted
    )
    assert sum(line.amount_minor for line in found.lines) == found.total_minor >= 0
    assert found.unlock_minor + found.usage_minor + found.tax_minor == found.total_minor
    assert min(found.unlock_minor, found.usage_minor, found.tax_minor) >= 0
    assert found.unlock_minor <= terms.unlock_minor
    assert found.total_minor % terms.rounding_step_minor == 0
    assert all(isinstance(line.amount_minor, int) for line in found.lines)
    if terms.total_cap_minor:
        assert total_before_tax(found, terms) <= terms.total_cap_minor
    assert recorded(terms, found.total_minor, found.lines).tax_minor == found.tax_minor


@given(samples.any_terms, samples.starts, samples.durations, samples.pauses, samples.adjustments)
def test_no_day_costs_more_than_its_cap(
    terms: TariffTerms, start: Start, length: timedelta, paused: Pauses, granted: list[Adjustment]
) -> None:
    """Not even with surcharges; late fees and buying the bank are beside it."""
    assume(terms.daily_cap_minor)
    terms = replace(terms, late=LateTerms(), buyout_after=None, tax=PLAIN)
    zone, started = start
    found = price(terms, started, started + length, samples.ranges(started, paused), zone, adjustments=granted)
    days = {(started + length).astimezone(ZoneInfo(zone)).date(), started.astimezone(ZoneInfo(zone)).date()}
    most = terms.daily_cap_minor * ((max(days) - min(days)).days + 1)
    assert found.total_minor <= terms.unlock_minor + most


@given(samples.any_terms, samples.starts, samples.durations, samples.pauses, samples.pauses, samples.adjustments)
def test_a_pause_never_costs(
    terms: TariffTerms, start: Start, length: timedelta, paused: Pauses, more: Pauses, granted: list[Adjustment]
) -> None:
    zone, started = start
    ended = started + length
    some = samples.ranges(started, paused)
    with_more = price(terms, started, ended, some + samples.ranges(started, more), zone, adjustments=granted)
    with_some = price(terms, started, ended, some, zone, adjustments=granted)
    assert with_more.total_minor <= with_some.total_minor


@given(samples.any_terms, samples.starts, st.floats(0, 1), samples.adjustments)
def test_nothing_is_due_within_the_free_period(
    terms: TariffTerms, start: Start, part: float, granted: list[Adjustment]
) -> None:
    assume(terms.free_period)
    zone, started = start
    assert price(terms, started, started + terms.free_period * part, (), zone, adjustments=granted).total_minor == 0


@given(samples.any_terms, samples.starts, st.integers(0, 90), st.integers(0, 90))
def test_parts_of_a_rental_cost_what_it_costs(terms: TariffTerms, start: Start, one: int, other: int) -> None:
    """A tariff of intervals alone, whatever they cost when, adds up over every split between two of them."""
    terms = replace(
        terms, unlock_minor=0, free_period=timedelta(0), daily_cap_minor=0, total_cap_minor=0, late=LateTerms(),
        buyout_after=None, tax=PLAIN, rounding_step_minor=1,
    )  # fmt: skip
    zone, started = start
    middle = started + one * terms.interval_length
    ended = middle + other * terms.interval_length
    parts = price(terms, started, middle, (), zone).total_minor + price(terms, middle, ended, (), zone).total_minor
    assert parts == price(terms, started, ended, (), zone).total_minor


@given(samples.any_terms, st.sampled_from(samples.ZONES), st.dates(date(2025, 1, 1), date(2027, 12, 1)))
def test_days_cost_what_they_cost_together(terms: TariffTerms, zone: str, day: date) -> None:
    """A tariff with a cap per day adds up over midnights, if an interval begins there."""
    terms = replace(
        terms, unlock_minor=0, free_period=timedelta(0), total_cap_minor=0, late=LateTerms(), buyout_after=None,
        tax=PLAIN, rounding_step_minor=1, interval_length=timedelta(minutes=15),
    )  # fmt: skip
    midnights = [
        datetime.combine(day + timedelta(days=number), time(0), ZoneInfo(zone)).astimezone(UTC) for number in range(4)
    ]
    days = [price(terms, *pair, (), zone).total_minor for pair in pairwise(midnights)]
    assert sum(days) == price(terms, midnights[0], midnights[-1], (), zone).total_minor


@given(samples.any_terms, samples.starts, samples.prepaid)
def test_the_cap_is_reached_when_it_is_said_to_be(
    terms: TariffTerms, start: Start, prepaid: tuple[Prepaid, ...]
) -> None:
    zone, started = start
    terms = replace(terms, tax=PLAIN, rounding_step_minor=1, buyout_after=None)
    reached = cap_reached_at(terms, started, zone, prepaid)
    if reached is None:
        return
    assert price(terms, started, reached, (), zone, prepaid=prepaid).total_minor == terms.total_cap_minor
    if reached > started:
        before = price(terms, started, reached - MOMENT, (), zone, prepaid=prepaid)
        assert before.total_minor < terms.total_cap_minor


@given(samples.any_terms, samples.starts, st.integers(0, 80_000))
def test_a_bank_that_is_bought_costs_the_total_cap(terms: TariffTerms, start: Start, free_s: int) -> None:
    """Free time puts that off by as much."""
    zone, started = start
    terms = replace(terms, tax=PLAIN, rounding_step_minor=1)
    at = bought_at(terms, started, zone)
    assume(at is not None)
    assert at is not None
    assert price(terms, started, at, (), zone).total_minor == terms.total_cap_minor
    free = Adjustment(AdjustmentKind.SUBSCRIPTION, Effect.FREE_TIME, free_s, "free")
    later = at + timedelta(seconds=free_s)
    assert price(terms, started, later, (), zone, adjustments=[free]).total_minor == terms.total_cap_minor


@given(samples.any_terms)
def test_terms_survive_json(terms: TariffTerms) -> None:
    assert TariffTerms.from_json(terms.to_json()) == terms


@given(samples.adjustments, samples.prepaid)
def test_grants_survive_json(granted: list[Adjustment], prepaid: tuple[Prepaid, ...]) -> None:
    assert [Adjustment.from_json(each.to_json()) for each in granted] == granted
    assert tuple(Prepaid.from_json(each.to_json()) for each in prepaid) == prepaid
