"""What a subscription's periods are paid with: the wallet, or a saved card whose money passes the wallet.

`fleet.subscriptions` calls it, in its own transaction, with the rider's wallet locked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.common.outbox import publish
from fleet.payments import invoices, ledger
from fleet.payments.events import SubscriptionPaymentRefunded
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.invoices import Bill, Line, Part, part_of
from fleet.payments.models import AccountKind, Invoice, InvoiceKind, LedgerAccount, LedgerTransfer, TransferState
from fleet.payments.wallets import Purse

HOLD: Final = "subscription_hold"
CHARGE: Final = "subscription_charge"
REFUND: Final = "subscription_refund"
NOTHING: Final = Part(0, 0)


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
            credit=purse.of_house(kind),
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
    session: Session,
    purse: Purse,
    invoice: Invoice,
    money: Money,
    *,
    period_id: UUID,
    intent_id: UUID | None,
    reason: str,
    now: datetime,
) -> None:
    """Give some of a period's price back to the wallet, once, with a correction of its invoice.

    `intent_id`: the card payment that paid it. The caller has seen that so much was paid and is not back.
    """
    back = NOTHING if intent_id is None else _of_card(session, intent_id)[1]
    part = part_of(Part(invoice.total_minor, invoice.tax_minor), back, money.amount_minor)
    _move_back(session, purse.account_id, part, money.currency, key=f"subscription:{period_id}:refund",
               intent_id=intent_id, reason=reason, now=now)  # fmt: skip
    invoices.credit(session, invoice, part, kind=InvoiceKind.CORRECTION, reason=reason, now=now)


def give_back_to_card(
    session: Session, intent: PaymentIntent, wallet_account: UUID, refund_id: UUID, amount_minor: int, *, reason: str,
    now: datetime,
) -> None:  # fmt: skip
    """The provider has given so much of a card's payment back, which nobody of ours asked for: what of it paid for a
    period is in the wallet, once for a refund, for the caller to send on. `fleet.subscriptions` is told.

    The caller has locked the wallet.
    """
    charged, back = _of_card(session, intent.id)
    amount = min(amount_minor, charged.amount_minor - back.amount_minor)
    if amount <= 0:
        return
    part = part_of(charged, back, amount)
    _move_back(session, wallet_account, part, intent.currency, key=f"subscription:desk:{refund_id}",
               intent_id=intent.id, reason=reason, now=now)  # fmt: skip
    publish(session, SubscriptionPaymentRefunded(intent.id, part.amount_minor, part.tax_minor, reason), now)


def _of_card(session: Session, intent_id: UUID) -> tuple[Part, Part]:
    """What a card's payment paid for a period, and what of that came back."""
    sums = []
    for kind, houses in ((CHARGE, LedgerTransfer.credit_account_id), (REFUND, LedgerTransfer.debit_account_id)):
        moved = func.sum(LedgerTransfer.posted_minor)
        query = (
            select(moved, moved.filter(LedgerAccount.kind == AccountKind.TAX))
            .join(LedgerAccount, LedgerAccount.id == houses)
            .where(
                LedgerTransfer.intent_id == intent_id,
                LedgerTransfer.kind == kind,
                LedgerTransfer.state == TransferState.POSTED,
            )
        )
        amount, tax = session.execute(query).one()
        sums.append(Part(int(amount or 0), int(tax or 0)))
    return sums[0], sums[1]


def _move_back(
    session: Session,
    wallet_account: UUID,
    part: Part,
    currency: str,
    *,
    key: str,
    intent_id: UUID | None,
    reason: str,
    now: datetime,
) -> None:
    house = ledger.house_accounts(session, currency, now)
    shares = {AccountKind.REFUNDS: part.amount_minor - part.tax_minor, AccountKind.TAX: part.tax_minor}
    for kind, amount in shares.items():
        if amount > 0:
            ledger.transfer(
                session,
                debit=house[kind],
                credit=wallet_account,
                money=Money(amount, currency),
                kind=REFUND,
                key=f"{key}:{kind}",
                now=now,
                intent_id=intent_id,
                memo=reason[:300],
            )
