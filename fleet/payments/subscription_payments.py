"""What a subscription's periods are paid with: the wallet, or a saved card whose money passes the wallet.

`fleet.subscriptions` calls it, in its own transaction, with the rider's wallet locked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments import invoices, ledger
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.invoices import Bill, Line
from fleet.payments.models import AccountKind, Invoice, LedgerTransfer, TransferState
from fleet.payments.wallets import Purse

HOLD: Final = "subscription_hold"
CHARGE: Final = "subscription_charge"
REFUND: Final = "subscription_refund"


@dataclass(frozen=True, slots=True)
class Fee:
    """What one period costs. `money` contains `tax_minor`; `lines` say what it is, and add up to it."""

    period_id: UUID
    user_id: UUID
    money: Money
    tax_minor: int
    tax_name: str
    tax_bp: int
    lines: Sequence[Line]


def set_aside(session: Session, intent: PaymentIntent, wallet_account: UUID, now: datetime) -> None:
    """What the card brought is for the period and for nothing else, until `free` says what becomes of it."""
    assert intent.captured_minor is not None
    ledger.hold(
        session,
        debit=wallet_account,
        credit=ledger.house_accounts(session, intent.currency, now)[AccountKind.SUBSCRIPTIONS],
        money=Money(intent.captured_minor, intent.currency),
        kind=HOLD,
        key=_hold_key(intent.id),
        now=now,
        intent_id=intent.id,
    )


def free(session: Session, intent: PaymentIntent, now: datetime) -> bool:
    """The wallet has the card's money; False when that was so before. The caller charges it or gives it back."""
    held = ledger.by_key(session, _hold_key(intent.id))
    if held is None or held.state is not TransferState.PENDING:
        return False
    ledger.void(session, held.id, now)
    return True


def _hold_key(intent_id: UUID) -> str:
    return f"subscription:{intent_id}:hold"


def charge(
    session: Session, purse: Purse, fee: Fee, now: datetime, intent_id: UUID | None = None
) -> tuple[LedgerTransfer, Invoice]:
    """Take a period's price from the wallet, once for a period whoever pays; the tax goes to its own account.

    `intent_id`: the card payment whose money it is. Raises InsufficientFunds.
    """
    parts = {AccountKind.SUBSCRIPTIONS: fee.money.amount_minor - fee.tax_minor, AccountKind.TAX: fee.tax_minor}
    moved = [
        ledger.transfer(
            session,
            debit=purse.account_id,
            credit=purse.house[kind],
            money=Money(amount, fee.money.currency),
            kind=CHARGE,
            key=f"subscription:{fee.period_id}:{kind}",
            now=now,
            intent_id=intent_id,
        )
        for kind, amount in parts.items()
        if amount > 0
    ]
    bill = Bill(
        user_id=fee.user_id, rental_id=None, currency=fee.money.currency, total_minor=fee.money.amount_minor,
        tax_minor=fee.tax_minor, tax_name=fee.tax_name, tax_bp=fee.tax_bp, lines=fee.lines,
    )  # fmt: skip
    invoice = invoices.issue(session, bill, now)
    assert invoice is not None
    return moved[0], invoice


def give_back(
    session: Session, purse: Purse, invoice: Invoice, money: Money, *, period_id: UUID, reason: str, now: datetime
) -> None:
    """Give some of a period's price back to the wallet, once, with a correction of its invoice.

    The caller has seen that so much was paid.
    """
    tax_minor = invoices.tax_in(invoice, money.amount_minor)
    parts = {AccountKind.REFUNDS: money.amount_minor - tax_minor, AccountKind.TAX: tax_minor}
    for kind, amount in parts.items():
        if amount > 0:
            ledger.transfer(
                session,
                debit=purse.house[kind],
                credit=purse.account_id,
                money=Money(amount, money.currency),
                kind=REFUND,
                key=f"subscription:{period_id}:refund:{kind}",
                now=now,
                memo=reason[:300],
            )
    invoices.credit(session, invoice, money.amount_minor, reason=reason, now=now)
