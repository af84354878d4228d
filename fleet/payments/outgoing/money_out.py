"""What the provider does with money that leaves, booked once whoever hears of it.

Locks: the rider's wallet (the partner's account), then the refund or withdrawal, then the movement.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import NotFound
from fleet.common.money import Money
from fleet.common.outbox import publish
from fleet.payments import ledger
from fleet.payments.events import MoneyOutDue, MoneyOutSettled
from fleet.payments.models import LedgerTransfer
from fleet.payments.outgoing import rules
from fleet.payments.outgoing.models import MoneyOut, MoneyOutState, Refund, RefundState, Withdrawal, WithdrawalState
from fleet.payments.providers.base import (
    MoveOrder,
    MoveStatus,
    ObjectKind,
    PaymentProvider,
    ProviderMove,
    ProviderRefused,
)
from fleet.payments.rules import must_agree
from fleet.payments.transactions import Transactions
from fleet.payments.wallets import wallet_of

log = structlog.get_logger(__name__)

ASK_AFTER: Final = timedelta(seconds=15)
ASK_SLOWEST: Final = timedelta(hours=1)
RETURNED: Final = "money_returned"


def begin(session: Session, out: MoneyOut, now: datetime) -> None:
    """Have the provider asked as soon as this transaction is committed; a sweep asks if nobody else does."""
    session.add(out)
    session.flush()  # the event names it
    publish(session, MoneyOutDue(out.id), now)


def send(transactions: Transactions, out_id: UUID, provider: PaymentProvider, now: datetime) -> bool:
    """Ask the provider for it; False when that is over. Raises OutcomeUnknown: ask again, it happens once."""
    with transactions() as session:
        out = session.get(MoneyOut, out_id)
        if out is None or out.state is not MoneyOutState.PENDING or out.provider != provider.name:
            return False
        kind, order = out.kind, order_of(out)
    try:
        move = provider.refund(order) if kind is ObjectKind.REFUND else provider.payout(order)
    except ProviderRefused as error:
        log.warning("money_out_refused", money_out_id=str(out_id), error=str(error))
        with transactions() as session:
            return _settle(session, _locked(session, out_id, now), MoneyOutState.FAILED, error.code or "refused", now)
    with transactions() as session:
        return apply_move(session, move, now)


def order_of(out: MoneyOut) -> MoveOrder:
    return MoveOrder(out.id, out.user_id, out.amount_minor, out.currency, to=out.destination, customer=out.customer)


def _locked(session: Session, out_id: UUID, now: datetime) -> MoneyOut:
    out = session.get(MoneyOut, out_id)
    if out is None:
        raise NotFound("the provider has no such object of ours")
    if out.payout_id is None:
        ledger.lock_accounts(session, wallet_of(session, out.user_id, out.currency, now).account_id)
    else:
        ledger.lock_accounts(session, session.get_one(LedgerTransfer, out.transfer_id).debit_account_id)
    return session.get_one(MoneyOut, out_id, with_for_update=True, populate_existing=True)


def apply_move(session: Session, move: ProviderMove, now: datetime) -> bool:
    """Make the movement what the provider's object says; False when that is no news.

    Raises ChargeMismatch when it is not what was asked for, NotFound when it is not ours.
    """
    if move.id is None:
        raise NotFound("the provider has no such object of ours")
    out = _locked(session, move.id, now)
    _check(out, move)
    out.provider_reference = move.reference
    if move.status is MoveStatus.PENDING:
        return False
    if move.status is MoveStatus.SUCCEEDED:
        over = out.state in {MoneyOutState.SUCCEEDED, MoneyOutState.RETURNED}
        return not over and _settle(session, out, MoneyOutState.SUCCEEDED, None, now)
    if out.state in {MoneyOutState.FAILED, MoneyOutState.RETURNED}:
        return False
    wanted = MoneyOutState.RETURNED if out.state is MoneyOutState.SUCCEEDED else MoneyOutState.FAILED
    return _settle(session, out, wanted, move.failure_code, now)


def _check(out: MoneyOut, move: ProviderMove) -> None:
    pairs = {
        "kind": (out.kind, move.kind),
        "amount_minor": (out.amount_minor, move.amount_minor),
        "currency": (out.currency, move.currency),
        "reference": (out.provider_reference or move.reference, move.reference),
    }
    must_agree(pairs)


def _settle(session: Session, out: MoneyOut, state: MoneyOutState, failure: str | None, now: datetime) -> bool:
    if out.state is state:
        return False
    rules.check_move(out.state, state)
    out.state, out.failure_code, out.updated_at = state, failure and failure[:64], now
    _book(session, out.transfer_id, state, now)
    if out.loss_id is not None:
        _book(session, out.loss_id, state, now)
    if out.withdrawal_id is not None:
        _close_withdrawal(session, out.withdrawal_id, state, now)
    if out.refund_id is not None:
        _close_refund(session, out.refund_id)
    publish(session, MoneyOutSettled(out.id, out.user_id, out.kind, state, out.amount_minor, out.currency), now)
    return True


def _book(session: Session, transfer_id: UUID, state: MoneyOutState, now: datetime) -> None:
    """What was set aside has left, or has not; or had left and is back in the wallet."""
    transfer = session.get_one(LedgerTransfer, transfer_id)
    if state is MoneyOutState.SUCCEEDED:
        ledger.post(session, transfer_id, transfer.amount_minor, now)
    elif state is MoneyOutState.FAILED:
        ledger.void(session, transfer_id, now)
    else:
        ledger.transfer(
            session,
            debit=transfer.credit_account_id,
            credit=transfer.debit_account_id,
            money=Money(transfer.amount_minor, transfer.currency),
            kind=RETURNED,
            key=f"returned:{transfer_id}",
            now=now,
        )


def _close_withdrawal(session: Session, withdrawal_id: UUID, state: MoneyOutState, now: datetime) -> None:
    withdrawal = session.get_one(Withdrawal, withdrawal_id, with_for_update=True)
    went = state is MoneyOutState.SUCCEEDED
    withdrawal.state = WithdrawalState.COMPLETED if went else WithdrawalState.FAILED
    if withdrawal.fee_transfer_id is not None:  # no fee for what did not arrive
        _book(session, withdrawal.fee_transfer_id, state, now)


def _close_refund(session: Session, refund_id: UUID) -> None:
    session.flush()  # the row that has just moved counts
    waiting = select(MoneyOut.id).where(MoneyOut.refund_id == refund_id, MoneyOut.state == MoneyOutState.PENDING)
    if session.scalars(waiting).first() is None:
        session.get_one(Refund, refund_id, with_for_update=True).state = RefundState.COMPLETED


def sweep(transactions: Transactions, provider: PaymentProvider, now: datetime, limit: int = 20) -> int:
    """Ask the provider for what is still on its way; returns how many are settled now. Several may run at once."""
    with transactions() as session:
        query = (
            select(MoneyOut)
            .where(
                MoneyOut.state == MoneyOutState.PENDING,
                MoneyOut.provider == provider.name,
                MoneyOut.ask_at <= now,
            )
            .order_by(MoneyOut.ask_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        claimed = list(session.scalars(query))
        for out in claimed:
            out.ask_at = now + min(max(now - out.created_at, ASK_AFTER), ASK_SLOWEST)
    return sum(_try(transactions, out.id, provider, now) for out in claimed)


def _try(transactions: Transactions, out_id: UUID, provider: PaymentProvider, now: datetime) -> bool:
    try:
        return send(transactions, out_id, provider, now)
    except Exception as error:  # noqa: BLE001  # one that cannot be asked for must not stop the others
        log.warning("money_out_not_asked", money_out_id=str(out_id), error=str(error))
        return False
