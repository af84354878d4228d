"""A plan that may be tried first: its first days cost nothing, once per rider and plan (decision 0247)."""

from datetime import datetime

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.subscriptions import charging, queries, rules
from fleet.subscriptions.models import (
    PeriodState,
    PeriodUnit,
    Subscription,
    SubscriptionPeriod,
    SubscriptionPlan,
    SubscriptionTrial,
)
from fleet.subscriptions.rules import Length


def begin(session: Session, subscription: Subscription, plan: SubscriptionPlan, now: datetime) -> bool:
    """Begin with the trial; False when the plan has none, or the rider had it before: then the first period is to pay.

    The subscription is PENDING and locked. The first period that costs something begins where the trial ends.
    """
    if plan.trial_days is None or not _claim(session, subscription, plan, now):
        return False
    length = Length(PeriodUnit.DAY, plan.trial_days)
    span = rules.period_after(queries.anchor_of(subscription), length, 1)
    period = SubscriptionPeriod(
        subscription_id=subscription.id, number=1, plan_id=plan.id, state=PeriodState.DUE, starts_at=span.starts_at,
        ends_at=span.ends_at, price_minor=0, currency=plan.currency, trial=True, created_at=now,
    )  # fmt: skip
    session.add(period)
    charging.begin_period(session, subscription, period, plan, now)
    subscription.anchor_at, subscription.anchor_number = span.ends_at, period.number
    return True


def _claim(session: Session, subscription: Subscription, plan: SubscriptionPlan, now: datetime) -> bool:
    made = session.execute(
        insert(SubscriptionTrial)
        .values(
            user_id=subscription.user_id, plan_code=plan.code, subscription_id=subscription.id, began_at=now
        )
        .on_conflict_do_nothing(index_elements=["user_id", "plan_code"])
        .returning(SubscriptionTrial.plan_code)
    )  # fmt: skip
    return made.one_or_none() is not None
