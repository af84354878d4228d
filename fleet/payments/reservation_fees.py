"""What a rider pays for a bank that was kept for them and not fetched: held first, charged or released later."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments import ledger
from fleet.payments.invoices import Bill, Line, issue
from fleet.payments.models import AccountKind, LedgerTransfer
from fleet.payments.wallets import Purse

FEE: Final = "reservation_fee"


@dataclass(frozen=True, slots=True)
class Fee:
    """`money` contains `tax_minor`."""

    user_id: UUID
    reservation_id: UUID
    money: Money
    tax_minor: int
    tax_name: str
    tax_bp: int
    text: str


def hold_fee(session: Session, purse: Purse, reservation_id: UUID, money: Money, now: datetime) -> LedgerTransfer:
    """Once per reservation. Raises InsufficientFunds."""
    return ledger.hold(
        session,
        debit=purse.account_id,
        credit=purse.of_house(AccountKind.REVENUE),
        money=money,
        kind=FEE,
        key=f"reservation:{reservation_id}:hold",
        now=now,
        locked={purse.account_id: purse.available_minor},
    )


def release_fee(session: Session, hold_id: UUID, now: datetime) -> None:
    """The caller has locked the wallet and seen the reservation active: its hold is pending."""
    ledger.settle(session, hold_id, None, now)


def charge_fee(session: Session, hold_id: UUID, fee: Fee, now: datetime) -> None:
    """Charge what was held, with an invoice; the tax goes to its own account. Conditions as for `release_fee`."""
    held = ledger.settle(session, hold_id, None, now)
    house = ledger.house_accounts(session, fee.money.currency, now)
    parts = {AccountKind.REVENUE: fee.money.amount_minor - fee.tax_minor, AccountKind.TAX: fee.tax_minor}
    for kind, amount in parts.items():
        if amount > 0:
            ledger.transfer(
                session,
                debit=held.debit_account_id,
                credit=house[kind],
                money=Money(amount, fee.money.currency),
                kind=FEE,
                key=f"reservation:{fee.reservation_id}:{kind}",
                now=now,
            )
    bill = Bill(
        user_id=fee.user_id,
        rental_id=None,
        currency=fee.money.currency,
        total_minor=fee.money.amount_minor,
        tax_minor=fee.tax_minor,
        tax_name=fee.tax_name,
        tax_bp=fee.tax_bp,
        lines=[Line(FEE, fee.text, fee.money.amount_minor)],
    )
    issue(session, bill, now)
