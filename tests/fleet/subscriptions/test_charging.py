"""A period is paid once: by the wallet, else by a card; whatever repeats, dies or comes late in between."""

from datetime import timedelta
from uuid import UUID

import pytest
from pydantic import JsonValue
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from fleet.config import service as config
from fleet.payments import intents, methods
from fleet.payments.errors import PaymentMethodNotFound
from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.payments.outgoing.models import MoneyOut
from fleet.payments.providers.sandbox import Card
from fleet.subscriptions import changes, charging, plans, queries, renewals, subscribing
from fleet.subscriptions.errors import AlreadySubscribed, PlanNotFound, SubscriptionNotOpen, SubscriptionNotPaid
from fleet.subscriptions.models import AttemptState, Subscription, SubscriptionAttempt, SubscriptionState
from tests.fleet.parallel import together
from tests.fleet.subscriptions.club import DAY, PRICE, Club, spec
from tests.fleet.subscriptions.conftest import THREADS

_S = SubscriptionState


def test_the_wallet_pays_first(club: Club) -> None:
    club.give(2000)
    club.save()
    club.subscribe()
    assert (club.state, club.money(), club.on_cards(), club.invoices()) == (_S.ACTIVE, (1100, 1100), [], [PRICE])
    assert club.paid() == [("01-31", "02-28")]


def test_a_card_pays_what_the_wallet_cannot(club: Club) -> None:
    club.give(PRICE - 1)
    club.save()
    club.subscribe()
    assert (club.state, club.money(), club.on_cards()) == (_S.ACTIVE, (PRICE - 1, PRICE - 1), ["succeeded"])
    assert club.charged() == PRICE


def test_without_money_nothing_begins(club: Club) -> None:
    with pytest.raises(SubscriptionNotPaid) as refused:
        club.subscribe()
    assert refused.value.attributes["reason"] == "no_payment_method"
    assert (club.state, club.charged()) == (_S.EXPIRED, 0)


def test_a_payment_that_never_was_begins_nothing_and_the_rider_may_try_again(club: Club) -> None:
    club.save(Card.TIMEOUT_NOT_CHARGED)
    club.subscribe()
    assert club.state is _S.PENDING
    club.later(timedelta(minutes=2))
    club.settle_unknown()
    assert (club.state, club.charged()) == (_S.EXPIRED, 0)
    club.give(PRICE)
    club.subscribe()
    assert club.subscription().state is _S.ACTIVE


def test_what_is_not_offered_cannot_be_had(club: Club) -> None:
    with pytest.raises(PlanNotFound):
        club.subscribe("gold")
    with pytest.raises(PaymentMethodNotFound):
        club.subscribe(method_id=UUID(int=1))
    with club.transactions() as session:
        plans.retire_plan(session, "daily", club.now)
    with pytest.raises(PlanNotFound):
        club.subscribe()


def test_one_at_a_time_but_the_same_request_goes_on(club: Club) -> None:
    club.give(2000)
    first = club.subscribe()
    assert club.subscribe() == first
    with pytest.raises(AlreadySubscribed):
        club.subscribe(key="second")
    assert club.charged() == PRICE


def test_fifty_requests_at_once_pay_once(club: Club) -> None:
    club.save()
    made = together(THREADS, lambda _: club.subscribe())
    assert len({each for each in made if isinstance(each, UUID)}) == 1, made
    assert (club.charged(), club.on_cards()) == (PRICE, ["succeeded"])


def test_it_renews_on_the_day_it_began(club: Club) -> None:
    club.give(5 * PRICE)
    club.subscribe()
    for _ in range(3):
        club.until_due()
        club.later(timedelta(seconds=20))
        club.sweep()
        assert club.sweep() == 0
    assert club.paid() == [("01-31", "02-28"), ("02-28", "03-31"), ("03-31", "04-30"), ("04-30", "05-31")]
    assert club.charged() == 4 * PRICE


@pytest.mark.parametrize("by_card", [False, True])
def test_fifty_jobs_at_once_charge_once(club: Club, *, by_card: bool) -> None:
    club.give(PRICE if by_card else 3 * PRICE)
    club.subscribe()
    if by_card:
        club.save()
    club.until_due()
    failed = [each for each in together(THREADS, lambda _: club.sweep()) if isinstance(each, Exception)]
    assert failed == []
    assert club.charged() == 2 * PRICE
    assert club.on_cards() == (["succeeded"] if by_card else [])


