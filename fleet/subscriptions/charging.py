"""How a period is paid: by the wallet, else by a saved card; once, whatever is retried, repeated or comes late.

Everything here runs in the caller's transaction with the wallet and the subscription locked (`queries.lock`), but for
`carry_out`, which calls the provider between transactions. Decision 0190.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import FleetError
from fleet.common.money import Money
from fleet.common.outbox import publish
from fleet.config.service import get
from fleet.payments import intents, methods, subscription_payments, taxes
from fleet.payments.demands import demand
from fleet.payments.intent_models import IntentPurpose, IntentState, PaymentIntent, PaymentMethod
from fleet.payments.invoices import Line
from fleet.payments.outgoing import refunds
from fleet.payments.providers.base import PaymentProvider
from fleet.payments.subscription_payments import Fee
from fleet.payments.transactions import Transactions
from fleet.subscriptions import plans, queries, rules
from fleet.subscriptions.events import (
    SubscriptionEnded,
    SubscriptionPaid,
    SubscriptionPaymentDeclined,
    SubscriptionPaymentReturned,
)
from fleet.subscriptions.models import (
    LIVE_STATES,
    AttemptState,
    PeriodState,
    Subscription,
    SubscriptionAttempt,
    SubscriptionPeriod,
    SubscriptionPlan,
    SubscriptionState,
)
from fleet.subscriptions.queries import Locked

#: A payment under way is looked at again after so long, should nobody bring word of it.
LOOK_AGAIN: Final = timedelta(minutes=1)
#: The schedule never asks twice within this, however late the job is.
RETRY_APART: Final = timedelta(hours=1)
NO_METHOD: Final = "no_payment_method"
NOT_PAID: Final = "not_paid"
UNWANTED: Final = "The subscription did not need this payment any more"
_OVER: Final = (IntentState.FAILED, IntentState.CANCELLED)


def begin(
    session: Session,
    locked: Locked,
    *,
    provider: PaymentProvider,
    now: datetime,
    scheduled: bool,
    method_id: UUID | None = None,
) -> UUID | None:
    """Pay what is due: at once from the wallet, else by the payment that is returned, for `carry_out`.

    One that is open already is returned again. None: it is paid, or nothing can pay (the state says which).
    """
    subscription = locked.subscription
    period = due_period(session, subscription, now)
    attempt = queries.open_attempt(session, period.id)
    if attempt is not None:
        subscription.look_at = now + LOOK_AGAIN
        return attempt.intent_id
    if locked.purse.available_minor >= period.price_minor:
        _pay(session, locked, period, now)
        return None
    method = _card(session, subscription, method_id, provider)
    if method is None:
        _not_paid(session, subscription, period, NO_METHOD, scheduled=scheduled, now=now)
        return None
    money = Money(period.price_minor, period.currency)
    intent = demand(
        session, IntentPurpose.SUBSCRIPTION, money, user_id=subscription.user_id, provider=provider, now=now
    )
    attempt = SubscriptionAttempt(
        intent_id=intent.id, subscription_id=subscription.id, period_id=period.id,
        number=queries.attempts_for(session, period.id) + 1, method_id=method.id, scheduled=scheduled,
        state=AttemptState.OPEN, created_at=now,
    )  # fmt: skip
    session.add(attempt)
    subscription.look_at, subscription.updated_at = now + LOOK_AGAIN, now
    session.flush()  # a second open attempt is refused here
    return intent.id


def due_period(session: Session, subscription: Subscription, now: datetime) -> SubscriptionPeriod:
    """The one after the last that was paid. Its plan's version and price are frozen when it is asked for first."""
    number = subscription.period_number + 1
    period = queries.period_numbered(session, subscription.id, number)
    if period is not None:
        return period
    plan = plans.newest(session, subscription.next_plan_code or subscription.plan_code)
    last = queries.paid_period(session, subscription)
    if last is not None and plans.length_of(last.plan) != plans.length_of(plan):
        subscription.anchor_at, subscription.anchor_number = last.ends_at, last.number
    span = rules.period_after(queries.anchor_of(subscription), plans.length_of(plan), number)
    period = SubscriptionPeriod(
        subscription_id=subscription.id, number=number, plan_id=plan.id, state=PeriodState.DUE,
        starts_at=span.starts_at, ends_at=span.ends_at, price_minor=plan.price_minor, currency=plan.currency,
        created_at=now,
    )  # fmt: skip
    session.add(period)
    session.flush()  # what pays it refers to it
    return period


