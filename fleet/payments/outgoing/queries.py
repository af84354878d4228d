"""Refunds and withdrawals as riders and operators list them, newest first."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.payments.intent_models import PaymentIntent
from fleet.payments.outgoing.models import MoneyOut, MoneyOutState, Refund, RefundState, Withdrawal, WithdrawalState


def find_refunds(
    session: Session,
    *,
    limit: int,
    before: UUID | None = None,
    user_id: UUID | None = None,
    state: RefundState | None = None,
) -> list[Refund]:
    query = select(Refund).order_by(Refund.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Refund.id < before)
    if user_id is not None:
        query = query.where(Refund.user_id == user_id)
    if state is not None:
        query = query.where(Refund.state == state)
    return list(session.scalars(query))


def find_withdrawals(
    session: Session,
    *,
    limit: int,
    before: UUID | None = None,
    user_id: UUID | None = None,
    state: WithdrawalState | None = None,
) -> list[Withdrawal]:
    query = select(Withdrawal).order_by(Withdrawal.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Withdrawal.id < before)
    if user_id is not None:
        query = query.where(Withdrawal.user_id == user_id)
    if state is not None:
        query = query.where(Withdrawal.state == state)
    return list(session.scalars(query))


def card_kept(session: Session, rental_id: UUID) -> int:
    """Minor units that cards paid for a rental, or for its debt, and have not got back."""
    own = PaymentIntent.rental_id == rental_id
    taken = session.scalar(select(func.coalesce(func.sum(PaymentIntent.captured_minor), 0)).where(own))
    back = session.scalar(
        select(func.coalesce(func.sum(MoneyOut.amount_minor), 0))
        .join(PaymentIntent, PaymentIntent.id == MoneyOut.intent_id)
        .where(own, MoneyOut.state.in_((MoneyOutState.PENDING, MoneyOutState.SUCCEEDED)))
    )
    return int(taken or 0) - int(back or 0)
