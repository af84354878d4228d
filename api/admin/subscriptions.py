"""Plans that riders may subscribe to, and riders' subscriptions."""

from typing import Annotated
from uuid import UUID

from fastapi import Response
from pydantic import ConfigDict, Field

from api.admin.acts import ActsDep
from api.auth import CurrentOperator
from api.deps import Now, RuntimeDep, SessionDep
from api.idempotency import Idempotent
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Currency, Cursor, Input, Instant, Limit, MoneyOut, Page, Schema
from api.subscriptions.schemas import PlanCode, PlanOut, SubscriptionOut
from api.v1 import area
from fleet.subscriptions import changes, plans, queries
from fleet.subscriptions.changes import Ending, Giveback, Grant
from fleet.subscriptions.models import PeriodUnit, SubscriptionPlan, SubscriptionState

router = area("admin", "admin")

_Minutes = Annotated[int | None, Field(ge=1, le=60 * 24 * 31)]


class PlanIn(Input):
    """Free minutes: of the limits that are set the least counts. `price_minor` contains the tax of `tax_country`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "Commuter", "price_minor": 900, "currency": "EUR", "period_unit": "month",
                 "free_minutes_per_day": 60, "free_minutes_per_rental": 30}
            ]
        }
    )  # fmt: skip

    name: Annotated[str, Field(min_length=1, max_length=100)]
    price_minor: Annotated[int, Field(ge=1, le=1_000_000_000, description="minor units")]
    currency: Currency
    period_unit: PeriodUnit
    period_count: Annotated[int, Field(ge=1, le=366)] = 1
    free_minutes_per_rental: _Minutes = None
    free_minutes_per_day: _Minutes = None
    free_minutes_per_period: _Minutes = None
    discount_basis_points: Annotated[int, Field(ge=0, le=10_000)] = 0
    trial_days: Annotated[
        int | None, Field(ge=1, le=366, description="so many days cost nothing, once per rider; left out: none")
    ] = None
    venue: Annotated[str | None, Field(max_length=64, description="only from stations of this venue")] = None
    city: Annotated[str | None, Field(max_length=100)] = None
    country: Annotated[str | None, Field(pattern=r"^[A-Z]{2}$")] = None
    tax_country: Annotated[str | None, Field(pattern=r"^[A-Z]{2}$")] = None

    def spec(self) -> plans.PlanSpec:
        values = self.model_dump(exclude={"discount_basis_points", "code", "version"})
        return plans.PlanSpec(**values, discount_bp=self.discount_basis_points)


class NewPlanIn(PlanIn):
    code: PlanCode


class PlanEditIn(PlanIn):
    version: Annotated[int, Field(ge=1, description="the newest one, as you saw it")]


class PlanForOperator(PlanOut):
    tax_country: str | None
    created_at: Instant
    replaced_at: Annotated[Instant | None, Field(description="there is a newer version since")]
    retired_at: Annotated[Instant | None, Field(description="nobody new can have it since")]

    @staticmethod
    def values_of(plan: SubscriptionPlan) -> dict[str, object]:
        names = ("tax_country", "created_at", "replaced_at", "retired_at")
        return {**PlanOut.values_of(plan), **{name: getattr(plan, name) for name in names}}

    @classmethod
    def of(cls, plan: SubscriptionPlan) -> "PlanForOperator":
        return cls.model_validate(cls.values_of(plan))


class PlansForOperator(Schema):
    items: list[PlanForOperator]


class GrantIn(Input):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_id": "019ab5a0-0000-7000-8000-000000000000", "plan": "commuter", "reason": "two bad rentals"}
            ]
        }
    )

    user_id: UUID
    plan: PlanCode
    reason: Annotated[str, Field(min_length=1, max_length=300)]


class EndIn(Input):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"giveback": "unused", "reason": "the station at home is gone"}]}
    )

    giveback: Annotated[Giveback, Field(description="of the running period; `unused`: by the time that is left")]
    reason: Annotated[str, Field(min_length=1, max_length=300)]


class SubscriptionListed(Schema):
    id: UUID
    user_id: UUID
    state: SubscriptionState
    plan_code: PlanCode
    next_plan_code: PlanCode | None
    currency: Currency
    period_number: Annotated[int, Field(description="the last period that was paid, from 1; 0: none yet")]
    cancel_at_period_end: bool
    look_at: Annotated[Instant | None, Field(description="when the renewal job looks at it; null: it has ended")]
    past_due_since: Instant | None
    retries: Annotated[int, Field(description="how often the schedule has asked again for what is past due")]
    failure_code: str | None
    created_at: Instant
    ended_at: Instant | None
    end_reason: str | None


class Ended(Schema):
    subscription: SubscriptionOut
    refunded: MoneyOut


@router.get("/subscription/plan", operation_id="admin_list_subscription_plans",
            summary="Plans in all their versions, by code, newest first", responses=problems(401, 403))  # fmt: skip
def list_plans(session: SessionDep, _: CurrentOperator) -> PlansForOperator:
    return PlansForOperator(items=[PlanForOperator.of(each) for each in plans.all_plans(session)])


@router.post("/subscription/plan", operation_id="admin_create_subscription_plan", summary="Offer a plan",
             status_code=201, responses=problems(401, 403, 404, 409))  # fmt: skip
def create_plan(body: NewPlanIn, acts: ActsDep) -> PlanForOperator:
    plan = plans.create_plan(acts.session, body.code, body.spec(), acts.now)
    acts.record("subscription_plan.create", target=plan.code, detail=body.model_dump(mode="json"))
    return PlanForOperator.of(plan)


@router.post("/subscription/plan/{code}/version", operation_id="admin_edit_subscription_plan",
             summary="Replace a plan by a newer version", status_code=201,
             responses=problems(401, 403, 404, 409))  # fmt: skip
def edit_plan(code: PlanCode, body: PlanEditIn, acts: ActsDep) -> PlanForOperator:
    """Periods that are paid or asked for keep their version and price; those after them go by the new one."""
    plan = plans.edit_plan(acts.session, code, body.spec(), body.version, acts.now)
    acts.record("subscription_plan.edit", target=code, detail=body.model_dump(mode="json"))
    return PlanForOperator.of(plan)


@router.post("/subscription/plan/{code}/retire", operation_id="admin_retire_subscription_plan",
             summary="Offer it no more", responses=problems(401, 403, 404))  # fmt: skip
def retire_plan(code: PlanCode, acts: ActsDep) -> PlanForOperator:
    """Those who have it keep it."""
    plan = plans.retire_plan(acts.session, code, acts.now)
    acts.record("subscription_plan.retire", target=code)
    return PlanForOperator.of(plan)


@router.get("/subscription", operation_id="admin_list_subscriptions", summary="Subscriptions, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_subscriptions(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: SubscriptionState | None = None,
    user_id: UUID | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[SubscriptionListed]:
    before = runtime.cursors.read("admin-subscriptions", cursor)
    rows = queries.find_subscriptions(
        session, limit=limit + 1, before=UUID(before) if before else None, user_id=user_id, state=state
    )
    more = runtime.cursors.make("admin-subscriptions", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[SubscriptionListed.model_validate(row) for row in rows[:limit]], next=more)


@router.get("/subscription/{subscription_id}", operation_id="admin_get_subscription",
            summary="One subscription, as its rider sees it", responses=problems(401, 403, 404))  # fmt: skip
def get_subscription(subscription_id: UUID, session: SessionDep, _: CurrentOperator, now: Now) -> SubscriptionOut:
    return SubscriptionOut.of(session, queries.subscription_by_id(session, subscription_id), now)


@router.post("/subscription", operation_id="admin_grant_subscription", summary="Give a rider one period of a plan",
             status_code=201, response_model=SubscriptionOut, responses=problems(401, 403, 404, 409))  # fmt: skip
def grant(body: GrantIn, acts: ActsDep, once: Idempotent) -> Response:
    """For nothing. It ends by itself, unless the rider resumes it and pays from then on."""

    def work() -> SubscriptionOut:
        made = changes.grant(acts.session, Grant(body.user_id, body.plan, acts.operator.id), acts.now)
        detail = {"plan": body.plan, "reason": body.reason}
        acts.record("subscription.grant", user_id=made.user_id, target=str(made.id), detail=detail)
        return SubscriptionOut.of(acts.session, made, acts.now)

    return once.answer(acts.session, acts.now, work, status=201)


@router.post("/subscription/{subscription_id}/cancel", operation_id="admin_cancel_subscription",
             summary="End a subscription at once", response_model=Ended,
             responses=problems(401, 403, 404, 409))  # fmt: skip
def end_now(subscription_id: UUID, body: EndIn, acts: ActsDep, once: Idempotent) -> Response:
    """What comes back is in the rider's wallet, and goes on to the card where a card paid. Rentals under way keep what
    they were promised.
    """

    def work() -> Ended:
        ending = Ending(subscription_id, body.giveback, body.reason, acts.operator.id)
        ended, amount = changes.end_now(acts.session, ending, acts.now)
        acts.record(
            "subscription.cancel", user_id=ended.user_id, target=str(ended.id), detail=body.model_dump(mode="json")
        )
        refunded = MoneyOut.of(amount, ended.currency)
        return Ended(subscription=SubscriptionOut.of(acts.session, ended, acts.now), refunded=refunded)

    return once.answer(acts.session, acts.now, work)
