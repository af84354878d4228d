from uuid import UUID

from fastapi import Response

from api.auth import CurrentUser
from api.deps import Now, RuntimeDep, SessionDep
from api.idempotency import Idempotent
from api.paging import DEFAULT_LIMIT
from api.payments.money_out_schemas import RefundIn, RefundOut
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.payments.outgoing import queries, refunds

router = area("payment", "payments")


@router.post("/refund", operation_id="request_refund", summary="Ask for money back", status_code=201,
             response_model=RefundOut, responses=problems(401, 403, 404, 409))  # fmt: skip
def request_refund(body: RefundIn, session: SessionDep, user: CurrentUser, now: Now, once: Idempotent) -> Response:
    """Somebody decides; then it goes back where it came from: to the card, to the wallet, points as points."""

    def work() -> RefundOut:
        if body.rental_id is not None:
            refund = refunds.request_for_rental(
                session, rental_id=body.rental_id, user_id=user.id, requested_by=user.id,
                amount_minor=body.amount_minor, reason=body.reason, now=now,
            )  # fmt: skip
        else:
            assert body.intent_id is not None
            refund = refunds.request_for_top_up(
                session, intent_id=body.intent_id, user_id=user.id, amount_minor=body.amount_minor,
                reason=body.reason, now=now,
            )  # fmt: skip
        return RefundOut.of(refund)

    return once.answer(session, now, work, status=201)


@router.get("/refund", operation_id="list_refunds", summary="My refunds, newest first", responses=problems(401, 403))
def list_refunds(
    session: SessionDep, runtime: RuntimeDep, user: CurrentUser, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[RefundOut]:
    before = runtime.cursors.read("refunds", cursor)
    rows = queries.find_refunds(session, limit=limit + 1, before=UUID(before) if before else None, user_id=user.id)
    more = runtime.cursors.make("refunds", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[RefundOut.of(row) for row in rows[:limit]], next=more)
