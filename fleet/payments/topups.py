"""Bringing money into a wallet: how much, in which currencies."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.money import Money
from fleet.config.service import PUBLIC, ConfigKey, get, registry
from fleet.payments.demands import demand
from fleet.payments.intent_models import IntentPurpose, PaymentIntent
from fleet.payments.providers.base import PaymentProvider


class TopUpLimits(BaseModel):
    """Minor units of one top-up."""

    min_minor: Annotated[int, Field(gt=0)]
    max_minor: Annotated[int, Field(gt=0)]


LIMITS = registry.add(
    ConfigKey(
        "payments.topup_limits",
        dict[str, TopUpLimits],
        {"EUR": TopUpLimits(min_minor=100, max_minor=20_000)},
        scope=PUBLIC,
        description="Least and most that one top-up may bring in, by currency; other currencies are not accepted.",
    )
)


def create_intent(
    session: Session, *, user_id: UUID, money: Money, now: datetime, provider: PaymentProvider
) -> PaymentIntent:
    """A top-up the rider means to make; nothing is charged. Raises InvalidInput outside the configured limits."""
    limits = get(session, LIMITS).get(money.currency)
    if limits is None:
        raise InvalidInput(f"top-ups in {money.currency} are not accepted", field="currency")
    if not limits.min_minor <= money.amount_minor <= limits.max_minor:
        least, most = Money(limits.min_minor, money.currency), Money(limits.max_minor, money.currency)
        raise InvalidInput(f"a top-up is between {least} and {most}", field="amount_minor")
    return demand(session, IntentPurpose.TOP_UP, money, user_id=user_id, provider=provider, now=now)
