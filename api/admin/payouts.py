"""Payouts to partners: decided here, sent by the bank, told back here."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response
from pydantic import ConfigDict, Field

from api.admin.acts import Acts, ActsDep
from api.admin.money_schemas import RefusalIn
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.idempotency import Idempotent, IdempotentIfKeyed
from api.paging import DEFAULT_LIMIT
from api.partners.schemas import PayoutOut
from api.problems import problems
from api.schemas import Cursor, Input, Limit, Page
from api.v1 import area
from fleet.partners import payouts, sending
from fleet.partners.models import PayoutRequest, PayoutState

router = area("admin", "admin")


class CompletionIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reference": "SEPA-2026-11-25-0007"}]})

    reference: Annotated[str, Field(min_length=3, max_length=100, description="the bank's; never used twice")]


@router.get("/payout", operation_id="admin_list_payouts", summary="Payouts, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_payouts(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: Annotated[PayoutState | None, Query(description="left out: all")] = None,
    partner_id: UUID | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[PayoutOut]:
    before = runtime.cursors.read("admin payouts", cursor)
    rows = payouts.payouts(
        session, limit=limit + 1, before=UUID(before) if before else None, partner_id=partner_id, state=state
    )
    more = runtime.cursors.make("admin payouts", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[PayoutOut.of(row) for row in rows[:limit]], next=more)


@router.post("/payout/{payout_id}/approve", operation_id="admin_approve_payout", summary="It may be paid",
             responses=problems(401, 403, 404, 409))  # fmt: skip
def approve(payout_id: UUID, acts: ActsDep) -> PayoutOut:
    """Not by whoever asked for it."""
    row = payouts.approve(acts.session, payout_id, actor_id=acts.operator.id, now=acts.now)
    return _told(acts, "payout.approve", row)


@router.post("/payout/{payout_id}/process", operation_id="admin_process_payout", summary="The bank has the order",
             responses=problems(401, 403, 404, 409))  # fmt: skip
def process(payout_id: UUID, acts: ActsDep) -> PayoutOut:
    return _told(acts, "payout.process", payouts.process(acts.session, payout_id))


@router.post("/payout/{payout_id}/send", operation_id="admin_send_payout", summary="Have the payment provider pay it",
             response_model=PayoutOut, responses=problems(401, 403, 404, 409))  # fmt: skip
def send(payout_id: UUID, runtime: RuntimeDep, acts: ActsDep, once: IdempotentIfKeyed) -> Response:
    """To the partner's account there, once it is approved. From then on the provider says what becomes of it; again
    changes nothing.
    """

    def work() -> PayoutOut:
        return _told(acts, "payout.send", sending.send(acts.session, payout_id, runtime.provider, acts.now))

    return once.answer(acts.session, acts.now, work)


@router.post("/payout/{payout_id}/complete", operation_id="admin_complete_payout", summary="The money has left",
             response_model=PayoutOut, responses=problems(401, 403, 404, 409))  # fmt: skip
def complete(payout_id: UUID, body: CompletionIn, acts: ActsDep, once: Idempotent) -> Response:
    def work() -> PayoutOut:
        done = payouts.complete(acts.session, payout_id, reference=body.reference, now=acts.now)
        return _told(acts, "payout.complete", done)

    return once.answer(acts.session, acts.now, work)


@router.post("/payout/{payout_id}/reject", operation_id="admin_reject_payout", summary="It is not paid",
             response_model=PayoutOut, responses=problems(401, 403, 404, 409))  # fmt: skip
def reject(payout_id: UUID, body: RefusalIn, acts: ActsDep, once: IdempotentIfKeyed) -> Response:
    """Refused, or sent back by the bank: the money is the partner's again."""

    def work() -> PayoutOut:
        row = payouts.reject(acts.session, payout_id, actor_id=acts.operator.id, reason=body.note, now=acts.now)
        return _told(acts, "payout.reject", row)

    return once.answer(acts.session, acts.now, work)


def _told(acts: Acts, action: str, row: PayoutRequest) -> PayoutOut:
    detail = {"partner": str(row.partner_id), "amount_minor": row.amount_minor, "currency": row.currency}
    acts.record(action, target=str(row.id), detail={**detail, "reference": row.reference, "reason": row.reason})
    return PayoutOut.of(row)
