"""What a subscription gives to a rental: promised at its start, used once at its end, given back when it was not used.

Decision 0192.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Select, String, Uuid, any_, bindparam, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session, joinedload

from fleet.common.prepared import Prepared
from fleet.config.service import get
from fleet.stations.models import Station
from fleet.subscriptions import queries
from fleet.subscriptions.models import (
    Subscription,
    SubscriptionPeriod,
    SubscriptionPlan,
    SubscriptionState,
    SubscriptionUse,
)
from fleet.subscriptions.plans import allowance_of

_GIVING = (SubscriptionState.ACTIVE, SubscriptionState.PAST_DUE)


def _of(user_id: ColumnElement[UUID]) -> Select[UUID]:
    giving = literal([state.value for state in _GIVING], ARRAY(String()))
    return select(Subscription.id).where(Subscription.user_id == user_id, Subscription.state == any_(giving))


_LOCK: Final = Prepared(_of(bindparam("user_id", type_=Uuid())).with_for_update(), planned=True)


def subscribed(user_id: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Whether the rider has one that gives something, as part of another query."""
    return _of(user_id).exists()


@dataclass(frozen=True, slots=True)
class Benefit:
    """What a rental that starts now gets: seconds, basis points. `day`: the rider's local one."""

    subscription_id: UUID
    period_id: UUID
    plan: str
    free_s: int
    discount_bp: int
    day: date


def benefit_at(session: Session, user_id: UUID, station: Station, now: datetime) -> Benefit | None:
    """Of the rider's subscription, for a rental from that station; None: there is none, or not for there."""
    found = _giving(session, user_id)
    if found is None:
        return None
    subscription, period = found
    if not covers(session, subscription, period, now) or not _is_for(period.plan, station):
        return None
    day = day_of(subscription, now)
    return Benefit(
        subscription.id, period.id, period.plan.name, free_left(session, period, day), period.plan.discount_bp, day
    )


def day_of(subscription: Subscription, at: datetime) -> date:
    """The rider's local day."""
    return at.astimezone(ZoneInfo(subscription.time_zone)).date()


def lock_for_use(session: Session, user_id: UUID) -> bool:
    """Rentals of one rider that start at once must see what the others were promised. False: nothing to see."""
    return bool(_LOCK.all(session, user_id=user_id))


def _giving(session: Session, user_id: UUID) -> tuple[Subscription, SubscriptionPeriod] | None:
    query = (
        select(Subscription, SubscriptionPeriod)
        .join(
            SubscriptionPeriod,
            (SubscriptionPeriod.subscription_id == Subscription.id)
            & (SubscriptionPeriod.number == Subscription.period_number),
        )
        .where(Subscription.user_id == user_id, Subscription.state.in_(_GIVING))
        .options(joinedload(SubscriptionPeriod.plan))
    )
    row = session.execute(query.execution_options(populate_existing=True)).one_or_none()
    return None if row is None else (row[0], row[1])


def covers(session: Session, subscription: Subscription, period: SubscriptionPeriod, now: datetime) -> bool:
    """The last period that was paid is not over; or it is, and the next one is still waited for (the grace)."""
    if now < period.ends_at:
        return True
    return not subscription.cancel_at_period_end and now < period.ends_at + get(session, queries.DUNNING).grace


def _is_for(plan: SubscriptionPlan, station: Station) -> bool:
    return all(
        wanted is None or wanted == there
        for wanted, there in (
            (plan.venue_id, station.venue_id), (plan.city, station.city), (plan.country, station.country)
        )
    )  # fmt: skip


def free_left(session: Session, period: SubscriptionPeriod, day: date) -> int:
    """Free seconds that a rental may be promised on that day. What open rentals were promised counts as used."""
    allowance = allowance_of(period.plan)
    if allowance.left(0, 0) == 0:
        return 0
    of_period = SubscriptionUse.period_id == period.id
    # A day belongs to the subscription, not to a period: a period that ends at noon gives no second day.
    of_day = (SubscriptionUse.subscription_id == period.subscription_id) & (SubscriptionUse.day == day)
    used = select(_used(of_day), _used(of_period)).where(SubscriptionUse.subscription_id == period.subscription_id)
    in_day, in_period = session.execute(used).one()
    return allowance.left(int(in_day), int(in_period))


def _used(condition: ColumnElement[bool]) -> ColumnElement[int]:
    seconds = func.coalesce(SubscriptionUse.used_s, SubscriptionUse.granted_s)
    return func.coalesce(func.sum(seconds).filter(condition), 0)


def promise(session: Session, rental_id: UUID, benefit: Benefit, now: datetime) -> None:
    """Set the free time aside for a rental: what it does not use comes back with `use`."""
    if benefit.free_s > 0:
        session.add(
            SubscriptionUse(
                rental_id=rental_id, subscription_id=benefit.subscription_id, period_id=benefit.period_id,
                day=benefit.day, granted_s=benefit.free_s, granted_at=now,
            )
        )  # fmt: skip


def use(session: Session, rental_id: UUID, seconds: int, now: datetime) -> None:
    """The rental used so much of what it was promised, and the rest is free again; later words replace earlier ones."""
    session.execute(
        update(SubscriptionUse)
        .where(SubscriptionUse.rental_id == rental_id)
        .values(used_s=func.least(SubscriptionUse.granted_s, seconds), settled_at=now)
        .execution_options(synchronize_session=False)
    )
