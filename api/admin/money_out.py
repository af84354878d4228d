"""Refunds and withdrawals: who asked, and the operators who decide."""

from uuid import UUID

from fastapi import Response

from api.admin.acts import ActsDep
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.idempotency import Idempotent, IdempotentIfKeyed
from api.paging import DEFAULT_LIMIT
from api.payments.money_out_schemas import RefundForOperator, RefundIn, RejectIn, WithdrawalForOperator
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.common.errors import NotFound
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.outgoing import queries, refunds, withdrawals
from fleet.payments.outgoing.models import RefundState, WithdrawalState
from fleet.rentals.queries import rental_by_id

router = area("admin", "admin")


@router.get("/refund", operation_id="admin_list_refunds", summary="Refunds, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_refunds(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: RefundState | None = None,
    user_id: UUID | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[RefundForOperator]:
    before = runtime.cursors.read("admin-refunds", cursor)
    rows = queries.find_refunds(
        session, limit=limit + 1, before=UUID(before) if before else None, user_id=user_id, state=state
    )
    more = runtime.cursors.make("admin-refunds", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[RefundForOperator.of(row) for row in rows[:limit]], next=more)


@router.post("/refund", operation_id="admin_request_refund", summary="Ask for a refund in a rider's name",
             status_code=201, response_model=RefundForOperator, responses=problems(401, 403, 404, 409))  # fmt: skip
def request_refund(body: RefundIn, acts: ActsDep, once: Idempotent) -> Response:
    """It still has to be approved."""

    def work() -> RefundForOperator:
        if body.rental_id is not None:
            refund = refunds.request_for_rental(
                acts.session, rental_id=body.rental_id, user_id=rental_by_id(acts.session, body.rental_id).user_id,
                requested_by=acts.operator.id, amount_minor=body.amount_minor, reason=body.reason, now=acts.now,
            )  # fmt: skip
        else:
            intent = acts.session.get(PaymentIntent, body.intent_id)
            if intent is None:
                raise NotFound("no such top-up", intent_id=body.intent_id)
            refund = refunds.request_for_top_up(
                acts.session, intent_id=intent.id, user_id=intent.user_id, amount_minor=body.amount_minor,
                reason=body.reason, now=acts.now,
            )  # fmt: skip
        acts.record("refund.request", user_id=refund.user_id, target=str(refund.id), detail={"reason": body.reason})
        return RefundForOperator.of(refund)

    return once.answer(acts.session, acts.now, work, status=201)


@router.post("/refund/{refund_id}/approve", operation_id="admin_approve_refund", summary="Give it back",
             response_model=RefundForOperator, responses=problems(401, 402, 403, 404, 409))  # fmt: skip
def approve_refund(refund_id: UUID, acts: ActsDep, once: Idempotent) -> Response:
    """To where it came from. 402: a top-up that was spent meanwhile."""

    def work() -> RefundForOperator:
        refund = refunds.approve(acts.session, refund_id, approver_id=acts.operator.id, now=acts.now)
        acts.record("refund.approve", user_id=refund.user_id, target=str(refund_id))
        return RefundForOperator.of(refund)

    return once.answer(acts.session, acts.now, work)


@router.post("/refund/{refund_id}/reject", operation_id="admin_reject_refund", summary="Do not give it back",
             responses=problems(401, 403, 404, 409))  # fmt: skip
def reject_refund(refund_id: UUID, body: RejectIn, acts: ActsDep) -> RefundForOperator:
    refund = refunds.reject(acts.session, refund_id, approver_id=acts.operator.id, note=body.note, now=acts.now)
    acts.record("refund.reject", user_id=refund.user_id, target=str(refund_id), detail={"note": body.note})
    return RefundForOperator.of(refund)


@router.get("/withdrawal", operation_id="admin_list_withdrawals", summary="Withdrawals, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_withdrawals(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: WithdrawalState | None = None,
    user_id: UUID | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[WithdrawalForOperator]:
    before = runtime.cursors.read("admin-withdrawals", cursor)
    rows = queries.find_withdrawals(
        session, limit=limit + 1, before=UUID(before) if before else None, user_id=user_id, state=state
    )
    more = runtime.cursors.make("admin-withdrawals", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[WithdrawalForOperator.of(row) for row in rows[:limit]], next=more)


@router.post("/withdrawal/{withdrawal_id}/approve", operation_id="admin_approve_withdrawal", summary="Pay it out",
             response_model=WithdrawalForOperator, responses=problems(401, 403, 404, 409))  # fmt: skip
def approve_withdrawal(withdrawal_id: UUID, acts: ActsDep, once: Idempotent) -> Response:
    """`completed` when the provider says so; `failed`, and in the wallet again, when it could not."""

    def work() -> WithdrawalForOperator:
        withdrawal = withdrawals.approve(acts.session, withdrawal_id, approver_id=acts.operator.id, now=acts.now)
        acts.record("withdrawal.approve", user_id=withdrawal.user_id, target=str(withdrawal_id))
        return WithdrawalForOperator.of(withdrawal)

    return once.answer(acts.session, acts.now, work)


@router.post("/withdrawal/{withdrawal_id}/reject", operation_id="admin_reject_withdrawal", summary="Do not pay it out",
             response_model=WithdrawalForOperator, responses=problems(401, 403, 404, 409))  # fmt: skip
def reject_withdrawal(withdrawal_id: UUID, body: RejectIn, acts: ActsDep, once: IdempotentIfKeyed) -> Response:
    """It is in the wallet again."""

    def work() -> WithdrawalForOperator:
        withdrawal = withdrawals.reject(
            acts.session, withdrawal_id, approver_id=acts.operator.id, note=body.note, now=acts.now
        )
        detail = {"note": body.note}
        acts.record("withdrawal.reject", user_id=withdrawal.user_id, target=str(withdrawal_id), detail=detail)
        return WithdrawalForOperator.of(withdrawal)

    return once.answer(acts.session, acts.now, work)
