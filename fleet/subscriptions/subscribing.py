"""How a subscription begins, and how a rider pays one that is past due. The provider is called between transactions."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.payments.methods import method_of
from fleet.payments.providers.base import PaymentProvider
from fleet.payments.transactions import Transactions
from fleet.subscriptions import charging, plans, queries, trials
from fleet.subscriptions.errors import AlreadySubscribed, SubscriptionNotOpen, SubscriptionNotPaid
from fleet.subscriptions.models import Subscription, SubscriptionState
from fleet.users.models import User


@dataclass(frozen=True, slots=True)
class Request:
    """`method_id`: the card that pays when the wallet cannot, now and later; None: the default one.

    `key`: the caller's Idempotency-Key: the same request goes on with what the first one began.
    """

    user_id: UUID
    plan: str
    method_id: UUID | None
    key: str


def subscribe(
    transactions: Transactions,
    request: Request,
    *,
    provider: PaymentProvider,
    now: datetime,
    return_url: str | None = None,
) -> UUID:
    """Begin a subscription and pay its first period, unless the plan may be tried first; its id. It may still be
    PENDING: the provider is silent, or the rider's bank wants to see the rider.

    Raises PlanNotFound, AlreadySubscribed, PaymentMethodNotFound, SubscriptionNotPaid (nothing is left of it).
    """
    with transactions() as session:
        found, intent_id = _open(session, request, provider, now)
        subscription_id, state, reason = found.id, found.state, found.failure_code
    if state is SubscriptionState.EXPIRED:
        raise _not_paid(reason)
    if intent_id is not None:
        charging.carry_out(transactions, intent_id, provider=provider, now=now, return_url=return_url)
        _check_paid(transactions, subscription_id)
    return subscription_id


def _open(
    session: Session, request: Request, provider: PaymentProvider, now: datetime
) -> tuple[Subscription, UUID | None]:
    plan = plans.offered(session, request.plan)
    if request.method_id is not None:
        method_of(session, request.user_id, request.method_id)
    # Two requests of one rider wait for each other here, whatever the currencies.
    user = session.get_one(User, request.user_id, with_for_update={"key_share": True})
    live = queries.live_id(session, user.id)
    is_new = live is None
    if live is None:
        subscription = Subscription(
            user_id=user.id, state=SubscriptionState.PENDING, plan_code=plan.code, currency=plan.currency,
            time_zone=user.time_zone, anchor_at=now, method_id=request.method_id, request_key=request.key,
            look_at=now + charging.LOOK_AGAIN, created_at=now, updated_at=now,
        )  # fmt: skip
        session.add(subscription)
        session.flush()  # one live subscription: refused here
        live = subscription.id
    locked = queries.lock(session, live, now)
    subscription = locked.subscription
    if subscription.request_key != request.key or subscription.plan_code != plan.code:
        raise AlreadySubscribed("you have a subscription", subscription_id=subscription.id)
    if subscription.state is not SubscriptionState.PENDING:
        return subscription, None
    if is_new and trials.begin(session, subscription, plan, now):
        return subscription, None
    return subscription, charging.begin(session, locked, provider=provider, now=now, scheduled=True)


def _not_paid(reason: str | None) -> SubscriptionNotPaid:
    return SubscriptionNotPaid("neither your wallet nor a card pays for it", reason=reason)


def _check_paid(transactions: Transactions, subscription_id: UUID) -> None:
    """Raises SubscriptionNotPaid when it has ended for that."""
    with transactions() as session:
        subscription = queries.subscription_by_id(session, subscription_id)
    if subscription.state is SubscriptionState.EXPIRED:
        raise _not_paid(subscription.failure_code)


def pay_now(
    transactions: Transactions,
    *,
    user_id: UUID,
    method_id: UUID | None,
    provider: PaymentProvider,
    now: datetime,
    return_url: str | None = None,
) -> UUID:
    """Pay a period that is past due, without waiting for the schedule; its subscription. A card that is named here
    pays from now on. A payment that is under way is not made twice.

    Raises SubscriptionNotFound, SubscriptionNotOpen when nothing is due, PaymentMethodNotFound.
    """
    with transactions() as session:
        locked = queries.lock_live(session, user_id, now)
        subscription = locked.subscription
        if subscription.state is not SubscriptionState.PAST_DUE:
            raise SubscriptionNotOpen("nothing is due", state=subscription.state)
        if method_id is not None:
            subscription.method_id = method_of(session, user_id, method_id).id
        intent_id = charging.begin(session, locked, provider=provider, now=now, scheduled=False, method_id=method_id)
    if intent_id is not None:
        charging.carry_out(transactions, intent_id, provider=provider, now=now, return_url=return_url)
    return subscription.id
