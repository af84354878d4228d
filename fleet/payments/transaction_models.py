"""What a rider paid, brought in and got back, whichever purse it was: a view of the ledger, never a second book."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Mapped

from fleet.db import Base
from fleet.payments.models import AccountKind, LedgerAccount, LedgerTransfer, TransferState


def side(account: InstrumentedAttribute[UUID], sign: int) -> Select[*tuple[Any, ...]]:
    """Transfers as the riders see them whose money left (-1: the debit account) or came in (1: the credit account)."""
    moved = func.coalesce(LedgerTransfer.posted_minor, LedgerTransfer.amount_minor)
    return (
        select(
            LedgerTransfer.id,
            LedgerAccount.id.label("account_id"),
            LedgerAccount.rider_id.label("user_id"),
            LedgerAccount.kind.label("purse"),
            LedgerTransfer.kind,
            LedgerTransfer.state,
            (sign * moved).label("amount_minor"),
            LedgerTransfer.currency,
            LedgerTransfer.rental_id,
            LedgerTransfer.intent_id,
            LedgerTransfer.memo,
            LedgerTransfer.created_at,
            LedgerTransfer.settled_at,
        )
        .join(LedgerAccount, LedgerAccount.id == account)
        .where(LedgerAccount.rider_id.is_not(None))
    )


_BOTH = union_all(side(LedgerTransfer.debit_account_id, -1), side(LedgerTransfer.credit_account_id, 1)).subquery(
    "transaction"
)


class Transaction(Base):
    """One transfer as its rider sees it: of the wallet or of points (`purse`), under way, done, or come to nothing."""

    __table__ = _BOTH
    __mapper_args__ = {"primary_key": [_BOTH.c.id, _BOTH.c.account_id]}  # noqa: RUF012  # as the base declares it

    #: The transfer's.
    id: Mapped[UUID]
    account_id: Mapped[UUID]
    user_id: Mapped[UUID]
    purse: Mapped[AccountKind]
    kind: Mapped[str]
    state: Mapped[TransferState]
    #: Negative when it left, or would have left. What really moved, where that is known.
    amount_minor: Mapped[int]
    currency: Mapped[str]
    rental_id: Mapped[UUID | None]
    intent_id: Mapped[UUID | None]
    memo: Mapped[str | None]
    created_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
