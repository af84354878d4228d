"""Operators' acts: every one is written to the audit log in the transaction that does it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends
from sqlalchemy.orm import Session

from api.auth import CurrentOperator
from api.deps import Address, Now, RequestId, SessionDep
from fleet.users import audit
from fleet.users.audit import Actor
from fleet.users.models import User


@dataclass(frozen=True, slots=True)
class Acts:
    """Asking for it is what makes an endpoint an operator's."""

    session: Session
    operator: User
    request_id: str | None
    address: str
    now: datetime

    @property
    def actor(self) -> Actor:
        """For services that note the act themselves."""
        return Actor(user_id=self.operator.id, request_id=self.request_id, address=self.address)

    def record(
        self,
        action: str,
        *,
        target: str | None = None,
        user_id: UUID | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        """`detail` is JSON and holds no secrets."""
        audit.record(
            self.session,
            action=action,
            now=self.now,
            actor_id=self.operator.id,
            user_id=user_id,
            target=target,
            detail=detail,
            request_id=self.request_id,
            address=self.address,
        )


def _acts(session: SessionDep, operator: CurrentOperator, request_id: RequestId, address: Address, now: Now) -> Acts:
    return Acts(session, operator, request_id, address, now)


ActsDep = Annotated[Acts, Depends(_acts)]
