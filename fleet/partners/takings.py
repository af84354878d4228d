"""What a rental took in, read from the ledger, and the tax in it put where it belongs."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session, aliased

from fleet.common.money import Money
from fleet.partners.rules import Takings
from fleet.payments import ledger
from fleet.payments.models import AccountKind, Invoice, LedgerAccount, LedgerTransfer, TransferState

TAX: Final = "rental_tax"
#: What is paid later goes to the receivable, which was the house's since the rental ended.
_TAKEN: Final = (
    AccountKind.REVENUE, AccountKind.UNLOCK_FEES, AccountKind.BUYOUT_REVENUE, AccountKind.TAX, AccountKind.RECEIVABLE,
)  # fmt: skip
#: Where cash comes from and goes back to. Points money is the house's own gift: partners have no share of it.
_CASH: Final = (AccountKind.WALLET, AccountKind.PROVIDER_CLEARING)


def takings_of(session: Session, rental_id: UUID) -> Takings:
    """In minor units of the rental's currency. The caller holds the rental's lock."""
    paid, refunded = _moved(session, rental_id, _CASH)
    price, tax = _invoiced(session, rental_id)
    return Takings(paid=paid, refunded=refunded, price=price, tax=tax)


def _moved(session: Session, rental_id: UUID, sources: tuple[AccountKind, ...]) -> tuple[int, int]:
    debit, credit = aliased(LedgerAccount), aliased(LedgerAccount)
    posted = LedgerTransfer.posted_minor
    paid = case((debit.kind.in_(sources) & credit.kind.in_(_TAKEN), posted), else_=0)
    refunded = case(((debit.kind == AccountKind.REFUNDS) & credit.kind.in_(sources), posted), else_=0)
    query = (
        select(func.coalesce(func.sum(paid), 0), func.coalesce(func.sum(refunded), 0))
        .join(debit, debit.id == LedgerTransfer.debit_account_id)
        .join(credit, credit.id == LedgerTransfer.credit_account_id)
        .where(LedgerTransfer.rental_id == rental_id, LedgerTransfer.state == TransferState.POSTED)
    )
    row = session.execute(query).one()
    return int(row[0]), int(row[1])


def _invoiced(session: Session, rental_id: UUID) -> tuple[int, int]:
    query = select(
        func.coalesce(func.sum(Invoice.total_minor), 0), func.coalesce(func.sum(Invoice.tax_minor), 0)
    ).where(Invoice.rental_id == rental_id)
    row = session.execute(query).one()
    return int(row[0]), int(row[1])


def book_tax(session: Session, rental_id: UUID, currency: str, now: datetime) -> int:
    """Bring the account TAX to the tax in what the rider paid and did not get back; minor units that moved.

    A charge books it as far as the wallet goes, debts that are paid later go to revenue, and refunds come out of their
    own account as a whole: this puts all of that right. Again changes nothing. The caller holds the rental's lock.
    """
    paid, refunded = _moved(session, rental_id, (*_CASH, AccountKind.BONUS))
    price, tax = _invoiced(session, rental_id)
    found = Takings(paid=paid, refunded=refunded, price=price, tax=tax)
    house = ledger.house_accounts(session, currency, now)
    booked, corrections = _booked(session, rental_id, house[AccountKind.TAX])
    missing = found.tax_in(found.kept) - booked
    if missing == 0:
        return 0
    other = house[AccountKind.REVENUE if missing > 0 else AccountKind.REFUNDS]
    ledger.transfer(
        session,
        debit=other if missing > 0 else house[AccountKind.TAX],
        credit=house[AccountKind.TAX] if missing > 0 else other,
        money=Money(abs(missing), currency),
        kind=TAX,
        key=f"rental:{rental_id}:tax:{corrections + 1}",
        now=now,
        rental_id=rental_id,
    )
    return abs(missing)


def _booked(session: Session, rental_id: UUID, account_id: UUID) -> tuple[int, int]:
    """What is on the account for this rental, and how many corrections that took."""
    signed = case(
        (LedgerTransfer.credit_account_id == account_id, LedgerTransfer.posted_minor),
        (LedgerTransfer.debit_account_id == account_id, -LedgerTransfer.posted_minor),
        else_=0,
    )
    query = select(func.coalesce(func.sum(signed), 0), func.count().filter(LedgerTransfer.kind == TAX)).where(
        LedgerTransfer.rental_id == rental_id, LedgerTransfer.state == TransferState.POSTED
    )
    row = session.execute(query).one()
    return int(row[0]), int(row[1])
