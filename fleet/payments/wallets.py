"""A rider's money: what there is, where it came from and went, and what an operator may change."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.money import Money
from fleet.payments import ledger
from fleet.payments.models import AccountKind, LedgerTransfer, TransferState, Wallet


@dataclass(frozen=True, slots=True)
class WalletBalance:
    """Minor units. posted = held + available."""

    posted_minor: int
    held_minor: int
    available_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One transfer as the rider sees it: `amount_minor` is negative when it left the wallet.

    PENDING lines are holds, with what is held; a POSTED one shows what really moved.
    """

    id: UUID
    at: datetime
    kind: str
    state: TransferState
    amount_minor: int
    currency: str
    rental_id: UUID | None
    intent_id: UUID | None
    memo: str | None


def wallet_of(session: Session, user_id: UUID, currency: str, now: datetime) -> Wallet:
    """The rider's wallet in `currency`, opened at first use; safe in parallel."""
    query = select(Wallet).where(Wallet.user_id == user_id, Wallet.currency == currency)
    wallet = session.scalars(query).one_or_none()
    if wallet is None:
        account = ledger.account_for(session, user_id, AccountKind.WALLET, currency, now)
        session.execute(
            insert(Wallet)
            .values(user_id=user_id, currency=currency, account_id=account.id, created_at=now)
            .on_conflict_do_nothing()
        )
        wallet = session.scalars(query).one()
    return wallet


def balance(session: Session, wallet: Wallet) -> WalletBalance:
    totals = ledger.totals(session, wallet.account_id)
    return WalletBalance(
        posted_minor=totals.balance_minor,
        held_minor=totals.debits_pending,
        available_minor=totals.available_minor,
        currency=totals.currency,
    )


def statement(session: Session, wallet: Wallet, limit: int, before: UUID | None = None) -> list[StatementLine]:
    """The wallet's transfers, newest first, voided holds left out; `before` is the id of the last line seen."""
    account = wallet.account_id
    query = (
        select(LedgerTransfer)
        .where(
            or_(LedgerTransfer.debit_account_id == account, LedgerTransfer.credit_account_id == account),
            LedgerTransfer.state != TransferState.VOIDED,
        )
        .order_by(LedgerTransfer.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(LedgerTransfer.id < before)
    return [line_of(transfer, account) for transfer in session.scalars(query)]


def line_of(transfer: LedgerTransfer, account: UUID) -> StatementLine:
    """`transfer` as the rider sees it whose wallet is `account`, one of its sides."""
    amount = transfer.amount_minor if transfer.posted_minor is None else transfer.posted_minor
    return StatementLine(
        id=transfer.id,
        at=transfer.settled_at or transfer.created_at,
        kind=transfer.kind,
        state=transfer.state,
        amount_minor=-amount if transfer.debit_account_id == account else amount,
        currency=transfer.currency,
        rental_id=transfer.rental_id,
        intent_id=transfer.intent_id,
        memo=transfer.memo,
    )


def adjust(
    session: Session, *, user_id: UUID, money: Money, reason: str, actor_id: UUID, key: str, now: datetime
) -> LedgerTransfer:
    """An operator gives (`money` positive) or takes (negative); idempotent by `key`. The edge writes the audit log.

    Raises InvalidInput for an amount of zero or no reason, InsufficientFunds.
    """
    if money.amount_minor == 0:
        raise InvalidInput("an adjustment of nothing", field="amount_minor")
    if not reason.strip():
        raise InvalidInput("an adjustment needs a reason", field="reason")
    wallet = wallet_of(session, user_id, money.currency, now).account_id
    house = ledger.house_accounts(session, money.currency, now)[AccountKind.ADJUSTMENTS]
    gives = money.amount_minor > 0
    return ledger.transfer(
        session,
        debit=house if gives else wallet,
        credit=wallet if gives else house,
        money=Money(abs(money.amount_minor), money.currency),
        kind="adjustment",
        key=f"adjust:{user_id}:{key}",
        now=now,
        memo=f"{actor_id}: {reason.strip()}"[:300],
    )
