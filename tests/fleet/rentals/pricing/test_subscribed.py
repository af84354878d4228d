"""What subscriptions do to rentals: a line in the price, free minutes that are used once and come back unused."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from firmware_protocol.types import CommandOutcome
from fleet.common.money import Money
from fleet.payments import holds
from fleet.rentals.agreement import price_at
from fleet.rentals.closing import charges, completion
from fleet.rentals.closing.completion import Return
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.pricing import subscribed
from fleet.rentals.pricing.adjustments import Adjustment, AdjustmentKind, Applied, Effect
from fleet.rentals.pricing.subscribed import free_seconds_used
from fleet.rentals.starts import quotes
from fleet.rentals.underway import cancels, deadlines
from fleet.subscriptions import benefits, changes
from fleet.subscriptions.changes import Ending, Giveback, Grant
from fleet.subscriptions.models import Subscription, SubscriptionPeriod, SubscriptionState, SubscriptionUse
from tests.factories import add_rider
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND, World
from tests.fleet.subscriptions.club import add_plan


@pytest.fixture
def operator(world: World) -> UUID:
    return add_rider(world.session, world.now, 0)


def given(world: World, operator: UUID, **plan: Any) -> Subscription:
    """The rider has the plan: 60 free minutes a day, 30 of them for one rental."""
    add_plan(world.session, world.now, **plan)
    return changes.grant(world.session, Grant(world.rider, "daily", operator), world.now)


def returned(world: World, rental: Rental, after: timedelta) -> Rental:
    """The bank is back so long after it left."""
    assert rental.started_at is not None
    world.now = rental.started_at + after
    world.inserted("B", 1, world.serial(rental))
    assert rental.state is RentalState.COMPLETED
    world.inventory("B", {})  # taken out again, by whoever services it
    return rental


def uses(session: Session) -> list[tuple[int, int | None]]:
    query = select(SubscriptionUse.granted_s, SubscriptionUse.used_s).order_by(SubscriptionUse.granted_at)
    return [(granted, used) for granted, used in session.execute(query)]


def lines(rental: Rental) -> list[tuple[str, int]]:
    return [(line["text"], line["amount_minor"]) for line in rental.price_lines or [] if line["kind"] == "adjustment"]


def test_a_quote_shows_it_and_uses_nothing(world: World, operator: UUID) -> None:
    given(world, operator, discount_bp=1000)
    for _ in range(2):
        found = quotes.quote(
            world.session, user_id=world.rider, station_code="A", now=world.now, policy=world.policy, duration=HOUR
        )
        texts = [(line.text, line.amount_minor) for line in found.price.lines if line.kind == "adjustment"]
        assert texts == [("Plan daily: up to 30 min free", -50), ("Plan daily: 10 % off", -15)]
    assert uses(world.session) == []


def test_free_minutes_are_used_once_and_only_as_many_as_there_are(world: World, operator: UUID) -> None:
    given(world, operator)
    first = returned(world, world.rent("A", 1), 50 * MINUTE)
    assert (first.price_minor, lines(first)) == (150, [("Plan daily: up to 30 min free", -50)])
    world.heard()
    second = returned(world, world.rent("A", 2), 20 * MINUTE)
    assert (second.price_minor, lines(second)) == (100, [("Plan daily: up to 30 min free", -50)])
    world.heard()
    third = returned(world, world.rent("A", 3), 50 * MINUTE)
    # Ten minutes fewer are as many half hours: they saved nothing, and are still there.
    assert (third.price_minor, lines(third)) == (200, [("Plan daily: up to 10 min free", 0)])
    assert uses(world.session) == [(1800, 1800), (1800, 1200), (600, 0)]
    world.check_everything()


def test_rentals_at_once_share_what_there_is(world: World, operator: UUID) -> None:
    given(world, operator)
    world.policy = replace(world.policy, max_open_rentals=3)
    rentals = [world.rent("A", number) for number in (1, 2, 3)]
    assert uses(world.session) == [(1800, None), (1800, None)]
    assert [len(rental.adjustments) for rental in rentals] == [1, 1, 0]


def test_a_bank_that_never_left_used_nothing(world: World, operator: UUID) -> None:
    given(world, operator)
    rental = world.start()
    world.result("A", world.send(rental), CommandOutcome.FAILED, "motor_stalled")
    while rental.state is RentalState.EJECTING:
        world.result("A", world.send(rental), CommandOutcome.FAILED, "motor_stalled")
    assert rental.state is RentalState.EJECT_FAILED
    assert uses(world.session) == [(1800, 0)]


def test_a_cancelled_rental_gives_them_back(world: World, operator: UUID) -> None:
    given(world, operator)
    rental = returned(world, world.rent(), 2 * MINUTE)
    assert uses(world.session) == [(1800, 120)]
    cancels.cancel(world.session, user_id=world.rider, rental_id=rental.id, now=world.now, policy=world.policy)
    assert rental.state is RentalState.CANCELLED
    assert uses(world.session) == [(1800, 0)]


def test_an_earlier_return_gives_back_what_it_did_not_use(world: World, operator: UUID) -> None:
    given(world, operator)
    rental = returned(world, world.rent(), 25 * MINUTE)
    assert rental.started_at is not None
    earlier = Return(rental.started_at + 10 * MINUTE, None, None, "told_later")
    for _ in range(2):
        completion.correct_end(world.session, rental, earlier, evidence={}, now=world.now)
    assert uses(world.session) == [(1800, 600)]


def test_a_rental_that_is_refunded_whole_gives_them_back(world: World, operator: UUID) -> None:
    given(world, operator)
    rental = returned(world, world.rent(), 50 * MINUTE)
    for part, left in ((50, 1800), (100, 0)):
        money = Money(part, "EUR")
        holds.refund_rental(
            world.session, rental_id=rental.id, money=money, reason="test", key=str(part), now=world.now
        )
        subscribed.refunded(world.session, rental.id, world.now)
        assert uses(world.session) == [(1800, left)]


def test_a_person_who_lowers_the_price_takes_no_minutes(world: World, operator: UUID) -> None:
    given(world, operator)
    rental = returned(world, world.rent(), 50 * MINUTE)
    charges.reduce_price(world.session, rental, 30, text="sorry", key="1", now=world.now)
    assert uses(world.session) == [(1800, 1800)]
    charges.reduce_price(world.session, rental, 120, text="very sorry", key="2", now=world.now)
    assert uses(world.session) == [(1800, 0)]


def test_a_bought_bank_used_none_until_it_is_back(world: World, operator: UUID) -> None:
    given(world, operator)
    rental = world.rent()
    assert rental.buyout_at is not None
    world.now = rental.buyout_at
    deadlines.sweep_rentals(world.session, world.now, world.policy)
    world.now += SECOND
    deadlines.sweep_rentals(world.session, world.now, world.policy)
    assert (rental.state, rental.price_minor, uses(world.session)) == (RentalState.BOUGHT_OUT, 3000, [(1800, 0)])
    world.inserted("B", 1, world.serial(rental))
    assert rental.state is RentalState.COMPLETED


def test_what_was_promised_at_the_start_holds_whatever_becomes_of_the_subscription(
    world: World, operator: UUID
) -> None:
    subscription = given(world, operator)
    rental = world.rent()
    ending = Ending(subscription.id, Giveback.NOTHING, "moved away", operator)
    changes.end_now(world.session, ending, world.now + MINUTE)
    assert returned(world, rental, 50 * MINUTE).price_minor == 150
    world.heard()
    assert world.rent("A", 2).adjustments == []


def test_a_gift_ends_with_its_period(world: World, operator: UUID) -> None:
    subscription = given(world, operator)
    period = world.session.scalars(select(SubscriptionPeriod)).one()
    assert benefits.covers(world.session, subscription, period, period.ends_at - SECOND)
    assert not benefits.covers(world.session, subscription, period, period.ends_at)


def test_past_due_it_gives_only_within_the_grace(world: World, operator: UUID) -> None:
    subscription = given(world, operator)
    period = world.session.scalars(select(SubscriptionPeriod)).one()
    subscription.cancel_at_period_end = False
    subscription.state, subscription.past_due_since = SubscriptionState.PAST_DUE, period.ends_at
    station, grace = world.stations["A"], timedelta(days=3)
    late = benefits.benefit_at(world.session, world.rider, station, period.ends_at + grace - SECOND)
    assert late is not None
    assert late.free_s == 1800
    assert benefits.benefit_at(world.session, world.rider, station, period.ends_at + grace) is None


def test_only_where_the_plan_is_for(world: World, operator: UUID) -> None:
    given(world, operator, city="Bern")
    assert world.rent().adjustments == []


def test_a_day_begins_at_the_riders_midnight(world: World, operator: UUID) -> None:
    given(world, operator, free_minutes_per_rental=None)
    returned(world, world.rent("A", 1), HOUR)
    world.heard()
    assert world.rent("A", 2).adjustments == []
    subscription = world.session.scalars(select(Subscription)).one()
    midnight = (world.now + timedelta(days=1)).replace(hour=0, minute=0, second=0)
    station = world.stations["A"]
    before, after = (
        benefits.benefit_at(world.session, world.rider, station, at) for at in (midnight - SECOND, midnight)
    )
    assert subscription.time_zone == "UTC"
    assert before is not None
    assert after is not None
    assert (before.free_s, after.free_s) == (0, 3600)


def free(seconds: int, amount: int, kind: AdjustmentKind = AdjustmentKind.SUBSCRIPTION) -> Applied:
    return Applied(Adjustment(kind, Effect.FREE_TIME, seconds, "free"), amount)


@pytest.mark.parametrize(
    ("applied", "chargeable", "used"),
    [
        ([], HOUR, 0),
        ([free(1800, -50)], HOUR, 1800),
        ([free(1800, -50)], timedelta(minutes=10, microseconds=1), 601),
        ([free(1800, 0)], HOUR, 0),
        ([free(1800, -50)], timedelta(0), 0),
        ([free(3000, -50, AdjustmentKind.COUPON), free(1800, -50)], HOUR, 600),
        ([free(1800, -50), free(3000, -50, AdjustmentKind.COUPON)], HOUR, 1800),
    ],
)
def test_free_time_is_used_only_where_it_saved_something(
    applied: list[Applied], chargeable: timedelta, used: int
) -> None:
    assert free_seconds_used(applied, chargeable) == used


def test_the_running_price_shows_it(world: World, operator: UUID) -> None:
    given(world, operator)
    rental = world.rent()
    assert rental.started_at is not None
    assert price_at(rental, rental.started_at + 50 * MINUTE).total_minor == 150