def test_the_database_refuses_a_second_charge_for_a_period(club: Club) -> None:
    club.give(3 * PRICE)
    club.subscribe()
    with pytest.raises(IntegrityError), club.transactions() as session:
        session.execute(
            text(
                "INSERT INTO subscription_period (id, subscription_id, number, plan_id, state, starts_at, ends_at,"
                " price_minor, currency, paid_at, created_at, granted_by)"
                " SELECT gen_random_uuid(), subscription_id, 2, plan_id, 'paid', starts_at + interval '1 day', ends_at,"
                " 0, currency, paid_at, created_at, :rider FROM subscription_period"
            ),
            {"rider": club.rider},
        )


def test_who_dies_before_the_card_is_asked_is_followed_by_the_job(club: Club) -> None:
    """The attempt is there, the provider has never heard of it."""
    club.save()
    request = subscribing.Request(club.rider, "daily", None, "first")
    with club.transactions() as session:
        subscribing._open(session, request, club.provider, club.now)  # where the process dies
    assert (club.state, club.on_cards(), club.sweep()) == (_S.PENDING, [], 0)
    club.later(charging.LOOK_AGAIN)
    assert club.sweep() == 1
    assert (club.state, club.charged(), club.on_cards()) == (_S.ACTIVE, PRICE, ["succeeded"])


def test_who_dies_between_charge_and_period_is_followed_by_the_job(club: Club) -> None:
    """The card has paid, the money is set aside, the period does not know: nobody else can have the money meanwhile."""
    club.save()
    request = subscribing.Request(club.rider, "daily", None, "first")
    with club.transactions() as session:
        _, intent_id = subscribing._open(session, request, club.provider, club.now)  # as above
    assert intent_id is not None
    with club.transactions() as session:
        method_id = session.get_one(SubscriptionAttempt, intent_id).method_id
    intents.confirm(
        club.transactions, intent_id=intent_id, user_id=club.rider, method_id=method_id, provider=club.provider,
        now=club.now,
    )  # fmt: skip
    assert (club.state, club.money()) == (_S.PENDING, (PRICE, 0))
    club.later(charging.LOOK_AGAIN)
    together(8, lambda _: club.sweep())
    assert (club.state, club.money(), club.charged(), len(club.on_cards())) == (_S.ACTIVE, (0, 0), PRICE, 1)


def test_a_lost_answer_is_found_by_the_janitor(club: Club) -> None:
    club.save(Card.TIMEOUT_CHARGED)
    club.subscribe()
    assert club.state is _S.PENDING
    club.later(timedelta(minutes=2))
    club.settle_unknown()
    club.settle_unknown()
    assert (club.state, club.charged(), club.on_cards()) == (_S.ACTIVE, PRICE, ["succeeded"])


def unpaid(club: Club) -> None:
    """A month is over and there is nothing to pay the next one with."""
    club.give(PRICE)
    club.subscribe()
    club.until_due()
    club.sweep()
    assert club.state is _S.PAST_DUE


def test_what_is_not_paid_is_asked_for_again_until_it_expires(club: Club) -> None:
    unpaid(club)
    since, tried = club.now, []
    while club.state is _S.PAST_DUE:
        look_at = club.subscription().look_at
        assert look_at is not None
        tried.append((look_at - since).days)
        club.clock.now = look_at
        club.sweep()
    assert tried == [1, 3, 5, 7]
    assert (club.state, club.charged()) == (_S.EXPIRED, PRICE)
    told = club.told("subscriptions.SubscriptionPaymentDeclined.v1")
    assert [each["retry_at"] is None for each in told] == [False] * 4 + [True]
    assert [each["state"] for each in club.told("subscriptions.SubscriptionEnded.v1")] == ["expired"]


def test_paid_within_the_grace_it_goes_on_as_if_nothing_was(club: Club) -> None:
    unpaid(club)
    club.give(PRICE)
    club.later(DAY)
    club.sweep()
    assert (club.state, club.paid()[-1]) == (_S.ACTIVE, ("02-28", "03-31"))


def test_paid_after_the_grace_the_period_begins_with_the_payment(club: Club) -> None:
    unpaid(club)
    club.later(4 * DAY)
    club.give(PRICE)
    club.pay_now()
    assert (club.state, club.paid()[-1], club.charged()) == (_S.ACTIVE, ("03-04", "04-04"), 2 * PRICE)


def test_after_a_long_outage_only_what_lies_ahead_is_charged(club: Club) -> None:
    club.give(5 * PRICE)
    club.subscribe()
    club.later(100 * DAY)
    while club.sweep():
        pass
    assert (club.paid()[-1], club.charged()) == (("05-11", "06-11"), 2 * PRICE)


