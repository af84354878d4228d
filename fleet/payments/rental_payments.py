"""Cards for one rental: money set aside at its start, and taken at its end as far as the wallet was too small.

`fleet.rentals` calls it: `demand` where a start answers 402, `claim` and `give_back` where the outbox says
RentalPaymentReady, `settle` where the rental is closed. All in the caller's transaction, the rider's wallet locked.
"""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments import crediting, demands, intents
from fleet.payments.errors import IntentNotOpen
from fleet.payments.intent_models import IntentPurpose, IntentState, PaymentIntent
from fleet.payments.providers.base import PaymentProvider

#: How long the price that the rider was shown holds while they pay.
LASTS: Final = timedelta(minutes=30)


def demand(
    session: Session,
    *,
    user_id: UUID,
    money: Money,
    order: dict[str, Any],
    provider: PaymentProvider,
    now: datetime,
) -> PaymentIntent:
    """A payment that stands between the rider and a bank; nothing is set aside until it is confirmed.

    `order` (JSON) is what the rental starts with when the money is there: station, slot, tariff, price, all frozen.
    """
    expires_at = now + LASTS
    return demands.demand(
        session, IntentPurpose.RENTAL, money, user_id=user_id, provider=provider, now=now, order=order,
        expires_at=expires_at,
    )  # fmt: skip


def claim(session: Session, intent_id: UUID, rental_id: UUID, now: datetime) -> PaymentIntent:
    """Bind the money that was set aside to the rental that starts now; one each.

    Raises IntentNotOpen when it is not (any more) there for that: used, given back, too late.
    """
    claimed = session.scalars(
        update(PaymentIntent)
        .where(
            PaymentIntent.id == intent_id,
            PaymentIntent.purpose == IntentPurpose.RENTAL,
            PaymentIntent.state == IntentState.AUTHORIZED,
            PaymentIntent.rental_id.is_(None),
            PaymentIntent.settle_minor.is_(None),
            PaymentIntent.expires_at > now,
        )
        .values(rental_id=rental_id, updated_at=now)
        .returning(PaymentIntent)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if claimed is None:
        state = session.scalar(select(PaymentIntent.state).where(PaymentIntent.id == intent_id))
        raise IntentNotOpen("this payment cannot start a rental", intent_id=intent_id, state=state)
    return claimed


def give_back(session: Session, intent_id: UUID, now: datetime) -> None:
    """The rental did not begin: all of it goes back. Nothing to do when that was decided, or a rental has it."""
    intent = intents.locked(session, intent_id, now)
    if intent.rental_id is None and intent.state is IntentState.AUTHORIZED and intent.settle_minor is None:
        crediting.decide(session, intent, 0, now)


def settle(session: Session, rental_id: UUID, owed_minor: int, now: datetime) -> int:
    """The rental has ended and `owed_minor` is not paid: take it from the card as far as it goes, give back the rest.

    Returns how much will be taken. It comes to the wallet with RentalPaymentCaptured; collect it then. Decided once:
    later calls change nothing and answer the same. No card behind the rental, or an authorization that is gone: 0.
    """
    found = session.scalar(
        select(PaymentIntent.id).where(
            PaymentIntent.rental_id == rental_id, PaymentIntent.purpose == IntentPurpose.RENTAL
        )
    )
    if found is None:
        return 0
    intent = intents.locked(session, found, now)
    if intent.settle_minor is None and intent.state is IntentState.AUTHORIZED:
        crediting.decide(session, intent, min(owed_minor, intent.amount_minor), now)
    return intent.settle_minor or 0
