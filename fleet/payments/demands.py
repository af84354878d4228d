"""A payment that a rider is asked for: nothing is taken or set aside until it is confirmed."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments.intent_models import IntentPurpose, IntentState, PaymentIntent
from fleet.payments.providers.base import PaymentProvider


def demand(
    session: Session,
    purpose: IntentPurpose,
    money: Money,
    *,
    user_id: UUID,
    provider: PaymentProvider,
    now: datetime,
    order: dict[str, Any] | None = None,
    expires_at: datetime | None = None,
) -> PaymentIntent:
    """`order` (JSON): what it pays for, frozen. It has its id at once."""
    intent = PaymentIntent(
        user_id=user_id,
        purpose=purpose,
        capture_later=purpose is IntentPurpose.RENTAL,
        amount_minor=money.amount_minor,
        currency=money.currency,
        provider=provider.name,
        state=IntentState.REQUIRES_CONFIRMATION,
        order=order,
        expires_at=expires_at,
        created_at=now,
        updated_at=now,
    )
    session.add(intent)
    session.flush()  # the caller refers to it
    return intent
