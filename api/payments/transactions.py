"""What a rider paid, brought in and got back, whichever purse it was."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from api.auth import CurrentUser
from api.deps import RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Instant, Limit, MoneyOut, Page, Schema
from api.v1 import area
from fleet.payments.histories import transactions_of
from fleet.payments.models import AccountKind, TransferState
from fleet.payments.statements import as_posted, reason_for, words_for
from fleet.payments.transaction_models import Transaction

router = area("payment", "payments")


class Purse(StrEnum):
    WALLET = "wallet"
    POINTS = "points"


class TransactionOut(Schema):
    """`pending`: held, or on its way. `voided`: it came to nothing, and `amount` moved no more."""

    id: UUID
    at: Annotated[Instant, Field(description="when it was settled, or begun while it is pending")]
    purse: Purse
    kind: Annotated[str, Field(examples=["top_up"])]
    text: Annotated[str, Field(description="what people read", examples=["Top-up"])]
    reason: Annotated[str | None, Field(description="why it came back", examples=["the power bank was brought back"])]
    state: TransferState
    amount: Annotated[MoneyOut, Field(description="negative when it left")]
    rental_id: UUID | None
    intent_id: UUID | None

    @classmethod
    def of(cls, row: Transaction) -> "TransactionOut":
        kind = as_posted(row.kind) if row.state is TransferState.POSTED else row.kind
        return cls(
            id=row.id,
            at=row.settled_at or row.created_at,
            purse=Purse.POINTS if row.purse is AccountKind.BONUS else Purse.WALLET,
            kind=kind,
            text=words_for(kind, row.amount_minor),
            reason=reason_for(kind, row.memo),
            state=row.state,
            amount=MoneyOut.of(row.amount_minor, row.currency),
            rental_id=row.rental_id,
            intent_id=row.intent_id,
        )


@router.get("/transaction", operation_id="list_transactions", summary="What I paid and got back, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_transactions(
    session: SessionDep,
    runtime: RuntimeDep,
    user: CurrentUser,
    rental_id: UUID | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[TransactionOut]:
    """Of all my purses and currencies, by when they were begun; what was held and given back is there too."""
    before = runtime.cursors.read("transactions", cursor)
    rows = transactions_of(session, user.id, limit + 1, before=UUID(before) if before else None, rental_id=rental_id)
    more = runtime.cursors.make("transactions", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[TransactionOut.of(row) for row in rows[:limit]], next=more)
