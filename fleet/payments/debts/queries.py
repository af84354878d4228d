"""Debts as riders and operators list them, newest first."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.payments.approval_models import AdjustmentState
from fleet.payments.debts.models import Debt, DebtCollection, DebtState, DebtWriteOff
from fleet.payments.errors import DebtNotFound
from fleet.payments.intent_models import PaymentIntent


def find_debts(
    session: Session,
    *,
    limit: int,
    before: UUID | None = None,
    user_id: UUID | None = None,
    state: DebtState | None = None,
) -> list[Debt]:
    query = select(Debt).order_by(Debt.id.desc()).limit(limit)
    for column, value in ((Debt.user_id, user_id), (Debt.state, state)):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(Debt.id < before)
    return list(session.scalars(query.execution_options(populate_existing=True)))


@dataclass(frozen=True, slots=True)
class OpenDebts:
    """Minor units of `currency`."""

    currency: str
    count: int
    open_minor: int


def open_debts(session: Session) -> list[OpenDebts]:
    """How many are open, and what is owed, by currency."""
    query = (
        select(Debt.currency, func.count(), func.sum(Debt.open_minor))
        .where(Debt.state == DebtState.OPEN)
        .group_by(Debt.currency)
        .order_by(Debt.currency)
    )
    return [OpenDebts(currency, count, int(minor)) for currency, count, minor in session.execute(query)]


def debt_by_id(session: Session, debt_id: UUID, user_id: UUID | None = None) -> Debt:
    """`user_id`: it has to be theirs. Raises DebtNotFound."""
    debt = session.get(Debt, debt_id, populate_existing=True)
    if debt is None or (user_id is not None and debt.user_id != user_id):
        raise DebtNotFound("no such debt", debt_id=debt_id)
    return debt


def collections_of(session: Session, debt_id: UUID) -> list[tuple[DebtCollection, PaymentIntent]]:
    """Every time a card was asked to pay it, with the payment; oldest first."""
    query = (
        select(DebtCollection, PaymentIntent)
        .join(PaymentIntent, PaymentIntent.id == DebtCollection.intent_id)
        .where(DebtCollection.debt_id == debt_id)
        .order_by(DebtCollection.number)
        .execution_options(populate_existing=True)
    )
    return [(tried, intent) for tried, intent in session.execute(query)]


def find_write_offs(
    session: Session, *, limit: int, before: UUID | None = None, state: AdjustmentState | None = None
) -> list[DebtWriteOff]:
    query = select(DebtWriteOff).order_by(DebtWriteOff.id.desc()).limit(limit)
    if state is not None:
        query = query.where(DebtWriteOff.state == state)
    if before is not None:
        query = query.where(DebtWriteOff.id < before)
    return list(session.scalars(query))
