from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from fleet.users.models import UserAuditLog


def record(
    session: Session,
    *,
    action: str,
    now: datetime,
    actor_id: UUID | None = None,
    user_id: UUID | None = None,
    target: str | None = None,
    detail: dict[str, Any] | None = None,
    request_id: str | None = None,
    address: str | None = None,
) -> None:
    """Note, in the transaction that does it, that `actor_id` (None: the system) did `action` to `user_id` or `target`.

    `detail` is JSON and holds no secrets. Rows are append-only (trigger).
    """
    session.add(
        UserAuditLog(
            user_id=user_id,
            actor_id=actor_id,
            action=action,
            target=target,
            detail=detail or {},
            request_id=request_id,
            address=address,
            at=now,
        )
    )


def entries(
    session: Session, *, about: UUID | None = None, limit: int = 100, before: int | None = None
) -> list[UserAuditLog]:
    """The log, newest first: all of it, or what was done by or to the user `about`."""
    query = select(UserAuditLog).order_by(UserAuditLog.id.desc()).limit(limit)
    if about is not None:
        query = query.where(or_(UserAuditLog.user_id == about, UserAuditLog.actor_id == about))
    if before is not None:
        query = query.where(UserAuditLog.id < before)
    return list(session.scalars(query))
