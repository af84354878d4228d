"""The seam for coupons, points, discounts and subscriptions, proven with a source that exists in this file only."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from fleet.rentals.agreement import price_at
from fleet.rentals.errors import NoBankAvailable
from fleet.rentals.models import RentalState
from fleet.rentals.pricing.adjustments import Adjustment, AdjustmentKind, Effect, Occasion, Part
from fleet.rentals.pricing.price import Price, price
from fleet.rentals.pricing.terms import LateTerms, TariffTerms, TaxTerms
from fleet.rentals.starts import quotes
from fleet.rentals.underway import deadlines
from tests.fleet.rentals.world import HOUR, MINUTE, World

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
#: 1.00 to unlock, 0.50 per half hour; late after a day, 1.00 per hour.
TERMS = TariffTerms(
    currency="EUR",
    unlock_minor=100,
    free_period=timedelta(0),
    interval_minor=50,
    interval_length=30 * MINUTE,
    daily_cap_minor=1000,
    total_cap_minor=3000,
    hold_minor=500,
    overdue_after=timedelta(days=1),
    late=LateTerms(hourly_minor=100),
)


def adjustment(effect: Effect, value: int, **more: object) -> Adjustment:
    values = {"kind": AdjustmentKind.COUPON, "text": f"{effect} {value}", **more}
    return Adjustment(effect=effect, value=value, **values)  # type: ignore[arg-type]  # tests name what they give


def charged(duration: timedelta, *granted: Adjustment, terms: TariffTerms = TERMS) -> Price:
    return price(terms, NOON, NOON + duration, adjustments=granted)


def test_each_grant_has_a_line_and_says_what_it_came_to() -> None:
    found = charged(
        2 * HOUR, adjustment(Effect.AMOUNT, -30), adjustment(Effect.PERCENT, -5_000), adjustment(Effect.FREE_TIME, 3600)
    )
    # 1.00 + 4 x 0.50; an hour free; half off; 0.30 off: in that order, however they are given.
    assert [(line.kind, line.amount_minor) for line in found.lines] == [
        ("unlock", 100),
        ("usage", 200),
        ("adjustment", -100),
        ("adjustment", -100),
        ("adjustment", -30),
    ]
    assert found.total_minor == 70
    assert [(each.adjustment.effect, each.amount_minor) for each in found.applied] == [
        (Effect.FREE_TIME, -100),
        (Effect.PERCENT, -100),
        (Effect.AMOUNT, -30),
    ]


def test_never_below_zero() -> None:
    found = charged(HOUR, adjustment(Effect.AMOUNT, -500), adjustment(Effect.AMOUNT, -500))
    assert (found.total_minor, [each.amount_minor for each in found.applied]) == (0, [-200, 0])
    assert (found.unlock_minor, found.usage_minor) == (0, 0)


def test_never_above_the_caps() -> None:
    extra = adjustment(Effect.AMOUNT, 100_000, kind=AdjustmentKind.OPERATOR)
    assert charged(HOUR, extra).total_minor == 100 + 1000  # the day's cap
    assert charged(timedelta(days=20), extra).total_minor == 3000
    no_daily_cap = replace(TERMS, daily_cap_minor=0)
    assert charged(HOUR, extra, terms=no_daily_cap).total_minor == 3000


def test_late_fees_are_not_a_coupons_business() -> None:
    late = timedelta(days=1, hours=1)
    fee = charged(late).total_minor - charged(late, terms=replace(TERMS, late=LateTerms())).total_minor
    assert fee == 100
    assert charged(late, adjustment(Effect.PERCENT, -10_000)).total_minor == fee
    assert charged(late, adjustment(Effect.AMOUNT, -9_000)).total_minor == fee
    assert charged(late, adjustment(Effect.PERCENT, -10_000, part=Part.TOTAL)).total_minor == 0
    assert charged(late, adjustment(Effect.AMOUNT, -9_000, part=Part.TOTAL)).total_minor == 0


def test_a_percentage_may_have_a_bound() -> None:
    assert charged(2 * HOUR, adjustment(Effect.PERCENT, -5_000, at_most_minor=40)).total_minor == 300 - 40


def test_tax_and_rounding_come_after_what_is_granted() -> None:
    terms = replace(TERMS, tax=TaxTerms("GST", 1_000, inclusive=False), rounding_step_minor=5)
    found = charged(HOUR, adjustment(Effect.AMOUNT, -33), terms=terms)
    assert [(line.kind, line.amount_minor) for line in found.lines[-3:]] == [
        ("adjustment", -33),
        ("tax", 16),
        ("rounding", -3),
    ]
    assert (found.total_minor, found.tax_minor) == (180, 16)


@pytest.mark.parametrize(
    ("effect", "value", "more"),
    [(Effect.FREE_TIME, -1, {}), (Effect.PERCENT, -10_001, {}), (Effect.AMOUNT, 1, {"at_most_minor": -1})],
)
def test_what_no_grant_can_be(effect: Effect, value: int, more: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"not negative|at most"):
        adjustment(effect, value, **more)


@dataclass
class Grants:
    """A source as a promotion will be; remembers what it was asked for."""

    adjustment: Adjustment
    asked: list[Occasion] = field(default_factory=list)

    def adjustments(self, session: Session, occasion: Occasion) -> Iterable[Adjustment]:
        assert session.in_transaction()
        self.asked.append(occasion)
        return [self.adjustment]


HALF_PRICE = adjustment(Effect.PERCENT, -5_000, text="Half price today", reference="HALF")


def test_a_source_is_asked_where_the_price_is_made(world: World) -> None:
    source = Grants(HALF_PRICE)
    world.policy = replace(world.policy, sources=(source,))
    quote = quotes.quote(
        world.session, user_id=world.rider, station_code="A", now=world.now, policy=world.policy, duration=HOUR
    )
    assert (quote.price.total_minor, source.asked[0].rental_id) == (100, None)
    rental = world.rent()
    assert [occasion.rental_id for occasion in source.asked] == [None, rental.id]
    world.later(HOUR)
    # What becomes of the promotion now changes nothing: the grant is frozen like the tariff.
    world.policy = replace(world.policy, sources=())
    world.inserted("B", 1, world.serial(rental))
    assert rental.state is RentalState.COMPLETED
    assert (rental.price_minor, rental.charged_minor, rental.due_minor) == (100, 100, 0)
    assert rental.price_lines is not None
    assert rental.price_lines[-1] == {"kind": "adjustment", "text": "Half price today", "amount_minor": -100}
    assert world.money() == (4900, 0)
    world.check_everything()


def test_a_start_that_fails_grants_nothing(world: World) -> None:
    source = Grants(HALF_PRICE)
    world.policy = replace(world.policy, sources=(source,))
    with pytest.raises(NoBankAvailable), world.session.begin_nested():
        world.start("B")
    assert source.asked == []


def test_no_coupon_buys_a_bank(world: World) -> None:
    world.policy = replace(world.policy, sources=(Grants(adjustment(Effect.PERCENT, -10_000)),))
    rental = world.rent()
    assert rental.buyout_at is not None
    assert price_at(rental, rental.buyout_at).total_minor == 0
    world.later(timedelta(days=30))
    for _ in range(2):
        deadlines.sweep_rentals(world.session, world.now, world.policy)
    assert (rental.state, rental.price_minor) == (RentalState.BOUGHT_OUT, 3000)
    world.check_everything()


def test_free_time_puts_off_the_day_on_which_the_bank_is_bought(world: World) -> None:
    rental = world.rent()
    assert rental.buyout_at is not None
    plain = rental.buyout_at - rental.requested_at
    world.inserted("B", 1, world.serial(rental))
    world.policy = replace(world.policy, sources=(Grants(adjustment(Effect.FREE_TIME, 3600)),))
    second = world.rent()
    assert second.buyout_at is not None
    assert second.buyout_at - second.requested_at == plain + HOUR
