"""A plan that may be tried: nothing is paid at first, once per rider and plan; then all is as usual."""

from datetime import timedelta

import pytest

from fleet.payments import methods
from fleet.payments.providers.sandbox import Card
from fleet.subscriptions import changes, plans
from fleet.subscriptions.changes import Grant
from fleet.subscriptions.errors import SubscriptionNotPaid
from fleet.subscriptions.models import PeriodUnit, SubscriptionState
from tests.factories import add_rider
from tests.fleet.parallel import together
from tests.fleet.subscriptions.club import DAY, PRICE, Club, add_plan, spec
from tests.fleet.subscriptions.test_changes import over

_S = SubscriptionState
TRIAL = 14


@pytest.fixture
def tried(club: Club) -> Club:
    """A rider without any money has just subscribed to what may be tried for 14 days."""
    with club.transactions() as session:
        add_plan(session, code="trial", trial_days=TRIAL)
    club.subscribe("trial")
    return club


def cancel(club: Club) -> None:
    with club.transactions() as session:
        changes.cancel(session, club.rider, club.now)


def test_the_first_days_cost_nothing(tried: Club) -> None:
    assert (tried.state, tried.charged(), tried.on_cards(), tried.invoices()) == (_S.ACTIVE, 0, [], [])
    [period] = tried.periods()
    assert (period.trial, period.price_minor, period.ends_at - period.starts_at) == (True, 0, TRIAL * DAY)
    tried.later(TRIAL * DAY - timedelta(seconds=1))
    assert tried.sweep() == 0


def test_the_first_payment_is_at_its_end_and_months_count_from_there(tried: Club) -> None:
    tried.give(2 * PRICE)
    over(tried)
    assert (tried.state, tried.charged(), tried.invoices()) == (_S.ACTIVE, PRICE, [PRICE])
    assert tried.paid() == [("01-31", "02-14"), ("02-14", "03-14")]
    over(tried)
    assert (tried.charged(), tried.paid()[-1]) == (2 * PRICE, ("03-14", "04-14"))


def test_a_card_pays_it_once_though_the_job_runs_twice_at_once(tried: Club) -> None:
    tried.save()
    tried.until_due()
    together(8, lambda _: tried.sweep())
    assert (tried.state, tried.charged(), tried.on_cards()) == (_S.ACTIVE, PRICE, ["succeeded"])


def test_cancelled_within_it_costs_nothing(tried: Club) -> None:
    tried.give(PRICE)
    cancel(tried)
    assert tried.state is _S.ACTIVE  # what was promised is kept
    over(tried)
    assert (tried.state, tried.charged(), tried.money()) == (_S.CANCELLED, 0, (PRICE, PRICE))


def test_who_cannot_pay_at_its_end_is_asked_again_as_usual(tried: Club) -> None:
    tried.save(Card.SUCCEEDS)
    with tried.transactions() as session:
        for each in methods.methods_of(session, tried.rider):
            methods.remove(session, tried.rider, each.id, tried.now)
    over(tried)
    assert (tried.state, tried.subscription().failure_code) == (_S.PAST_DUE, "no_payment_method")
    tried.give(PRICE)
    over(tried)
    assert (tried.state, tried.charged()) == (_S.ACTIVE, PRICE)


def test_it_is_had_once_and_a_newer_version_is_the_same_plan(tried: Club) -> None:
    cancel(tried)
    over(tried)
    with pytest.raises(SubscriptionNotPaid):
        tried.subscribe("trial", key="second")
    with tried.transactions() as session:
        plans.edit_plan(session, "trial", spec(trial_days=30), 1, tried.now)
    tried.give(PRICE)
    tried.subscribe("trial", key="third")
    assert (tried.state, tried.charged()) == (_S.ACTIVE, PRICE)


def test_another_plan_may_be_tried_too_and_another_rider_may_try_the_same(tried: Club) -> None:
    cancel(tried)
    over(tried)
    with tried.transactions() as session:
        add_plan(session, tried.now, code="other", trial_days=3)
    tried.subscribe("other", key="second")
    assert (tried.state, tried.charged()) == (_S.ACTIVE, 0)
    with tried.transactions() as session:
        tried.rider = add_rider(session, tried.now, 0)
    tried.subscribe("trial", key="theirs")
    assert (tried.state, tried.charged()) == (_S.ACTIVE, 0)


def test_the_same_request_many_times_at_once_is_one_trial(club: Club) -> None:
    with club.transactions() as session:
        add_plan(session, code="trial", trial_days=TRIAL)
    found = together(10, lambda _: club.subscribe("trial"))
    assert set(found) == {club.subscription().id}
    assert [each.trial for each in club.periods()] == [True]


def test_a_change_of_plan_is_paid_from_the_end_of_the_trial_on(tried: Club) -> None:
    tried.give(2 * PRICE)
    with tried.transactions() as session:
        add_plan(session, tried.now, code="week", period_unit=PeriodUnit.WEEK, trial_days=5)
        changes.change_plan(session, tried.rider, "week", tried.now)
    over(tried)
    assert (tried.charged(), tried.paid()[-1]) == (PRICE, ("02-14", "02-21"))  # no second trial


def test_a_gift_is_no_trial(club: Club) -> None:
    with club.transactions() as session:
        add_plan(session, code="trial", trial_days=TRIAL)
        changes.grant(session, Grant(club.rider, "trial", by=add_rider(session, club.now, 0)), club.now)
    over(club)
    assert club.state is _S.CANCELLED
    club.subscribe("trial")
    assert [each.trial for each in club.periods()] == [False, True]
