from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.clock import utc_now
from fleet.payments import guests
from fleet.users import otp, tokens
from fleet.users.senders import sender_from
from workers.consumers import consumer
from workers.context import settings, transaction
from workers.policies import NEXT_TICK
from workers.task import task


@consumer("users.deliver_code")
def deliver_code(session: Session, payload: dict[str, Any], now: datetime) -> None:
    otp.deliver_code(session, UUID(payload["challenge_id"]), sender_from(settings()), now, settings())


@task("users.forget_guests", NEXT_TICK)
def forget_guests() -> int:
    """Guests who were not seen for long, and never came to pay."""
    now = utc_now()
    with transaction() as session:
        return guests.forget(session, now - timedelta(days=settings().guest_days))


@task("users.forget_expired", NEXT_TICK)
def forget_expired() -> int:
    now = utc_now()
    with transaction() as session:
        return otp.forget_old_challenges(session, now) + tokens.forget_ended(session, now - tokens.ENDED_KEPT)
