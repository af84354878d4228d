"""Payments of which nobody has heard: the provider is asked, never guessed. What was decided is told to it."""

from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from fleet.payments import crediting, rules
from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.payments.intents import ASK_AFTER, apply_or_note, locked, move, order_of
from fleet.payments.providers.base import ChargeOrder, ChargeStatus, PaymentProvider, ProviderCharge, ProviderRefused
from fleet.payments.transactions import Transactions

log = structlog.get_logger(__name__)

ASK_SLOWEST = timedelta(hours=1)
#: A charge the provider has never heard of by then is stopped: our request was lost on the way.
LOST_AFTER = timedelta(seconds=60)
#: A charge that is still pending by then is stopped: nobody waits at a cabinet for so long.
PENDING_MAX = timedelta(minutes=15)


def settle_unknown(transactions: Transactions, provider: PaymentProvider, now: datetime, limit: int = 50) -> int:
    """Ask the provider what became of intents nobody has heard of; returns how many are settled now.

    Several janitors may run at once: each claims its own. A provider that does not answer is asked again later.
    """
    with transactions() as session:
        claimed = [
            (order_of(intent), intent.confirmed_at or now, intent.settle_minor)
            for intent in _claim(session, provider, now, limit)
        ]
    settled = 0
    for order, confirmed_at, settle_minor in claimed:
        try:
            charge = (
                _ask(provider, order, now - confirmed_at)
                if settle_minor is None
                else _tell(provider, order, settle_minor)
            )
        except Exception as error:  # noqa: BLE001  # one that cannot be asked must not stop the others
            log.warning("provider_not_asked", intent_id=str(order.intent_id), error=str(error))
            continue
        if charge is not None:
            intent = apply_or_note(transactions, order.intent_id, charge, now)
            settled += intent.ask_at is None
    return settled


def _claim(session: Session, provider: PaymentProvider, now: datetime, limit: int) -> list[PaymentIntent]:
    decided = and_(PaymentIntent.state == IntentState.AUTHORIZED, PaymentIntent.settle_minor.is_not(None))
    query = (
        select(PaymentIntent)
        .where(
            or_(PaymentIntent.state.in_(rules.IN_FLIGHT), decided),
            PaymentIntent.provider == provider.name,
            PaymentIntent.ask_at <= now,
        )
        .order_by(PaymentIntent.ask_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    intents = list(session.scalars(query))
    for intent in intents:
        since = intent.updated_at if intent.settle_minor is not None else intent.confirmed_at
        intent.ask_at = now + min(max(now - (since or now), ASK_AFTER), ASK_SLOWEST)
    return intents


def _ask(provider: PaymentProvider, order: ChargeOrder, waited: timedelta) -> ProviderCharge | None:
    charge = provider.find(order)
    lost = charge is None and waited >= LOST_AFTER
    waits = charge is not None and charge.status in {ChargeStatus.PENDING, ChargeStatus.REQUIRES_ACTION}
    stuck = waits and waited >= PENDING_MAX
    return provider.cancel(order) if lost or stuck else charge


def _tell(provider: PaymentProvider, order: ChargeOrder, settle_minor: int) -> ProviderCharge | None:
    if settle_minor == 0:
        return provider.cancel(order)
    try:
        return provider.capture(order, settle_minor)
    except ProviderRefused as error:
        log.error("capture_refused", intent_id=str(order.intent_id), error=str(error))  # noqa: TRY400  # its words say it all
        return provider.find(order)


def carry_out(transactions: Transactions, intent_id: UUID, provider: PaymentProvider, now: datetime) -> bool:
    """Tell the provider what was decided about an authorization; False when there is nothing (more) to tell.

    Raises OutcomeUnknown: again later.
    """
    with transactions() as session:
        intent = session.get(PaymentIntent, intent_id)
        if intent is None or intent.state is not IntentState.AUTHORIZED or intent.settle_minor is None:
            return False
        order, settle_minor = order_of(intent), intent.settle_minor
    charge = _tell(provider, order, settle_minor)
    return charge is not None and apply_or_note(transactions, intent_id, charge, now).ask_at is None


def expire(transactions: Transactions, now: datetime, limit: int = 100) -> int:
    """Payments whose time is over: not confirmed, they end; set aside for a rental that never began, they go back."""
    idle = PaymentIntent.state == IntentState.REQUIRES_CONFIRMATION
    unused = and_(
        PaymentIntent.state == IntentState.AUTHORIZED,
        PaymentIntent.rental_id.is_(None),
        PaymentIntent.settle_minor.is_(None),
    )
    due = select(PaymentIntent.id).where(PaymentIntent.expires_at <= now, or_(idle, unused))
    with transactions() as session:
        ids = list(session.scalars(due.order_by(PaymentIntent.expires_at).limit(limit)))
    return sum(_expire(transactions, each, now) for each in ids)


def _expire(transactions: Transactions, intent_id: UUID, now: datetime) -> bool:
    with transactions() as session:
        intent = locked(session, intent_id, now)
        if intent.state is IntentState.REQUIRES_CONFIRMATION:
            move(intent, IntentState.CANCELLED, now)
            intent.failure_code = "expired"
            return True
        if intent.state is IntentState.AUTHORIZED and intent.rental_id is None and intent.settle_minor is None:
            crediting.decide(session, intent, 0, now)
            return True
        return False