def test_a_rider_who_pays_by_hand_takes_no_try_from_the_schedule(club: Club) -> None:
    unpaid(club)
    retries = club.subscription().retries
    club.pay_now()
    assert (club.state, club.subscription().retries) == (_S.PAST_DUE, retries)
    club.pay_now(club.save())
    assert (club.state, club.charged()) == (_S.ACTIVE, 2 * PRICE)
    with pytest.raises(SubscriptionNotOpen):
        club.pay_now()


def test_money_that_comes_after_the_end_goes_back_to_the_card(club: Club) -> None:
    club.save(Card.TIMEOUT_CHARGED)
    club.subscribe()
    with club.transactions() as session:
        changes.cancel(session, club.rider, club.now)
    assert club.state is _S.CANCELLED
    club.later(timedelta(minutes=2))
    club.settle_unknown()
    club.settle_unknown()
    with club.transactions() as session:
        out = session.scalars(select(MoneyOut)).one()
        attempt = session.scalars(select(SubscriptionAttempt)).one()
    assert (out.amount_minor, attempt.state, club.charged()) == (PRICE, AttemptState.RETURNED, 0)
    # Reserved for the card, and the rider's again should the card not take it.
    assert club.money() == (PRICE, 0)
    assert len(club.told("subscriptions.SubscriptionPaymentReturned.v1")) == 1


def test_of_two_payments_for_a_period_one_goes_back(club: Club) -> None:
    """The first was given up, the second paid; then the first turns out to have been taken."""
    unpaid(club)
    club.save(Card.TIMEOUT_CHARGED)
    club.pay_now()
    with club.transactions() as session:
        first = session.scalars(select(PaymentIntent)).one()
        first.state, first.ask_at = IntentState.CANCELLED, None
        charging.settle(session, first.id, club.now)
    club.give(PRICE)
    club.pay_now()
    assert (club.state, club.charged()) == (_S.ACTIVE, 2 * PRICE)
    charge = club.provider.find(intents.order_of(first))
    assert charge is not None
    intents.apply_or_note(club.transactions, first.id, charge, club.now)
    with club.transactions() as session:
        charging.settle(session, first.id, club.now)
        charging.settle(session, first.id, club.now)
        assert session.scalar(select(func.sum(MoneyOut.amount_minor))) == PRICE
    assert (club.state, club.charged()) == (_S.ACTIVE, 2 * PRICE)


def test_a_card_that_is_gone_or_may_not_pay_is_a_refusal(club: Club) -> None:
    unpaid(club)
    method = club.save()
    with club.transactions() as session:
        limit: JsonValue = {"card": {"EUR": {"max_minor": PRICE - 1}}}
        config.put(session, methods.LIMITS.name, limit, club.now)
    club.pay_now()
    assert (club.state, club.subscription().failure_code) == (_S.PAST_DUE, "payment_method_limit")
    with club.transactions() as session:
        methods.remove(session, club.rider, method, club.now)
    club.pay_now()
    assert club.subscription().failure_code == charging.NO_METHOD


def test_the_wallet_is_asked_again_before_the_card(club: Club) -> None:
    unpaid(club)
    club.save()
    club.give(PRICE)
    club.later(DAY)
    club.sweep()
    assert (club.state, club.on_cards()) == (_S.ACTIVE, [])


def test_a_new_version_is_for_the_next_period(club: Club) -> None:
    club.give(5000)
    club.subscribe()
    with club.transactions() as session:
        plans.edit_plan(session, "daily", spec(price_minor=1200), 1, club.now)
        assert queries.paid_period(session, club.subscription()).price_minor == PRICE  # type: ignore[union-attr]  # it is paid
    club.until_due()
    club.sweep()
    assert [each.price_minor for each in club.periods()] == [PRICE, 1200]


def test_one_that_cannot_be_renewed_does_not_stop_the_others(club: Club) -> None:
    club.give(3 * PRICE)
    club.subscribe()
    club.until_due()
    assert not renewals._try(club.transactions, UUID(int=7), club.provider, club.now)  # one that fails
    assert club.sweep() == 1


def test_closed_accounts_are_not_charged(club: Club) -> None:
    club.give(3 * PRICE)
    club.subscribe()
    with club.transactions() as session:
        session.execute(text("UPDATE app_user SET status = 'suspended'"))
    club.until_due()
    club.sweep()
    assert (club.state, club.charged()) == (_S.CANCELLED, PRICE)


def test_every_live_subscription_is_looked_at(club: Club) -> None:
    club.give(PRICE)
    club.subscribe()
    with pytest.raises(IntegrityError), club.transactions() as session:
        session.execute(Subscription.__table__.update().values(look_at=None))  # type: ignore[attr-defined]  # a Table
