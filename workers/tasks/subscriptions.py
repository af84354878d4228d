from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.clock import utc_now
from fleet.payments.invoices import Part
from fleet.payments.providers import provider_from
from fleet.subscriptions import changes, charging, renewals
from workers.consumers import consumer
from workers.context import engine, settings, transaction
from workers.policies import NEXT_TICK
from workers.task import task


@consumer("subscriptions.settle_payment")
def settle_payment(session: Session, payload: dict[str, Any], now: datetime) -> None:
    """A card paid for a period, or did not."""
    charging.settle(session, UUID(payload["intent_id"]), now)


@consumer("subscriptions.end_disputed")
def end_disputed(session: Session, payload: dict[str, Any], now: datetime) -> None:
    """A rider disputes a card payment: the subscription that it paid ends."""
    changes.end_disputed(session, UUID(payload["intent_id"]), now)


@consumer("subscriptions.note_refund")
def note_refund(session: Session, payload: dict[str, Any], now: datetime) -> None:
    """A card has some of what it paid for a period back, by the provider's desk: its invoice says so."""
    part = Part(payload["amount_minor"], payload["tax_minor"])
    changes.note_refund(session, UUID(payload["intent_id"]), part, payload["reason"], now)


@task("subscriptions.renew", NEXT_TICK)
def renew() -> int:
    """Subscriptions whose period is over, whose payment is to be tried again, or of whose payment nobody told."""
    return renewals.sweep(transaction, provider_from(settings(), engine()), utc_now())
