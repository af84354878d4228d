"""A rider's transactions, whichever purse they moved."""

from typing import Final
from uuid import UUID

from sqlalchemy import select, union_all
from sqlalchemy.orm import Session, aliased

from fleet.payments.models import AccountKind, LedgerAccount, LedgerTransfer
from fleet.payments.transaction_models import Transaction, side

#: What is a rider's to spend.
PURSES: Final = (AccountKind.WALLET, AccountKind.BONUS)


def transactions_of(
    session: Session, user_id: UUID, limit: int, *, before: UUID | None = None, rental_id: UUID | None = None
) -> list[Transaction]:
    """Newest first, holds that came to nothing too; `before` is the id of the last one seen.

    Two walks along an index for each purse, of which the newest rows are taken: the millionth costs what the first
    does.
    """
    purses = select(LedgerAccount.id).where(LedgerAccount.owner_id == user_id, LedgerAccount.kind.in_(PURSES))
    walks = []
    for account_id in session.scalars(purses):
        for account, sign in ((LedgerTransfer.debit_account_id, -1), (LedgerTransfer.credit_account_id, 1)):
            query = side(account, sign).where(account == account_id)
            if before is not None:
                query = query.where(LedgerTransfer.id < before)
            if rental_id is not None:
                query = query.where(LedgerTransfer.rental_id == rental_id)
            walks.append(query.order_by(LedgerTransfer.id.desc()).limit(limit).subquery().select())
    if not walks:
        return []
    found = aliased(Transaction, union_all(*walks).subquery(), adapt_on_names=True)
    return list(session.scalars(select(found).order_by(found.id.desc()).limit(limit)))