def _card(
    session: Session, subscription: Subscription, wanted: UUID | None, provider: PaymentProvider
) -> PaymentMethod | None:
    """The one that is wanted, the subscription's, or the default, as far as the provider knows it."""
    known = [each for each in methods.methods_of(session, subscription.user_id) if each.provider == provider.name]
    for choice in (wanted, subscription.method_id):
        chosen = [each for each in known if each.id == choice]
        if chosen:
            return chosen[0]
    return known[0] if known else None


def _pay(
    session: Session, locked: Locked, period: SubscriptionPeriod, now: datetime, intent_id: UUID | None = None
) -> None:
    subscription = locked.subscription
    plan = session.get_one(SubscriptionPlan, period.plan_id)
    _place(session, subscription, period, plan, now)
    fee = _fee(session, subscription, period, plan, now)
    transfer, invoice = subscription_payments.charge(session, locked.purse, fee, now, intent_id)
    period.tax_minor = fee.tax_minor
    period.transfer_id, period.invoice_id, period.intent_id = transfer.id, invoice.id, intent_id
    begin_period(session, subscription, period, plan, now)
    _drop_unsent(session, period, now)


def begin_period(
    session: Session, subscription: Subscription, period: SubscriptionPeriod, plan: SubscriptionPlan, now: datetime
) -> None:
    """It is paid, or given."""
    period.state, period.paid_at = PeriodState.PAID, now
    move(subscription, SubscriptionState.ACTIVE, now)
    subscription.period_number, subscription.look_at = period.number, period.ends_at
    subscription.plan_code = plan.code
    subscription.next_plan_code = None
    subscription.past_due_since = subscription.failure_code = None
    subscription.retries = 0
    session.flush()  # what the database refuses belongs to this call
    news = SubscriptionPaid(
        subscription.id, subscription.user_id, period.number, period.ends_at, period.price_minor, period.currency
    )
    publish(session, news, now)


def _place(
    session: Session, subscription: Subscription, period: SubscriptionPeriod, plan: SubscriptionPlan, now: datetime
) -> None:
    """In line with the one before it, unless benefits have stopped since; the first one begins with its payment."""
    span = rules.Span(period.starts_at, period.ends_at)
    if period.number > 1 and rules.in_line(span, now, get(session, queries.DUNNING).grace):
        return
    subscription.anchor_at, subscription.anchor_number = now, period.number - 1
    span = rules.period_after(queries.anchor_of(subscription), plans.length_of(plan), period.number)
    period.starts_at, period.ends_at = span.starts_at, span.ends_at


def _fee(
    session: Session, subscription: Subscription, period: SubscriptionPeriod, plan: SubscriptionPlan, now: datetime
) -> Fee:
    rate = None if plan.tax_country is None else taxes.rate_in(session, plan.tax_country, now)
    money, tax_minor = Money(period.price_minor, period.currency), 0
    zone = ZoneInfo(subscription.time_zone)
    begins, ends = (at.astimezone(zone).date().isoformat() for at in (period.starts_at, period.ends_at))
    lines = [Line("subscription", f"{plan.name}: {begins} to {ends}", money.amount_minor)]
    if rate is not None:
        tax_minor = taxes.contained(rate, money.amount_minor)
        text = f"Contains {rate.basis_points / 100:g} % {rate.name}: {Money(tax_minor, money.currency)}"
        lines.append(Line("tax", text, 0))
    name, basis_points = ("Tax", 0) if rate is None else (rate.name, rate.basis_points)
    return Fee(period.id, subscription.user_id, money, tax_minor, name, basis_points, lines)


def _drop_unsent(session: Session, period: SubscriptionPeriod, now: datetime) -> None:
    """Another payment was quicker: one that no provider has heard of is not to be made."""
    attempt = queries.open_attempt(session, period.id)
    if attempt is None:
        return
    intent = session.get_one(PaymentIntent, attempt.intent_id, populate_existing=True)
    if intent.state is IntentState.REQUIRES_CONFIRMATION:
        intents.move(intent, IntentState.CANCELLED, now)
        attempt.state, attempt.settled_at = AttemptState.FAILED, now


def _not_paid(
    session: Session,
    subscription: Subscription,
    period: SubscriptionPeriod,
    reason: str | None,
    *,
    scheduled: bool,
    now: datetime,
) -> None:
    """The first payment: nothing was bought. A renewal: asked for again by the schedule, until that is over."""
    dunning, retry_at = get(session, queries.DUNNING), None
    subscription.failure_code, subscription.updated_at = reason and reason[:64], now
    if subscription.state is SubscriptionState.ACTIVE:
        move(subscription, SubscriptionState.PAST_DUE, now)
        subscription.past_due_since, subscription.retries = now, 0
    elif scheduled:
        subscription.retries += 1
    if subscription.past_due_since is not None:
        retry_at = dunning.retry_at(subscription.past_due_since, subscription.retries)
    benefits_until = None
    if retry_at is None:
        end(session, subscription, SubscriptionState.EXPIRED, NOT_PAID, now)
    else:
        subscription.look_at = retry_at = max(retry_at, now + RETRY_APART)
        benefits_until = period.starts_at + dunning.grace
    news = SubscriptionPaymentDeclined(subscription.id, subscription.user_id, reason, retry_at, benefits_until)
    publish(session, news, now)


