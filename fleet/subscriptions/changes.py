"""What riders and operators change about a subscription that runs."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import Conflict, InvalidInput
from fleet.common.money import Money, rounded
from fleet.common.outbox import publish
from fleet.payments import invoices, subscription_payments
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.invoices import Part
from fleet.payments.models import Invoice, InvoiceKind
from fleet.payments.outgoing import refunds
from fleet.subscriptions import charging, plans, queries, rules
from fleet.subscriptions.errors import AlreadySubscribed, SubscriptionNotOpen
from fleet.subscriptions.events import SubscriptionRefunded
from fleet.subscriptions.models import PeriodState, Subscription, SubscriptionPeriod, SubscriptionState
from fleet.users.errors import UserNotFound
from fleet.users.models import User


def cancel(session: Session, user_id: UUID, now: datetime) -> Subscription:
    """It ends when what is paid is over; at once when nothing is. Again changes nothing.

    Raises SubscriptionNotFound.
    """
    subscription = queries.lock_live(session, user_id, now).subscription
    if subscription.state is SubscriptionState.ACTIVE:
        subscription.cancel_at_period_end, subscription.updated_at = True, now
    else:
        charging.end(session, subscription, SubscriptionState.CANCELLED, "cancelled_by_rider", now)
    return subscription


def resume(session: Session, user_id: UUID, now: datetime) -> Subscription:
    """Take a cancellation back before the period is over. Again changes nothing.

    Raises SubscriptionNotFound, SubscriptionNotOpen.
    """
    subscription = queries.lock_live(session, user_id, now).subscription
    assert subscription.look_at is not None
    if subscription.state is not SubscriptionState.ACTIVE or subscription.look_at <= now:
        raise SubscriptionNotOpen("there is nothing to resume", state=subscription.state)
    subscription.cancel_at_period_end, subscription.updated_at = False, now
    return subscription


def change_plan(session: Session, user_id: UUID, plan_code: str, now: datetime) -> Subscription:
    """From the next period on; the plan that runs is named to stay with it.

    Raises SubscriptionNotFound, PlanNotFound, InvalidInput for another currency, SubscriptionNotOpen while the next
    period is asked for already.
    """
    subscription = queries.lock_live(session, user_id, now).subscription
    asked = queries.period_numbered(session, subscription.id, subscription.period_number + 1)
    if subscription.state is not SubscriptionState.ACTIVE or asked is not None:
        raise SubscriptionNotOpen("the next period is being paid", state=subscription.state)
    if plan_code == subscription.plan_code:
        subscription.next_plan_code = None
    else:
        plan = plans.offered(session, plan_code)
        if plan.currency != subscription.currency:
            raise InvalidInput(f"your subscription is paid in {subscription.currency}", field="plan")
        subscription.next_plan_code = plan.code
    subscription.updated_at = now
    return subscription


@dataclass(frozen=True, slots=True)
class Grant:
    """One period of a plan for nothing; `by`: an operator."""

    user_id: UUID
    plan: str
    by: UUID


def grant(session: Session, gift: Grant, now: datetime) -> Subscription:
    """Give a rider a plan; it ends by itself unless the rider resumes it, and pays from then on.

    Raises UserNotFound, PlanNotFound, AlreadySubscribed.
    """
    user = session.get(User, gift.user_id, with_for_update={"key_share": True})
    if user is None:
        raise UserNotFound("no such user", user_id=gift.user_id)
    plan = plans.offered(session, gift.plan)
    live = queries.live_id(session, user.id)
    if live is not None:
        raise AlreadySubscribed("the rider has a subscription", subscription_id=live)
    subscription = Subscription(
        user_id=user.id, state=SubscriptionState.PENDING, plan_code=plan.code, currency=plan.currency,
        time_zone=user.time_zone, anchor_at=now, cancel_at_period_end=True, look_at=now, created_at=now,
        updated_at=now,
    )  # fmt: skip
    session.add(subscription)
    session.flush()  # the period refers to it
    span = rules.period_after(queries.anchor_of(subscription), plans.length_of(plan), 1)
    period = SubscriptionPeriod(
        subscription_id=subscription.id, number=1, plan_id=plan.id, state=PeriodState.DUE, starts_at=span.starts_at,
        ends_at=span.ends_at, price_minor=0, currency=plan.currency, granted_by=gift.by, created_at=now,
    )  # fmt: skip
    session.add(period)
    charging.begin_period(session, subscription, period, plan, now)
    return subscription


class Giveback(StrEnum):
    """What of the running period comes back when an operator ends a subscription."""

    NOTHING = "nothing"
    #: By the time that is left of it, to the second.
    UNUSED = "unused"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Ending:
    """`by`: an operator, never the rider themselves."""

    subscription_id: UUID
    giveback: Giveback
    reason: str
    by: UUID


def end_now(session: Session, ending: Ending, now: datetime) -> tuple[Subscription, int]:
    """An operator ends it at once; what comes back is in the wallet, and goes on to the card that paid. Returns the
    minor units, too.

    Raises SubscriptionNotFound, SubscriptionNotOpen when it has ended, Conflict.
    """
    locked = queries.lock(session, ending.subscription_id, now)
    subscription = locked.subscription
    if subscription.ended_at is not None:
        raise SubscriptionNotOpen("it has ended", state=subscription.state)
    if ending.by == subscription.user_id and ending.giveback is not Giveback.NOTHING:
        raise Conflict("nobody decides on a refund to themselves")
    charging.end(session, subscription, SubscriptionState.CANCELLED, ending.reason, now)
    period = queries.paid_period(session, subscription)
    amount = 0 if period is None else _left(period, ending.giveback, now)
    intent = None if period is None or period.intent_id is None else session.get_one(PaymentIntent, period.intent_id)
    if intent is not None:  # what the card has back already, by a dispute, is not given a second time
        amount = min(amount, refunds.card_left(session, intent))
    if period is None or amount == 0:
        return subscription, 0
    money = Money(amount, period.currency)
    invoice = session.get_one(Invoice, period.invoice_id)
    subscription_payments.give_back(
        session, locked.purse, invoice, money, period_id=period.id, intent_id=period.intent_id, reason=ending.reason,
        now=now,
    )  # fmt: skip
    period.refunded_minor += amount
    if intent is not None:
        refunds.return_payment(session, intent, amount, by=ending.by, reason=ending.reason, now=now)
    publish(session, SubscriptionRefunded(subscription.id, subscription.user_id, amount, period.currency), now)
    return subscription, amount


def note_refund(session: Session, intent_id: UUID, part: Part, reason: str, now: datetime) -> None:
    """The provider's desk gave a card some of what it had paid for a period: its invoice says so, and it goes on.

    Once for a refund: the caller sees to that. The money has moved already.
    """
    query = select(SubscriptionPeriod).where(SubscriptionPeriod.intent_id == intent_id)
    period = session.scalars(query).one()
    subscription = queries.lock(session, period.subscription_id, now).subscription
    session.refresh(period)
    invoice = session.get_one(Invoice, period.invoice_id)
    invoices.credit(session, invoice, part, kind=InvoiceKind.CREDIT, reason=reason, now=now)
    period.refunded_minor += part.amount_minor
    news = SubscriptionRefunded(subscription.id, subscription.user_id, part.amount_minor, period.currency)
    publish(session, news, now)


def end_disputed(session: Session, intent_id: UUID, now: datetime) -> None:
    """A rider told their bank that they did not owe a card payment: what it paid for ends. Again changes nothing."""
    query = select(SubscriptionPeriod).where(SubscriptionPeriod.intent_id == intent_id)
    period = session.scalars(query).one_or_none()
    if period is None:
        return
    subscription = queries.lock(session, period.subscription_id, now).subscription
    if subscription.ended_at is None:
        charging.end(session, subscription, SubscriptionState.CANCELLED, "payment_disputed", now)


def _left(period: SubscriptionPeriod, giveback: Giveback, now: datetime) -> int:
    """Minor units, at most what did not come back before."""
    if giveback is Giveback.NOTHING:
        return 0
    minor = period.price_minor
    if giveback is Giveback.UNUSED:
        whole, left = period.ends_at - period.starts_at, min(period.ends_at - now, period.ends_at - period.starts_at)
        minor = rounded(period.price_minor * round(left.total_seconds()), round(whole.total_seconds()))
    return max(0, min(minor, period.price_minor - period.refunded_minor))
