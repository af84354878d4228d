"""Statements: what moved an account and what there was afterwards, in the words of whoever reads it.

Lines carry their balance, so that no page adds up what came before it: the millionth costs what the first one does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select, union_all
from sqlalchemy.orm import Session, aliased, joinedload

from fleet.common.tables import AT_ONCE, lines
from fleet.payments.models import LedgerTransfer, TransferState, WalletTransaction

#: Kinds that are called otherwise once they have moved: a hold that was captured is a charge.
_POSTED_AS: Final = {"rental_hold": "rental_charge"}
#: What people read; what left and what came in may have words of their own.
_WORDS: Final = {
    "top_up": "Top-up",
    "card_payment": "Card payment",
    "chargeback_recovery": "Top-up that was disputed at your bank",
    "card_refund": "Refund to your card",
    "withdrawal": "Withdrawal",
    "withdrawal_fee": "Fee of a withdrawal",
    "money_returned": "Came back: your bank did not take it",
    "rental_hold": "Held for a rental",
    "rental_charge": "Rental",
    "reservation_fee": "Reservation",
    "rental_refund": "Refund for a rental",
    "adjustment": "Credit from customer service",
    "subscription_hold": "Held for a subscription",
    "subscription_charge": "Subscription",
    "subscription_refund": "Refund for a subscription",
    "partner_share": "Share of a rental",
    "partner_share_reversal": "Share taken back: the rider was refunded",
    "partner_payout": "Payout",
}
#: Whose memo is for their owner, whose invoices say it too. Others are operators' own words.
_EXPLAINED: Final = frozenset({"rental_refund", "subscription_refund"})
_WORDS_OUT: Final = {"adjustment": "Taken back by customer service"}


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One transfer as its owner sees it: `amount_minor` is negative when it left the account.

    PENDING lines are holds: what is held, and no balance yet. A POSTED one shows what really moved, and the account's
    `balance_minor` after it. `id` is the transfer's.
    """

    id: UUID
    at: datetime
    kind: str
    text: str
    state: TransferState
    amount_minor: int
    balance_minor: int | None
    currency: str
    rental_id: UUID | None
    intent_id: UUID | None
    memo: str | None


@dataclass(frozen=True, slots=True)
class StatementPage:
    """Newest first, open holds on top. `next` is where the following page begins; None at the end."""

    lines: list[StatementLine]
    next: int | None


def statement(session: Session, account_id: UUID, limit: int, before: int | None = None) -> StatementPage:
    """A page of the statement of an account that belongs to somebody; `before` is the `next` of the page before."""
    held = [] if before is not None else _holds(session, account_id, limit)
    room = max(1, limit - len(held))  # a page with nothing but holds could not say where the next one begins
    rows = _moves(session, account_id, room + 1, before)
    lines = [*held, *(posted_line(row) for row in rows[:room])]
    return StatementPage(lines, rows[room - 1].id if len(rows) > room else None)


def _holds(session: Session, account_id: UUID, limit: int) -> list[StatementLine]:
    query = (
        select(LedgerTransfer)
        .where(LedgerTransfer.debit_account_id == account_id, LedgerTransfer.state == TransferState.PENDING)
        .order_by(LedgerTransfer.id.desc())
        .limit(max(0, limit - 1))
    )
    return [_line(transfer, -transfer.amount_minor, None, transfer.created_at) for transfer in session.scalars(query)]


def _moves(session: Session, account_id: UUID, limit: int, before: int | None) -> list[WalletTransaction]:
    query = (
        select(WalletTransaction)
        .where(WalletTransaction.account_id == account_id)
        .order_by(WalletTransaction.id.desc())
        .limit(limit)
        .options(joinedload(WalletTransaction.transfer, innerjoin=True))
    )
    if before is not None:
        query = query.where(WalletTransaction.id < before)
    return list(session.scalars(query))


def posted_line(row: WalletTransaction) -> StatementLine:
    """`row` comes with its transfer."""
    return _line(row.transfer, row.amount_minor, row.balance_minor, row.at)


def line_of(session: Session, account_id: UUID, transfer_id: UUID) -> StatementLine:
    """The line of a transfer that was posted lately: those after it are read."""
    query = (
        select(WalletTransaction)
        .where(WalletTransaction.account_id == account_id, WalletTransaction.transfer_id == transfer_id)
        .order_by(WalletTransaction.id.desc())
        .limit(1)
        .options(joinedload(WalletTransaction.transfer, innerjoin=True))
    )
    return posted_line(session.scalars(query).one())


def _line(transfer: LedgerTransfer, amount: int, balance: int | None, at: datetime) -> StatementLine:
    kind = transfer.kind if balance is None else as_posted(transfer.kind)
    return StatementLine(
        id=transfer.id,
        at=at,
        kind=kind,
        text=words_for(kind, amount),
        state=TransferState.PENDING if balance is None else TransferState.POSTED,
        amount_minor=amount,
        balance_minor=balance,
        currency=transfer.currency,
        rental_id=transfer.rental_id,
        intent_id=transfer.intent_id,
        memo=transfer.memo,
    )


def reason_for(kind: str, memo: str | None) -> str | None:
    """Why it came about, for its owner to read."""
    return memo if kind in _EXPLAINED else None


def as_posted(kind: str) -> str:
    """What a transfer of this kind is once it has moved something."""
    return _POSTED_AS.get(kind, kind)


def words_for(kind: str, amount_minor: int) -> str:
    """What a line is called. A kind without words of its own is called by its name."""
    words = _WORDS_OUT.get(kind) if amount_minor < 0 else None
    return words or _WORDS.get(kind) or kind.replace("_", " ").capitalize()


def transfers_of(session: Session, account_id: UUID, limit: int, before: UUID | None = None) -> list[LedgerTransfer]:
    """For operators: every transfer of any account, the house's too, voided ones too, newest first.

    `before` is the id of the last one seen. Two walks along an index, of which the newest rows are taken.
    """
    sides = []
    for side in (LedgerTransfer.debit_account_id, LedgerTransfer.credit_account_id):
        query = select(LedgerTransfer).where(side == account_id)
        if before is not None:
            query = query.where(LedgerTransfer.id < before)
        sides.append(query.order_by(LedgerTransfer.id.desc()).limit(limit).subquery().select())
    found = aliased(LedgerTransfer, union_all(*sides).subquery())
    return list(session.scalars(select(found).order_by(found.id.desc()).limit(limit)))


def everything(session: Session, account_id: UUID) -> Iterator[StatementLine]:
    """The whole statement, newest first, without the open holds."""
    before: int | None = None
    while rows := _moves(session, account_id, AT_ONCE, before):
        yield from map(posted_line, rows)
        before = rows[-1].id
        session.expunge_all()  # what was read need not fit into memory


def as_csv(session: Session, account_id: UUID) -> Iterator[str]:
    """Every line that moved, newest first: amounts in minor units, with the balance after each."""
    rows = (
        [line.at, line.kind, line.text, line.amount_minor, line.balance_minor, line.currency, line.rental_id, line.id]
        for line in everything(session, account_id)
    )
    return lines(["at", "kind", "text", "amount_minor", "balance_minor", "currency", "rental", "transfer"], rows)
