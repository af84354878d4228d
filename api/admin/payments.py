"""Payments against the provider's list: what differed, and what to do about it."""

from collections.abc import Callable
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Response
from pydantic import Field

from api.admin.acts import Acts
from api.auth import CurrentOperator, WaitingOperator
from api.deps import Address, Now, RequestId, RuntimeDep, SessionDep
from api.idempotency import Idempotent, replay
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Instant, Limit, MoneyOut, Page, Schema
from api.v1 import area
from fleet.db import session_scope
from fleet.payments.disputes.models import CardDispute
from fleet.payments.disputes.service import disputes
from fleet.payments.errors import ProviderUnavailable
from fleet.payments.providers.base import DisputeStatus, OutcomeUnknown
from fleet.payments.reconciliation import service
from fleet.payments.reconciliation.models import DifferenceKind, Proposal, ReconciliationDifference

router = area("admin", "admin")
T = TypeVar("T")


class DisputeOut(Schema):
    """A rider told their bank that they did not owe a payment. While it is `open`, and when it is `lost`, the money is
    gone; a disputed top-up that is not spent is set aside.
    """

    id: UUID
    provider: str
    reference: Annotated[str, Field(description="the provider's name for it")]
    intent_id: UUID
    user_id: UUID
    amount: MoneyOut
    reason: Annotated[str, Field(examples=["fraudulent"])]
    state: DisputeStatus
    opened_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, row: CardDispute) -> "DisputeOut":
        columns = {column.key: getattr(row, column.key) for column in row.__table__.columns}
        amount = MoneyOut.of(row.amount_minor, row.currency)
        return cls.model_validate(columns | {"amount": amount, "reference": row.provider_reference})


@router.get("/payment-dispute", operation_id="admin_list_payment_disputes", summary="Chargebacks, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_payment_disputes(
    session: SessionDep, runtime: RuntimeDep, _: CurrentOperator, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[DisputeOut]:
    """They are answered at the provider; what comes of them is booked here by itself."""
    before = runtime.cursors.read("payment-disputes", cursor)
    rows = disputes(session, limit + 1, UUID(before) if before else None)
    more = runtime.cursors.make("payment-disputes", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[DisputeOut.of(row) for row in rows[:limit]], next=more)


class ReconciliationOut(Schema):
    """What was created at the provider from `since` until before `until`, compared with our books."""

    id: UUID
    provider: str
    since: Instant
    until: Instant
    finished_at: Instant
    compared: int
    differences: int


class DifferenceOut(Schema):
    id: UUID
    kind: DifferenceKind
    about: Annotated[str, Field(examples=["charge"])]
    reference: Annotated[str, Field(description="the provider's name for it")]
    our_id: Annotated[UUID | None, Field(description="of our payment, refund or payout")]
    ours: Annotated[str | None, Field(examples=["unknown"])]
    theirs: Annotated[str | None, Field(examples=["succeeded"])]
    amount: MoneyOut
    proposal: Annotated[Proposal, Field(description="`apply`: repairing makes ours what the provider says")]
    repaired_at: Instant | None

    @classmethod
    def of(cls, row: ReconciliationDifference) -> "DifferenceOut":
        columns = {column.key: getattr(row, column.key) for column in row.__table__.columns}
        return cls.model_validate(columns | {"amount": MoneyOut.of(row.amount_minor, row.currency)})


class Differences(Schema):
    items: list[DifferenceOut]


@router.get("/reconciliation", operation_id="admin_list_reconciliations", summary="Comparisons, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_runs(
    session: SessionDep, runtime: RuntimeDep, _: CurrentOperator, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[ReconciliationOut]:
    before = runtime.cursors.read("reconciliations", cursor)
    rows = service.runs(session, limit + 1, UUID(before) if before else None)
    more = runtime.cursors.make("reconciliations", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[ReconciliationOut.model_validate(row) for row in rows[:limit]], next=more)


@router.get("/reconciliation/{run_id}/difference", operation_id="admin_list_differences",
            summary="What one comparison found", responses=problems(401, 403, 404))  # fmt: skip
def list_differences(run_id: UUID, session: SessionDep, _: CurrentOperator) -> Differences:
    return Differences(items=[DifferenceOut.of(row) for row in service.differences_of(session, run_id)])


@router.post("/reconciliation", operation_id="admin_reconcile_payments", summary="Compare the last day now",
             status_code=201, response_model=ReconciliationOut, responses=problems(401, 403, 409))  # fmt: skip
def reconcile(runtime: RuntimeDep, _: WaitingOperator, now: Now, once: Idempotent) -> Response:
    """As the nightly job does. The provider is called outside any transaction."""
    stored = once.stored(runtime.engine, now)
    if stored is not None:
        return replay(stored)
    made = _asked(lambda: service.run(lambda: session_scope(runtime.engine), runtime.provider, now))
    with session_scope(runtime.engine) as session:
        return once.answer(session, now, lambda: ReconciliationOut.model_validate(made), status=201)


@router.post("/reconciliation/difference/{difference_id}/repair", operation_id="admin_repair_difference",
             summary="Make ours what the provider says", responses=problems(401, 403, 404, 409))  # fmt: skip
def repair(
    difference_id: UUID,
    runtime: RuntimeDep,
    operator: WaitingOperator,
    request_id: RequestId,
    address: Address,
    now: Now,
) -> DifferenceOut:
    """The object is read again and applied as a webhook would be: once, and only if it is what was asked for."""
    found = _asked(lambda: service.repair(lambda: session_scope(runtime.engine), difference_id, runtime.provider, now))
    with session_scope(runtime.engine) as session:
        Acts(session, operator, request_id, address, now).record("payment.repair", target=str(difference_id))
    return DifferenceOut.of(found)


def _asked(work: Callable[[], T]) -> T:
    try:
        return work()
    except OutcomeUnknown as error:
        raise ProviderUnavailable("the payment provider does not answer; try again") from error
