"""What riders and operators change: cancelling, resuming, another plan, gifts, ends with and without money back."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fleet.common.errors import Conflict, InvalidInput
from fleet.common.models import Country
from fleet.payments import taxes, webhooks
from fleet.payments.models import AccountKind, Invoice, LedgerAccount
from fleet.payments.outgoing import money_out
from fleet.payments.outgoing.models import MoneyOut
from fleet.payments.providers import sandbox
from fleet.payments.providers.sandbox import Card
from fleet.subscriptions import changes, plans
from fleet.subscriptions.changes import Ending, Giveback, Grant
from fleet.subscriptions.errors import AlreadySubscribed, PlanChanged, SubscriptionNotFound, SubscriptionNotOpen
from fleet.subscriptions.models import PeriodUnit, SubscriptionState
from tests.factories import add_rider
from tests.fleet.subscriptions.club import PRICE, SECRET, START, Club, add_plan, spec

_S = SubscriptionState


def over(club: Club) -> None:
    """The period that is paid is over, and the job runs."""
    club.until_due()
    club.sweep()


def test_cancelled_it_ends_with_what_is_paid(club: Club) -> None:
    club.give(3 * PRICE)
    club.subscribe()
    with club.transactions() as session:
        changes.cancel(session, club.rider, club.now)
        changes.cancel(session, club.rider, club.now)
    assert club.state is _S.ACTIVE
    over(club)
    assert (club.state, club.charged()) == (_S.CANCELLED, PRICE)
    with club.transactions() as session, pytest.raises(SubscriptionNotFound):
        changes.cancel(session, club.rider, club.now)


def test_resumed_it_goes_on(club: Club) -> None:
    club.give(3 * PRICE)
    club.subscribe()
    with club.transactions() as session:
        changes.cancel(session, club.rider, club.now)
        changes.resume(session, club.rider, club.now)
    over(club)
    assert (club.state, club.charged()) == (_S.ACTIVE, 2 * PRICE)
    look_at = club.subscription().look_at
    assert look_at is not None
    with club.transactions() as session, pytest.raises(SubscriptionNotOpen):
        changes.resume(session, club.rider, look_at)


def test_another_plan_comes_with_the_next_period(club: Club) -> None:
    club.give(5000)
    club.subscribe()
    with club.transactions() as session:
        add_plan(session, code="weekly", price_minor=400, period_unit=PeriodUnit.WEEK)
        add_plan(session, code="francs", currency="CHF")
        with pytest.raises(InvalidInput):
            changes.change_plan(session, club.rider, "francs", club.now)
        changes.change_plan(session, club.rider, "weekly", club.now)
    over(club)
    assert (club.paid()[-1], club.charged(), club.subscription().plan_code) == (
        ("02-28", "03-07"), PRICE + 400, "weekly",
    )  # fmt: skip
    with club.transactions() as session:
        changes.change_plan(session, club.rider, "daily", club.now)
        changes.change_plan(session, club.rider, "weekly", club.now)
    over(club)
    assert club.paid()[-1] == ("03-07", "03-14")


def test_a_gift_costs_nothing_and_ends_unless_the_rider_goes_on(club: Club) -> None:
    with club.transactions() as session:
        desk = add_rider(session, club.now, 0)
        changes.grant(session, Grant(club.rider, "daily", desk), club.now)
        with pytest.raises(AlreadySubscribed):
            changes.grant(session, Grant(club.rider, "daily", desk), club.now)
    assert (club.state, club.charged(), club.invoices()) == (_S.ACTIVE, 0, [])
    with club.transactions() as session:
        changes.resume(session, club.rider, club.now)
    club.give(PRICE)
    over(club)
    assert (club.state, club.charged(), club.paid()[-1]) == (_S.ACTIVE, PRICE, ("02-28", "03-31"))


def end(club: Club, giveback: Giveback) -> int:
    with club.transactions() as session:
        desk = add_rider(session, club.now, 0)
        ending = Ending(club.subscription().id, giveback, "the station is gone", desk)
        return changes.end_now(session, ending, club.now)[1]


def test_an_operator_gives_back_what_is_left_of_it(club: Club) -> None:
    """28 days are paid, 7 are used; a fifth of the price was tax."""
    with club.transactions() as session:
        session.add(Country(iso_code="XX", name="Xanadu", dial_code="+9", currency="EUR", locale="en", time_zone="UTC"))
        session.flush()
        taxes.set_rate(session, "XX", name="VAT", basis_points=2500, now=club.now)
        add_plan(session, code="taxed", tax_country="XX")
    club.give(PRICE)
    club.subscribe("taxed")
    assert club.periods()[0].tax_minor == 180
    club.later(timedelta(days=7))
    assert end(club, Giveback.UNUSED) == 675
    assert (club.state, club.money(), club.invoices()) == (_S.CANCELLED, (675, 675), [PRICE, -675])
    with club.transactions() as session:
        kinds = (AccountKind.TAX, AccountKind.SUBSCRIPTIONS, AccountKind.REFUNDS)
        query = select(LedgerAccount.kind, LedgerAccount.credits_posted - LedgerAccount.debits_posted)
        found = dict(session.execute(query.where(LedgerAccount.kind.in_(kinds))).all())
        correction = session.scalars(select(Invoice).order_by(Invoice.number.desc()).limit(1)).one()
    assert found == {AccountKind.TAX: 45, AccountKind.SUBSCRIPTIONS: 720, AccountKind.REFUNDS: -540}
    assert correction.tax_minor == -135


def test_what_a_card_paid_goes_back_to_it(club: Club) -> None:
    club.save()
    club.subscribe()
    assert end(club, Giveback.ALL) == PRICE
    assert club.money() == (PRICE, 0)
    with club.transactions() as session:
        out = session.scalars(select(MoneyOut)).one()
    money_out.send(club.transactions, out.id, club.provider, club.now)
    assert club.money() == (0, 0)
    with pytest.raises(SubscriptionNotOpen):
        end(club, Giveback.ALL)


def test_what_the_card_does_not_take_stays_with_the_rider(club: Club) -> None:
    club.save(Card.REFUND_FAILS)
    club.subscribe()
    end(club, Giveback.ALL)
    with club.transactions() as session:
        out = session.scalars(select(MoneyOut)).one()
    money_out.send(club.transactions, out.id, club.provider, club.now)
    club.later(timedelta(minutes=1))
    money_out.send(club.transactions, out.id, club.provider, club.now)
    assert club.money() == (PRICE, PRICE)


def test_a_disputed_payment_ends_it_and_is_not_given_back_twice(club: Club) -> None:
    club.save(Card.DISPUTED)
    club.subscribe()
    club.later(timedelta(minutes=1))
    with club.transactions() as session:
        calls = sandbox.due_deliveries(session, SECRET, club.now)
    for call in calls:
        with club.transactions() as session:
            stored = webhooks.receive(session, club.provider, call.headers, call.body, club.now)
            number = None if stored is None else stored.id
        if number is not None:
            webhooks.process(club.transactions, number, club.provider, club.now)
    (told,) = club.told("payments.PaymentDisputed")
    assert end(club, Giveback.ALL) == 0
    for _ in range(2):
        with club.transactions() as session:
            changes.end_disputed(session, UUID(told["intent_id"]), club.now)
    assert (club.state, club.money()) == (_S.CANCELLED, (0, 0))


def test_what_a_disputed_payment_paid_for_ends(club: Club) -> None:
    club.save()
    club.subscribe()
    (period,) = club.periods()
    assert period.intent_id is not None
    for _ in range(2):
        with club.transactions() as session:
            changes.end_disputed(session, period.intent_id, club.now)
    assert (club.state, club.subscription().end_reason) == (_S.CANCELLED, "payment_disputed")


def test_nobody_refunds_themselves(club: Club) -> None:
    club.give(PRICE)
    club.subscribe()
    with club.transactions() as session, pytest.raises(Conflict):
        changes.end_now(session, Ending(club.subscription().id, Giveback.ALL, "mine", club.rider), club.now)
    assert club.state is _S.ACTIVE


def test_nothing_may_come_back(club: Club) -> None:
    club.give(PRICE)
    club.subscribe()
    assert end(club, Giveback.NOTHING) == 0
    assert (club.state, club.money(), club.invoices()) == (_S.CANCELLED, (0, 0), [PRICE])


# Plans


def test_a_version_never_changes(session: Session) -> None:
    add_plan(session)
    with pytest.raises(IntegrityError, match="never changes"), session.begin_nested():
        session.execute(text("UPDATE subscription_plan SET price_minor = 1"))
    with pytest.raises(IntegrityError, match="never changes"), session.begin_nested():
        session.execute(text("DELETE FROM subscription_plan"))


def test_two_editors_do_not_overwrite_each_other(session: Session) -> None:
    add_plan(session)
    newer = spec(price_minor=1000)
    plans.edit_plan(session, "daily", newer, 1, START)
    with pytest.raises(PlanChanged) as refused:
        plans.edit_plan(session, "daily", newer, 1, START)
    assert refused.value.attributes["version"] == 2
    assert [each.version for each in plans.all_plans(session)] == [2, 1]
    assert [each.price_minor for each in plans.offers(session)] == [1000]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"free_minutes_per_day": None, "free_minutes_per_rental": None}, "discount_bp"),
        ({"venue": "mall", "city": "Bern"}, "venue"),
        ({"country": "ZZ"}, "country"),
        ({"tax_country": "ZZ"}, "tax_country"),
    ],
)
def test_plans_that_nobody_can_have_meant(session: Session, changed: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        add_plan(session, **changed)
    assert refused.value.attributes["field"] == field


def test_an_unknown_subscription(session: Session) -> None:
    with pytest.raises(SubscriptionNotFound):
        changes.end_now(session, Ending(UUID(int=1), Giveback.ALL, "x", UUID(int=2)), START)
