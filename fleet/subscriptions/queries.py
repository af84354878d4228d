"""Reads, named after their question."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from fleet.config.service import PUBLIC, ConfigKey, registry
from fleet.payments.wallets import Purse, lock_purse
from fleet.subscriptions.errors import SubscriptionNotFound
from fleet.subscriptions.models import (
    LIVE_STATES,
    AttemptState,
    Subscription,
    SubscriptionAttempt,
    SubscriptionPeriod,
    SubscriptionState,
)
from fleet.subscriptions.rules import Anchor, Dunning

DUNNING: Final = registry.add(
    ConfigKey(
        "subscriptions.dunning",
        Dunning,
        Dunning(),
        scope=PUBLIC,
        description="On which days after the first refusal a period is asked for again, and for how many days after "
        "the last paid one its benefits go on meanwhile.",
    )
)


@dataclass(frozen=True, slots=True)
class Locked:
    """A subscription as it is now, and its rider's wallet: nobody else pays for it meanwhile."""

    subscription: Subscription
    purse: Purse


def lock(session: Session, subscription_id: UUID, now: datetime) -> Locked:
    """The wallet first, then the subscription. Raises SubscriptionNotFound."""
    subscription = subscription_by_id(session, subscription_id)
    purse = lock_purse(session, subscription.user_id, subscription.currency, now)
    session.refresh(subscription, with_for_update=True)
    return Locked(subscription, purse)


def live_id(session: Session, user_id: UUID) -> UUID | None:
    query = select(Subscription.id).where(Subscription.user_id == user_id, Subscription.state.in_(LIVE_STATES))
    return session.scalars(query).one_or_none()


def lock_live(session: Session, user_id: UUID, now: datetime) -> Locked:
    """The rider's, unless it has ended. Raises SubscriptionNotFound."""
    found = live_id(session, user_id)
    if found is None:
        raise SubscriptionNotFound("you have no subscription")
    return lock(session, found, now)


def latest_of(session: Session, user_id: UUID) -> Subscription:
    """The rider's newest, ended ones too. Raises SubscriptionNotFound."""
    query = select(Subscription).where(Subscription.user_id == user_id).order_by(Subscription.id.desc()).limit(1)
    subscription = session.scalars(query).one_or_none()
    if subscription is None:
        raise SubscriptionNotFound("you have no subscription")
    return subscription


def subscription_by_id(session: Session, subscription_id: UUID) -> Subscription:
    """Raises SubscriptionNotFound."""
    subscription = session.get(Subscription, subscription_id)
    if subscription is None:
        raise SubscriptionNotFound("no such subscription", subscription_id=subscription_id)
    return subscription


def find_subscriptions(
    session: Session,
    *,
    limit: int,
    before: UUID | None = None,
    user_id: UUID | None = None,
    state: SubscriptionState | None = None,
) -> Sequence[Subscription]:
    """Newest first."""
    query = select(Subscription).order_by(Subscription.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Subscription.id < before)
    if user_id is not None:
        query = query.where(Subscription.user_id == user_id)
    if state is not None:
        query = query.where(Subscription.state == state)
    return session.scalars(query).all()


def period_numbered(session: Session, subscription_id: UUID, number: int) -> SubscriptionPeriod | None:
    """With its plan, as it is now."""
    query = (
        select(SubscriptionPeriod)
        .where(SubscriptionPeriod.subscription_id == subscription_id, SubscriptionPeriod.number == number)
        .options(joinedload(SubscriptionPeriod.plan))
    )
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def paid_period(session: Session, subscription: Subscription) -> SubscriptionPeriod | None:
    """The last one that was paid; None: none was yet."""
    return period_numbered(session, subscription.id, subscription.period_number)


def periods_of(
    session: Session, user_id: UUID, *, limit: int, before: UUID | None = None
) -> Sequence[SubscriptionPeriod]:
    """Of all of the rider's subscriptions, newest first, with their plans."""
    query = (
        select(SubscriptionPeriod)
        .join(Subscription, Subscription.id == SubscriptionPeriod.subscription_id)
        .where(Subscription.user_id == user_id)
        .order_by(SubscriptionPeriod.id.desc())
        .limit(limit)
        .options(joinedload(SubscriptionPeriod.plan))
    )
    if before is not None:
        query = query.where(SubscriptionPeriod.id < before)
    return session.scalars(query).all()


def open_attempt(session: Session, period_id: UUID) -> SubscriptionAttempt | None:
    query = select(SubscriptionAttempt).where(
        SubscriptionAttempt.period_id == period_id, SubscriptionAttempt.state == AttemptState.OPEN
    )
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def last_attempt(session: Session, subscription_id: UUID) -> SubscriptionAttempt | None:
    """What the rider may have to do something about."""
    query = (
        select(SubscriptionAttempt)
        .where(SubscriptionAttempt.subscription_id == subscription_id)
        .order_by(SubscriptionAttempt.intent_id.desc())
        .limit(1)
    )
    return session.scalars(query).one_or_none()


def attempts_for(session: Session, period_id: UUID) -> int:
    query = select(func.count()).select_from(SubscriptionAttempt).where(SubscriptionAttempt.period_id == period_id)
    return int(session.scalar(query) or 0)


def due_ids(session: Session, now: datetime, limit: int) -> Sequence[UUID]:
    """Subscriptions that the job has to look at, longest waiting first."""
    query = select(Subscription.id).where(Subscription.look_at <= now).order_by(Subscription.look_at).limit(limit)
    return session.scalars(query).all()


def count_by_state(session: Session) -> dict[SubscriptionState, int]:
    query = select(Subscription.state, func.count()).group_by(Subscription.state)
    return {state: int(count) for state, count in session.execute(query)}


def anchor_of(subscription: Subscription) -> Anchor:
    return Anchor(subscription.anchor_at, subscription.anchor_number, subscription.time_zone)
