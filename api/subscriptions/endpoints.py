"""A rider's own subscription. The provider is called outside any transaction, so those answers are kept afterwards."""

from uuid import UUID

from fastapi import Response

from api.auth import CurrentUser, WaitingAccount, WaitingUser
from api.deps import Now, RuntimeDep, SessionDep
from api.idempotency import Idempotent, replay
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.subscriptions.schemas import (
    ChangePlanIn,
    PayIn,
    PeriodOut,
    PlanOut,
    Plans,
    SubscribeIn,
    SubscriptionOut,
)
from api.v1 import area
from fleet.db import session_scope
from fleet.subscriptions import changes, plans, queries, subscribing

router = area("subscription", "subscriptions")


@router.get("/plans", operation_id="list_subscription_plans", summary="What I can subscribe to",
            responses=problems(401, 403))  # fmt: skip
def list_plans(session: SessionDep, _: CurrentUser) -> Plans:
    return Plans(items=[PlanOut.of(plan) for plan in plans.offers(session)])


@router.get("", operation_id="get_subscription", summary="My subscription, the newest one",
            responses=problems(401, 403, 404))  # fmt: skip
def mine(session: SessionDep, user: CurrentUser, now: Now) -> SubscriptionOut:
    return SubscriptionOut.of(session, queries.latest_of(session, user.id), now)


@router.post("", operation_id="subscribe", summary="Subscribe and pay the first period", status_code=201,
             response_model=SubscriptionOut, responses=problems(401, 402, 403, 404, 409))  # fmt: skip
def subscribe(body: SubscribeIn, runtime: RuntimeDep, user: WaitingAccount, now: Now, once: Idempotent) -> Response:
    """From the wallet when it has enough, else by a saved card. `active` when that is done; `pending` while the
    provider is silent or the rider's bank wants to see the rider (`payment.action_url`): ask again. 402: nothing
    pays, and nothing was bought. The period begins when it is paid. A plan that may be tried costs nothing at first,
    once: the first payment is at the end of its trial, and cancelling before costs nothing.
    """
    stored = once.stored(runtime.engine, now)
    if stored is not None:
        return replay(stored)
    subscription_id = subscribing.subscribe(
        lambda: session_scope(runtime.engine),
        subscribing.Request(user.id, body.plan, body.method_id, once.key),
        provider=runtime.provider,
        now=now,
        return_url=runtime.settings.after_payment_url,
    )
    with session_scope(runtime.engine) as session:
        found = queries.subscription_by_id(session, subscription_id)
        return once.answer(session, now, lambda: SubscriptionOut.of(session, found, now), status=201)


@router.post("/pay", operation_id="pay_subscription", summary="Pay what is past due now",
             response_model=SubscriptionOut, responses=problems(401, 403, 404, 409))  # fmt: skip
def pay(body: PayIn, runtime: RuntimeDep, user: WaitingUser, now: Now, once: Idempotent) -> Response:
    """Does not wait for the schedule, and takes no try from it. `state` says what became of it."""
    stored = once.stored(runtime.engine, now)
    if stored is not None:
        return replay(stored)
    subscription_id = subscribing.pay_now(
        lambda: session_scope(runtime.engine),
        user_id=user.id,
        method_id=body.method_id,
        provider=runtime.provider,
        now=now,
        return_url=runtime.settings.after_payment_url,
    )
    with session_scope(runtime.engine) as session:
        found = queries.subscription_by_id(session, subscription_id)
        return once.answer(session, now, lambda: SubscriptionOut.of(session, found, now))


@router.post("/cancel", operation_id="cancel_subscription", summary="End it with the period that is paid",
             responses=problems(401, 403, 404))  # fmt: skip
def cancel(session: SessionDep, user: CurrentUser, now: Now) -> SubscriptionOut:
    """At once when nothing is paid. Again changes nothing."""
    return SubscriptionOut.of(session, changes.cancel(session, user.id, now), now)


@router.post("/resume", operation_id="resume_subscription", summary="Take a cancellation back",
             responses=problems(401, 403, 404, 409))  # fmt: skip
def resume(session: SessionDep, user: CurrentUser, now: Now) -> SubscriptionOut:
    """Before the period is over. One that was given for nothing costs its price from the next period on."""
    return SubscriptionOut.of(session, changes.resume(session, user.id, now), now)


@router.post("/plan", operation_id="change_subscription_plan", summary="Another plan from the next period on",
             responses=problems(401, 403, 404, 409))  # fmt: skip
def change_plan(body: ChangePlanIn, session: SessionDep, user: CurrentUser, now: Now) -> SubscriptionOut:
    """Name the plan that runs to stay with it."""
    return SubscriptionOut.of(session, changes.change_plan(session, user.id, body.plan, now), now)


@router.get("/invoices", operation_id="list_subscription_periods", summary="What I paid for, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_periods(
    session: SessionDep, runtime: RuntimeDep, user: CurrentUser, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[PeriodOut]:
    before = runtime.cursors.read("subscription-periods", cursor)
    rows = queries.periods_of(session, user.id, limit=limit + 1, before=UUID(before) if before else None)
    more = runtime.cursors.make("subscription-periods", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[PeriodOut.of(row) for row in rows[:limit]], next=more)
