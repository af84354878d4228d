"""The job: renews what ends, asks again for what is not paid, ends what is to end. Any number may run at once."""

from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.payments.providers.base import PaymentProvider
from fleet.payments.rules import IN_FLIGHT
from fleet.payments.transactions import Transactions
from fleet.subscriptions import charging, queries
from fleet.subscriptions.models import SubscriptionAttempt, SubscriptionState
from fleet.users.models import User, UserStatus

log = structlog.get_logger(__name__)


def sweep(transactions: Transactions, provider: PaymentProvider, now: datetime, limit: int = 100) -> int:
    """Look at every subscription whose time has come, each in transactions of its own; how many were looked at."""
    with transactions() as session:
        ids = queries.due_ids(session, now, limit)
    return sum(_try(transactions, each, provider, now) for each in ids)


def _try(transactions: Transactions, subscription_id: UUID, provider: PaymentProvider, now: datetime) -> bool:
    try:
        return look_at(transactions, subscription_id, provider, now)
    except Exception:  # one that fails must not stop the others; the next tick tries it again
        log.exception("subscription_not_renewed", subscription_id=str(subscription_id))
        return False


def look_at(transactions: Transactions, subscription_id: UUID, provider: PaymentProvider, now: datetime) -> bool:
    """Do what is to be done about a subscription now; False when that was done by then, or its time has not come."""
    with transactions() as session:
        locked = queries.lock(session, subscription_id, now)
        look = locked.subscription.look_at
        if look is None or look > now:
            return False
        intent_id = _step(session, locked, provider, now)
    if intent_id is not None:
        charging.carry_out(transactions, intent_id, provider=provider, now=now)
    return True


def _step(session: Session, locked: queries.Locked, provider: PaymentProvider, now: datetime) -> UUID | None:
    """The card payment that is to be carried out after it, if any."""
    subscription = locked.subscription
    period = queries.period_numbered(session, subscription.id, subscription.period_number + 1)
    attempt = None if period is None else queries.open_attempt(session, period.id)
    if attempt is not None:
        return _remind(session, locked, attempt, now)
    if session.get_one(User, subscription.user_id, populate_existing=True).status is not UserStatus.ACTIVE:
        charging.end(session, subscription, SubscriptionState.CANCELLED, "account_closed", now)
        return None
    if subscription.cancel_at_period_end:
        charging.end(session, subscription, SubscriptionState.CANCELLED, "cancelled_by_rider", now)
        return None
    return charging.begin(session, locked, provider=provider, now=now, scheduled=True)


def _remind(session: Session, locked: queries.Locked, attempt: SubscriptionAttempt, now: datetime) -> UUID | None:
    """A payment under way: not sent when somebody died before that, over and nobody told us, or in flight."""
    locked.subscription.look_at = now + charging.LOOK_AGAIN
    intent = session.get_one(PaymentIntent, attempt.intent_id, populate_existing=True)
    if intent.state is IntentState.REQUIRES_CONFIRMATION:
        return intent.id
    if intent.state not in IN_FLIGHT:
        charging.settle(session, intent.id, now)
    return None
