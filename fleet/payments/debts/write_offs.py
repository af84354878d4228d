"""Operators give debts up: small ones alone, larger ones with somebody else's agreement (decisions 0151, 0195).

What counts against the limit is all that was given up alone for one rider in a day. `fleet.rentals.closing.dues` locks
the rider's wallet and the rental before, and keeps the rental in step.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.db import new_id
from fleet.payments.approval_models import AdjustmentState
from fleet.payments.approvals import done_alone
from fleet.payments.debts import service
from fleet.payments.debts.models import Debt, DebtState, DebtWriteOff
from fleet.payments.errors import AlreadyDecided, DebtNotOpen, SecondPersonNeeded, WriteOffNotFound, WriteOffPending


def request(
    session: Session, debt: Debt, *, reason: str, actor_id: UUID, limit_minor: int, now: datetime
) -> DebtWriteOff:
    """Applied at once, or PENDING when all that was done alone would pass `limit_minor`.

    Raises InvalidInput without a reason, DebtNotOpen, WriteOffPending.
    """
    if not reason.strip():
        raise InvalidInput("a debt is given up for a reason", field="reason")
    if debt.state is not DebtState.OPEN:
        raise DebtNotOpen(f"nothing of this is owed: it is {debt.state}", debt_id=debt.id, state=debt.state)
    pending = select(DebtWriteOff.id).where(
        DebtWriteOff.debt_id == debt.id, DebtWriteOff.state == AdjustmentState.PENDING
    )
    if (other := session.scalar(pending)) is not None:
        raise WriteOffPending("giving it up is being decided already", debt_id=debt.id, write_off_id=other)
    of_rider = (DebtWriteOff.user_id == debt.user_id, DebtWriteOff.currency == debt.currency)
    alone = done_alone(session, DebtWriteOff, DebtWriteOff.amount_minor, *of_rider, now=now)
    counted = alone + debt.open_minor
    row = DebtWriteOff(
        id=new_id(), debt_id=debt.id, user_id=debt.user_id, amount_minor=debt.open_minor, currency=debt.currency,
        reason=reason.strip()[:300], state=AdjustmentState.PENDING, limit_minor=limit_minor, counted_minor=counted,
        requested_by=actor_id, requested_at=now,
    )  # fmt: skip
    if counted <= limit_minor:
        row.transfer_id = service.give_up(session, debt, memo=f"{actor_id}: {row.reason}"[:300], now=now).id
        row.state, row.decided_at = AdjustmentState.APPLIED, now
    session.add(row)
    session.flush()  # a refusal of the database belongs to this call
    return row


def write_off_of(session: Session, write_off_id: UUID) -> DebtWriteOff:
    """Raises WriteOffNotFound."""
    row = session.get(DebtWriteOff, write_off_id)
    if row is None:
        raise WriteOffNotFound("no such write-off", write_off_id=write_off_id)
    return row


def approve(
    session: Session, debt: Debt, write_off_id: UUID, *, actor_id: UUID, note: str | None, now: datetime
) -> DebtWriteOff:
    """Agree to a pending one: what is still open is given up. Again changes nothing.

    Raises SecondPersonNeeded for whoever asked for it, AlreadyDecided, DebtNotOpen.
    """
    row = _locked(session, write_off_id)
    if row.state is AdjustmentState.APPLIED:
        return row
    if row.requested_by == actor_id:
        raise SecondPersonNeeded("whoever asked for it cannot agree to it", write_off_id=write_off_id)
    _must_be_pending(row)
    if debt.state is not DebtState.OPEN:
        raise DebtNotOpen(f"nothing of this is owed: it is {debt.state}", debt_id=debt.id, state=debt.state)
    row.transfer_id = service.give_up(session, debt, memo=f"{row.requested_by}: {row.reason}"[:300], now=now).id
    row.decide(AdjustmentState.APPLIED, actor_id, note, now)
    session.flush()  # a refusal of the database belongs to this call
    return row


def reject(session: Session, write_off_id: UUID, *, actor_id: UUID, note: str, now: datetime) -> DebtWriteOff:
    """Refuse a pending one, or take one's own back: it is owed on. Again changes nothing.

    Raises WriteOffNotFound, AlreadyDecided.
    """
    row = _locked(session, write_off_id)
    if row.state is AdjustmentState.REJECTED:
        return row
    _must_be_pending(row)
    row.decide(AdjustmentState.REJECTED, actor_id, note, now)
    session.flush()  # the answer shows it
    return row


def _locked(session: Session, write_off_id: UUID) -> DebtWriteOff:
    row = session.get(DebtWriteOff, write_off_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise WriteOffNotFound("no such write-off", write_off_id=write_off_id)
    return row


def _must_be_pending(row: DebtWriteOff) -> None:
    if row.state is not AdjustmentState.PENDING:
        raise AlreadyDecided(f"this write-off is {row.state}", write_off_id=row.id, state=row.state)