def move(subscription: Subscription, state: SubscriptionState, now: datetime) -> None:
    """Raises IllegalTransition."""
    rules.check_move(subscription.state, state)
    subscription.state, subscription.updated_at = state, now


def end(
    session: Session, subscription: Subscription, state: SubscriptionState, reason: str | None, now: datetime
) -> None:
    """Nothing more is asked for. Money of a card that comes later goes back to it."""
    move(subscription, state, now)
    subscription.ended_at, subscription.end_reason = now, reason and reason[:300]
    subscription.look_at = subscription.past_due_since = None
    period = queries.period_numbered(session, subscription.id, subscription.period_number + 1)
    if period is not None and period.state is PeriodState.DUE:
        period.state = PeriodState.UNPAID
        _drop_unsent(session, period, now)
    session.flush()  # the rider may have another one now
    publish(session, SubscriptionEnded(subscription.id, subscription.user_id, state, reason), now)


def settle(session: Session, intent_id: UUID, now: datetime) -> None:
    """Apply what became of a card payment, whoever brings the word, however often and however late."""
    known = select(SubscriptionAttempt.subscription_id).where(SubscriptionAttempt.intent_id == intent_id)
    subscription_id = session.scalar(known)
    if subscription_id is None:
        return
    locked = queries.lock(session, subscription_id, now)
    intent = session.get_one(PaymentIntent, intent_id, with_for_update=True, populate_existing=True)
    attempt = session.get_one(SubscriptionAttempt, intent_id, populate_existing=True)
    period = session.get_one(SubscriptionPeriod, attempt.period_id, populate_existing=True)
    if intent.state is IntentState.SUCCEEDED:
        if subscription_payments.free(session, intent, now):
            _use(session, locked, attempt, period, intent, now=now)
    elif intent.state in _OVER and attempt.state is AttemptState.OPEN:
        attempt.state, attempt.settled_at = AttemptState.FAILED, now
        if period.state is PeriodState.DUE:
            reason = intent.failure_code or str(intent.state)
            _not_paid(session, locked.subscription, period, reason, scheduled=attempt.scheduled, now=now)


def _use(
    session: Session,
    locked: Locked,
    attempt: SubscriptionAttempt,
    period: SubscriptionPeriod,
    intent: PaymentIntent,
    *,
    now: datetime,
) -> None:
    """A card's money is in the wallet: it pays the period if that still waits for it, else it goes back."""
    subscription = locked.subscription
    attempt.settled_at = now
    if subscription.state in LIVE_STATES and period.state is PeriodState.DUE:
        attempt.state = AttemptState.PAID
        session.flush()  # it is open no more
        _pay(session, locked, period, now, intent.id)
        return
    attempt.state = AttemptState.RETURNED
    amount = intent.captured_minor or 0
    refunds.return_payment(session, intent, amount, by=None, reason=UNWANTED, now=now)
    news = SubscriptionPaymentReturned(subscription.id, subscription.user_id, intent.id, amount, intent.currency)
    publish(session, news, now)


def carry_out(
    transactions: Transactions,
    intent_id: UUID,
    *,
    provider: PaymentProvider,
    now: datetime,
    return_url: str | None = None,
) -> None:
    """Have the provider take an attempt's money, at most once, and apply what it answers. Again changes nothing.

    What is not known by then comes by webhook, by the janitor, or when the job looks again.
    """
    with transactions() as session:
        attempt = session.get_one(SubscriptionAttempt, intent_id)
        user_id = session.get_one(PaymentIntent, intent_id).user_id
    try:
        intents.confirm(
            transactions, intent_id=intent_id, user_id=user_id, method_id=attempt.method_id, provider=provider,
            now=now, return_url=return_url,
        )  # fmt: skip
    except FleetError as refused:  # before the provider was called: the card is gone, or may not pay so much
        with transactions() as session:
            intent = intents.locked(session, intent_id, now)
            if intent.state is IntentState.REQUIRES_CONFIRMATION:
                intents.move(intent, IntentState.CANCELLED, now)
                intent.failure_code = refused.code
    with transactions() as session:
        settle(session, intent_id, now)
