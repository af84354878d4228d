"""Debts of riders, and giving them up."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from api.admin.acts import ActsDep
from api.admin.money_schemas import DecisionIn, RefusalIn, WriteOffIn
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.idempotency import Idempotent
from api.paging import DEFAULT_LIMIT
from api.payments.debt_schemas import DebtForOperator, DebtOut, DebtTryOut, DebtWithTries, WriteOffOut
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.payments.approval_models import AdjustmentState
from fleet.payments.debts import queries, write_offs
from fleet.payments.debts.models import DebtState
from fleet.rentals.closing import dues

router = area("admin", "admin")


@router.get("/debt", operation_id="admin_list_debts", summary="Debts, newest first", responses=problems(401, 403))
def list_debts(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: Annotated[DebtState | None, Query(description="left out: all")] = None,
    user_id: UUID | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[DebtForOperator]:
    before = runtime.cursors.read("admin-debts", cursor)
    rows = queries.find_debts(
        session, limit=limit + 1, before=UUID(before) if before else None, user_id=user_id, state=state
    )
    more = runtime.cursors.make("admin-debts", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[DebtForOperator.of(row) for row in rows[:limit]], next=more)


@router.get("/debt/{debt_id}", operation_id="admin_get_debt", summary="A debt, and how cards were asked to pay it",
            responses=problems(401, 403, 404))  # fmt: skip
def get_debt(debt_id: UUID, session: SessionDep, _: CurrentOperator) -> DebtWithTries:
    debt = queries.debt_by_id(session, debt_id)
    tries = queries.collections_of(session, debt_id)
    return DebtWithTries(debt=DebtOut.of(debt), tries=[DebtTryOut.of(*each) for each in tries])


@router.post("/debt/{debt_id}/write-off", operation_id="admin_write_off_debt", summary="Give a debt up",
             response_model=WriteOffOut, responses=problems(401, 403, 404, 409))  # fmt: skip
def write_off(debt_id: UUID, body: WriteOffIn, acts: ActsDep, runtime: RuntimeDep, once: Idempotent) -> Response:
    """What is open of it; the rider can rent again. What would pass the limit of what operators may do alone for one
    rider in a day waits for a second one.
    """

    def work() -> WriteOffOut:
        currency = queries.debt_by_id(acts.session, debt_id).currency
        row = dues.write_off(
            acts.session, debt_id, reason=body.reason, actor_id=acts.operator.id,
            limit_minor=runtime.settings.adjustment_limits.get(currency, 0), now=acts.now,
        )  # fmt: skip
        detail = {**body.model_dump(), "amount_minor": row.amount_minor, "state": row.state}
        acts.record("debt.write_off", user_id=row.user_id, target=str(debt_id), detail=detail)
        return WriteOffOut.of(row)

    return once.answer(acts.session, acts.now, work)


@router.get("/debt-write-off", operation_id="admin_list_write_offs", summary="Debts that were given up, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_write_offs(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: Annotated[AdjustmentState | None, Query(description="left out: all")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[WriteOffOut]:
    before = runtime.cursors.read("write-offs", cursor)
    rows = queries.find_write_offs(session, limit=limit + 1, before=UUID(before) if before else None, state=state)
    more = runtime.cursors.make("write-offs", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[WriteOffOut.of(row) for row in rows[:limit]], next=more)


@router.post("/debt-write-off/{write_off_id}/approve", operation_id="admin_approve_write_off",
             summary="Agree to give a debt up", response_model=WriteOffOut,
             responses=problems(401, 403, 404, 409))  # fmt: skip
def approve(write_off_id: UUID, body: DecisionIn, acts: ActsDep, once: Idempotent) -> Response:
    """What is open of it by now. Nobody agrees to their own."""

    def work() -> WriteOffOut:
        row = dues.approve_write_off(
            acts.session, write_off_id, actor_id=acts.operator.id, note=body.note, now=acts.now
        )
        acts.record("debt_write_off.approve", user_id=row.user_id, target=str(row.id), detail=body.model_dump())
        return WriteOffOut.of(row)

    return once.answer(acts.session, acts.now, work)


@router.post("/debt-write-off/{write_off_id}/reject", operation_id="admin_reject_write_off",
             summary="Do not give it up, or take one's own back", responses=problems(401, 403, 404, 409))  # fmt: skip
def reject(write_off_id: UUID, body: RefusalIn, acts: ActsDep) -> WriteOffOut:
    row = write_offs.reject(acts.session, write_off_id, actor_id=acts.operator.id, note=body.note, now=acts.now)
    acts.record("debt_write_off.reject", user_id=row.user_id, target=str(row.id), detail=body.model_dump())
    return WriteOffOut.of(row)
