"""Guests who looked, and left."""

from datetime import datetime

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from fleet.payments.intent_models import PaymentMethod
from fleet.payments.models import LedgerAccount
from fleet.users.models import User, UserAuditLog, UserSession, UserStatus


def forget(session: Session, seen_before: datetime, limit: int = 500) -> int:
    """Delete guests who were last seen before and never came to pay, with their sessions; returns how many.

    Who asked for a rental has a wallet, and stays with their books as every rider does. Safe twice at once.
    """
    still_here = exists().where(UserSession.user_id == User.id, UserSession.last_used_at >= seen_before)
    leaves_traces = (
        exists().where(LedgerAccount.owner_id == User.id),
        exists().where(PaymentMethod.user_id == User.id),
        exists().where(UserAuditLog.user_id == User.id),
    )
    gone = session.scalars(
        select(User.id)
        .where(User.guest, User.status == UserStatus.ACTIVE, User.created_at < seen_before, ~still_here)
        .where(*(~trace for trace in leaves_traces))
        .order_by(User.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    if gone:
        session.execute(delete(UserSession).where(UserSession.user_id.in_(gone)))
        session.execute(delete(User).where(User.id.in_(gone)))
    return len(gone)
