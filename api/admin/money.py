"""Money that operators give and take."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from api.admin.acts import Acts, ActsDep
from api.admin.money_schemas import AdjustIn, AdjustmentOut, AdjustOut, DecisionIn, RefusalIn
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.idempotency import Idempotent
from api.paging import DEFAULT_LIMIT
from api.payments.schemas import StatementLineOut, WalletOut
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.common.money import Money
from fleet.payments import adjustments, statements, wallets
from fleet.payments.adjustments import AdjustmentRequest
from fleet.payments.approval_models import AdjustmentState
from fleet.payments.models import WalletAdjustment
from fleet.users.service import get_user

router = area("admin", "admin")


@router.post(
    "/user/{user_id}/wallet/adjust", operation_id="admin_adjust_wallet", summary="Give a rider money, or take it",
    response_model=AdjustOut, responses=problems(401, 402, 403, 404, 409),
)  # fmt: skip
def adjust(user_id: UUID, body: AdjustIn, acts: ActsDep, runtime: RuntimeDep, once: Idempotent) -> Response:
    """With a reason, which the rider's statement does not show. Never takes what the rider cannot spend.

    What would pass the limit of what operators may do alone for one rider in a day waits for a second one.
    """

    def work() -> AdjustOut:
        get_user(acts.session, user_id)
        row = adjustments.request(
            acts.session,
            AdjustmentRequest(user_id, Money(body.amount_minor, body.currency), body.reason, body.account),
            actor_id=acts.operator.id,
            limit_minor=runtime.settings.adjustment_limits.get(body.currency, 0),
            now=acts.now,
        )
        acts.record("wallet.adjust", user_id=user_id, detail={**body.model_dump(mode="json"), "state": row.state})
        return _adjusted(acts, row)

    return once.answer(acts.session, acts.now, work)


def _adjusted(acts: Acts, row: WalletAdjustment) -> AdjustOut:
    line = None if row.transfer_id is None else statements.line_of(acts.session, row.account_id, row.transfer_id)
    wallet = wallets.wallet_of(acts.session, row.user_id, row.currency, acts.now)
    return AdjustOut(
        adjustment=AdjustmentOut.of(row),
        line=None if line is None else StatementLineOut.of(line),
        wallet=WalletOut.of(wallets.balance(acts.session, wallet)),
    )


@router.get(
    "/adjustment", operation_id="admin_list_adjustments", summary="What operators gave and took, newest first",
    responses=problems(401, 403),
)  # fmt: skip
def list_adjustments(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: Annotated[AdjustmentState | None, Query(description="left out: all")] = None,
    user_id: UUID | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[AdjustmentOut]:
    before = runtime.cursors.read("adjustments", cursor)
    rows = adjustments.adjustments(
        session, limit=limit + 1, before=UUID(before) if before else None, state=state, user_id=user_id
    )
    more = runtime.cursors.make("adjustments", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[AdjustmentOut.of(row) for row in rows[:limit]], next=more)


@router.post(
    "/adjustment/{adjustment_id}/approve", operation_id="admin_approve_adjustment",
    summary="Agree to an adjustment of another operator", response_model=AdjustOut,
    responses=problems(401, 402, 403, 404, 409),
)  # fmt: skip
def approve(adjustment_id: UUID, body: DecisionIn, acts: ActsDep, once: Idempotent) -> Response:
    """The money moves now. Nobody agrees to their own."""

    def work() -> AdjustOut:
        row = adjustments.approve(acts.session, adjustment_id, actor_id=acts.operator.id, note=body.note, now=acts.now)
        acts.record("adjustment.approve", user_id=row.user_id, target=str(row.id), detail=body.model_dump())
        return _adjusted(acts, row)

    return once.answer(acts.session, acts.now, work)


@router.post(
    "/adjustment/{adjustment_id}/reject", operation_id="admin_reject_adjustment",
    summary="Refuse an adjustment, or take one's own back", responses=problems(401, 403, 404, 409),
)  # fmt: skip
def reject(adjustment_id: UUID, body: RefusalIn, acts: ActsDep) -> AdjustmentOut:
    row = adjustments.reject(acts.session, adjustment_id, actor_id=acts.operator.id, note=body.note, now=acts.now)
    acts.record("adjustment.reject", user_id=row.user_id, target=str(row.id), detail=body.model_dump())
    return AdjustmentOut.of(row)
