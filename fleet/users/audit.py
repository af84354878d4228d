from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from fleet.users.models import UserAuditLog

#: Characters of user_audit_log.target.
TARGET_MAX: Final = 100


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
            target=None if target is None else target[:TARGET_MAX],
            detail=detail or {},
            request_id=request_id,
            address=address,
            at=now,
        )
    )


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts on the fleet: an operator over the API, or somebody at the console of this machine (`console`)."""

    user_id: UUID | None = None
    request_id: str | None = None
    address: str | None = None
    #: The account of the operating system; None over the API.
    console: str | None = None


def act(
    session: Session,
    actor: Actor,
    action: str,
    target: str,
    now: datetime,
    *,
    reason: str | None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    **detail: Any,
) -> None:
    """Note an act with what it changed (`before`, `after`) and why, in the transaction that does it."""
    values = {"before": before, "after": after, "reason": reason, "console": actor.console, **detail}
    record(
        session,
        action=action,
        now=now,
        actor_id=actor.user_id,
        target=target,
        detail={name: value for name, value in values.items() if value is not None},
        request_id=actor.request_id,
        address=actor.address,
    )


def about(session: Session, target: str, *, until: datetime | None = None, limit: int = 100) -> list[UserAuditLog]:
    """What was done to one target, newest first; nothing later than `until`."""
    query = select(UserAuditLog).where(UserAuditLog.target == target[:TARGET_MAX])
    if until is not None:
        query = query.where(UserAuditLog.at <= until)
    return list(session.scalars(query.order_by(UserAuditLog.at.desc(), UserAuditLog.id.desc()).limit(limit)))


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
