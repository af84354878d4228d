"""Refunds and withdrawals as riders and operators list them, newest first."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.payments.outgoing.models import Refund, RefundState, Withdrawal, WithdrawalState


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
