"""What riders owe of earlier rentals, collected as soon as there is money."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments.holds import charge_due
from fleet.payments.models import AccountKind, LedgerAccount
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import Rental


def collect_dues(session: Session, user_id: UUID, now: datetime) -> int:
    """Pay the rider's debts from the wallet, oldest first, as far as it goes; returns the minor units moved."""
    owing = select(Rental.id).where(Rental.user_id == user_id, Rental.due_minor > 0)
    return _collect(session, list(session.scalars(owing)), now)


def collect_some(session: Session, now: datetime, limit: int) -> int:
    """Debts of riders who have money by now; returns how many rentals were paid for, in part or in full."""
    available = LedgerAccount.credits_posted - LedgerAccount.debits_posted - LedgerAccount.debits_pending
    payable = (
        select(Rental.id)
        .join(LedgerAccount, (LedgerAccount.owner_id == Rental.user_id) & (LedgerAccount.currency == Rental.currency))
        .where(Rental.due_minor > 0, LedgerAccount.kind == AccountKind.WALLET, available > 0)
        .order_by(Rental.id)
        .limit(limit)
    )
    ids = list(session.scalars(payable))
    _collect(session, ids, now)
    return len(ids)


def _collect(session: Session, rental_ids: list[UUID], now: datetime) -> int:
    moved = 0
    for rental in sorted(lock_rentals(session, rental_ids).values(), key=lambda each: each.id):
        if rental.due_minor <= 0:
            continue  # paid while this transaction waited
        paid = charge_due(
            session,
            user_id=rental.user_id,
            rental_id=rental.id,
            money=Money(rental.due_minor, rental.currency),
            # What is left falls with every payment: a key of its own for each, the same for a repetition.
            key=str(rental.due_minor),
            now=now,
        )
        rental.due_minor -= paid
        rental.charged_minor += paid
        moved += paid
    return moved
