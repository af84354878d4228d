from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field
from sqlalchemy.orm import Session

from api.payments.schemas import IntentOut
from api.schemas import Input, Instant, MoneyOut, Schema
from fleet.payments.intent_models import PaymentIntent
from fleet.subscriptions import benefits, queries
from fleet.subscriptions.models import (
    PeriodState,
    PeriodUnit,
    Subscription,
    SubscriptionPeriod,
    SubscriptionPlan,
    SubscriptionState,
)

PlanCode = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=32, examples=["commuter"])]


class PlanOut(Schema):
    """Of the limits on free minutes that are set the least counts; none set: no free minutes."""

    code: PlanCode
    version: int
    name: str
    price: Annotated[MoneyOut, Field(description="of one period, tax included")]
    period_unit: PeriodUnit
    period_count: Annotated[int, Field(examples=[1])]
    free_minutes_per_rental: int | None
    free_minutes_per_day: int | None
    free_minutes_per_period: int | None
    discount_basis_points: Annotated[int, Field(description="off what a rental costs beyond its free minutes")]
    trial_days: Annotated[int | None, Field(description="cost nothing when I have it for the first time")]
    venue_id: Annotated[int | None, Field(description="only for rentals from stations there, as city and country")]
    city: str | None
    country: str | None

    @staticmethod
    def values_of(plan: SubscriptionPlan) -> dict[str, object]:
        plain = (
            "code", "version", "name", "period_unit", "period_count", "free_minutes_per_rental",
            "free_minutes_per_day", "free_minutes_per_period", "trial_days", "venue_id", "city", "country",
        )  # fmt: skip
        return {
            **{name: getattr(plan, name) for name in plain},
            "price": MoneyOut.of(plan.price_minor, plan.currency),
            "discount_basis_points": plan.discount_bp,
        }

    @classmethod
    def of(cls, plan: SubscriptionPlan) -> "PlanOut":
        return cls.model_validate(cls.values_of(plan))


class Plans(Schema):
    items: list[PlanOut]


class SubscribeIn(Input):
    """The wallet pays when it can; else the card named here (or the default one), which renewals use as well."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"plan": "commuter"}]})

    plan: PlanCode
    method_id: UUID | None = None


class ChangePlanIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"plan": "commuter"}]})

    plan: PlanCode


class PayIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{}]})

    method_id: Annotated[UUID | None, Field(description="pays from now on")] = None


class SubscriptionOut(Schema):
    """`pending`: the first payment is under way. `past_due`: a period is not paid and is asked for again."""

    id: UUID
    user_id: UUID
    state: SubscriptionState
    plan: Annotated[PlanOut | None, Field(description="of the last period that was paid, as it was then")]
    plan_code: PlanCode
    next_plan_code: Annotated[PlanCode | None, Field(description="from the next period on")]
    period_starts_at: Instant | None
    period_ends_at: Instant | None
    trial: Annotated[bool, Field(description="the period costs nothing; the first payment is at its end")]
    benefits: Annotated[bool, Field(description="whether rentals that start now have any")]
    free_seconds_left: Annotated[int, Field(description="for a rental that starts now; open rentals count as used")]
    cancel_at_period_end: bool
    method_id: Annotated[UUID | None, Field(description="the card for renewals; null: the default one")]
    retry_at: Annotated[Instant | None, Field(description="while `past_due`: when it is asked for again")]
    failure_code: Annotated[str | None, Field(examples=["card_declined"])]
    payment: Annotated[
        IntentOut | None, Field(description="its last card payment; open its `action_url` while it `requires_action`")
    ]
    created_at: Instant
    ended_at: Instant | None
    end_reason: str | None

    @classmethod
    def of(cls, session: Session, found: Subscription, now: datetime) -> "SubscriptionOut":
        period = queries.paid_period(session, found)
        attempt = queries.last_attempt(session, found.id)
        gives = period is not None and found.ended_at is None and benefits.covers(session, found, period, now)
        left = benefits.free_left(session, period, benefits.day_of(found, now)) if period is not None and gives else 0
        intent = None if attempt is None else session.get_one(PaymentIntent, attempt.intent_id)
        return cls(
            id=found.id,
            user_id=found.user_id,
            state=found.state,
            plan=None if period is None else PlanOut.of(period.plan),
            plan_code=found.plan_code,
            next_plan_code=found.next_plan_code,
            period_starts_at=None if period is None else period.starts_at,
            period_ends_at=None if period is None else period.ends_at,
            trial=period is not None and period.trial,
            benefits=gives,
            free_seconds_left=left,
            cancel_at_period_end=found.cancel_at_period_end,
            method_id=found.method_id,
            retry_at=found.look_at if found.state is SubscriptionState.PAST_DUE else None,
            failure_code=found.failure_code,
            payment=None if intent is None else IntentOut.of(intent),
            created_at=found.created_at,
            ended_at=found.ended_at,
            end_reason=found.end_reason,
        )


class PeriodOut(Schema):
    """What a period cost. Its invoice, with its lines, is under `/payment/invoice/{invoice_id}`."""

    id: UUID
    subscription_id: UUID
    number: int
    state: PeriodState
    plan_code: PlanCode
    plan_version: int
    starts_at: Instant
    ends_at: Instant
    price: MoneyOut
    tax: Annotated[MoneyOut, Field(description="contained in the price")]
    refunded: MoneyOut
    gift: bool
    trial: bool
    paid_at: Instant | None
    intent_id: Annotated[UUID | None, Field(description="the card payment; null: the wallet paid, or nobody")]
    invoice_id: UUID | None

    @classmethod
    def of(cls, period: SubscriptionPeriod) -> "PeriodOut":
        def money(amount_minor: int) -> MoneyOut:
            return MoneyOut.of(amount_minor, period.currency)

        return cls(
            id=period.id,
            subscription_id=period.subscription_id,
            number=period.number,
            state=period.state,
            plan_code=period.plan.code,
            plan_version=period.plan.version,
            starts_at=period.starts_at,
            ends_at=period.ends_at,
            price=money(period.price_minor),
            tax=money(period.tax_minor),
            refunded=money(period.refunded_minor),
            gift=period.granted_by is not None,
            trial=period.trial,
            paid_at=period.paid_at,
            intent_id=period.intent_id,
            invoice_id=period.invoice_id,
        )
