"""Operators give riders money or take it: small amounts alone, larger ones with somebody else's agreement.

What counts against the limit is all that was done alone to one account in a day, so that a large amount in small pieces
is a large amount (decision 0151).
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.money import Money
from fleet.db import new_id
from fleet.payments import ledger, wallets
from fleet.payments.approval_models import AdjustmentState
from fleet.payments.approvals import done_alone
from fleet.payments.errors import AdjustmentNotFound, AlreadyDecided, SecondPersonNeeded
from fleet.payments.models import AccountKind, LedgerAccount, WalletAdjustment
from fleet.payments.rules import RIDERS_MONEY


@dataclass(frozen=True, slots=True)
class AdjustmentRequest:
    """`money` positive gives, negative takes; `account` is the wallet or points money."""

    user_id: UUID
    money: Money
    reason: str
    account: AccountKind = AccountKind.WALLET


def request(
    session: Session, wanted: AdjustmentRequest, *, actor_id: UUID, limit_minor: int, now: datetime
) -> WalletAdjustment:
    """Applied at once, or PENDING when all that was done alone would pass `limit_minor`. Locks the account.

    Raises InvalidInput for nothing or no reason, InsufficientFunds when it would be applied and the money is not there.
    """
    if wanted.account not in RIDERS_MONEY:
        raise InvalidInput(f"{wanted.account} belongs to no rider", field="account")
    if wanted.money.amount_minor == 0 or not wanted.reason.strip():
        field = "reason" if wanted.money.amount_minor else "amount_minor"
        raise InvalidInput("an adjustment has an amount and a reason", field=field)
    account = wallets.account_of(session, wanted.user_id, wanted.account, wanted.money.currency, now)
    ledger.lock_accounts(session, account)  # two at once must count each other
    alone = done_alone(
        session, WalletAdjustment, WalletAdjustment.amount_minor, WalletAdjustment.account_id == account, now=now
    )
    counted = alone + abs(wanted.money.amount_minor)
    row = WalletAdjustment(
        id=new_id(),
        user_id=wanted.user_id,
        account_id=account,
        amount_minor=wanted.money.amount_minor,
        currency=wanted.money.currency,
        reason=wanted.reason.strip(),
        state=AdjustmentState.PENDING,
        limit_minor=limit_minor,
        counted_minor=counted,
        requested_by=actor_id,
        requested_at=now,
    )
    if counted <= limit_minor:
        row.transfer_id = _move(session, row, wanted.account, now)
        row.state, row.decided_at = AdjustmentState.APPLIED, now
    session.add(row)
    session.flush()  # a refusal of the database belongs to this call
    return row


def _move(session: Session, row: WalletAdjustment, account: AccountKind, now: datetime) -> UUID:
    return wallets.adjust(
        session,
        user_id=row.user_id,
        money=Money(row.amount_minor, row.currency),
        reason=row.reason,
        actor_id=row.requested_by,
        key=str(row.id),
        now=now,
        account=account,
    ).id


def approve(
    session: Session, adjustment_id: UUID, *, actor_id: UUID, note: str | None, now: datetime
) -> WalletAdjustment:
    """Agree to a pending one, and move the money; again changes nothing.

    Raises AdjustmentNotFound, SecondPersonNeeded for whoever asked for it, AlreadyDecided, InsufficientFunds.
    """
    row = _locked(session, adjustment_id)
    if row.state is AdjustmentState.APPLIED:
        return row
    if row.requested_by == actor_id:
        raise SecondPersonNeeded("whoever asked for an adjustment cannot agree to it", adjustment_id=adjustment_id)
    _must_be_pending(row)
    kind = session.scalars(select(LedgerAccount.kind).where(LedgerAccount.id == row.account_id)).one()
    row.transfer_id = _move(session, row, kind, now)
    row.decide(AdjustmentState.APPLIED, actor_id, note, now)
    session.flush()  # a refusal of the database belongs to this call
    return row


def reject(session: Session, adjustment_id: UUID, *, actor_id: UUID, note: str, now: datetime) -> WalletAdjustment:
    """Refuse a pending one, or take one's own back; again changes nothing.

    Raises AdjustmentNotFound, AlreadyDecided.
    """
    row = _locked(session, adjustment_id)
    if row.state is AdjustmentState.REJECTED:
        return row
    _must_be_pending(row)
    row.decide(AdjustmentState.REJECTED, actor_id, note, now)
    session.flush()  # the answer shows it
    return row


def _locked(session: Session, adjustment_id: UUID) -> WalletAdjustment:
    """Its account first: the order in which `request` takes them too."""
    account = session.scalar(select(WalletAdjustment.account_id).where(WalletAdjustment.id == adjustment_id))
    if account is None:
        raise AdjustmentNotFound("no such adjustment", adjustment_id=adjustment_id)
    ledger.lock_accounts(session, account)
    query = select(WalletAdjustment).where(WalletAdjustment.id == adjustment_id).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).one()


def _must_be_pending(row: WalletAdjustment) -> None:
    if row.state is not AdjustmentState.PENDING:
        raise AlreadyDecided(f"this adjustment is {row.state}", adjustment_id=row.id, state=row.state)


def adjustments(
    session: Session,
    *,
    limit: int,
    before: UUID | None = None,
    state: AdjustmentState | None = None,
    user_id: UUID | None = None,
) -> list[WalletAdjustment]:
    """Newest first; `before` is the id of the last one seen."""
    query = select(WalletAdjustment).order_by(WalletAdjustment.id.desc()).limit(limit)
    for column, value in ((WalletAdjustment.state, state), (WalletAdjustment.user_id, user_id)):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(WalletAdjustment.id < before)
    return list(session.scalars(query))
