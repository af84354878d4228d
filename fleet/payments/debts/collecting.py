"""A card pays a debt: by the schedule, or because its rider wants it. One try of a debt at a time.

`begin` in the transaction that has locked wallet, rental and debt; then `intents.charge` outside of it; what the
provider says comes back by `service.collection_ended`, whoever hears of it. A try whose outcome nobody knows is the
janitor's, and no other begins meanwhile.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.config.service import get
from fleet.db import new_id
from fleet.payments import intents, methods
from fleet.payments.debts.models import Debt, DebtCollection, DebtState
from fleet.payments.debts.service import POLICY
from fleet.payments.errors import DebtBeingCollected, DebtNotOpen, MethodLimitReached
from fleet.payments.intent_models import IntentPurpose, IntentState, PaymentIntent, PaymentMethod
from fleet.payments.providers.base import ChargeOrder, PaymentProvider

#: When there is no card to try, or it may not pay more today: looked at again.
LATER: Final = timedelta(days=1)
#: The card that secured the rental is being charged for it.
SOON: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Try:
    """What the provider is to be asked for. `token`: of the card."""

    order: ChargeOrder
    token: str


def due(session: Session, now: datetime, limit: int) -> list[UUID]:
    """Rentals whose debts are to be tried by now, longest waiting first; not locked."""
    query = select(Debt.rental_id).where(Debt.try_at <= now).order_by(Debt.try_at).limit(limit)
    return list(session.scalars(query))


def begin_due(session: Session, debt: Debt, provider: PaymentProvider, now: datetime) -> Try | None:
    """The schedule's next try with a card of the rider's; None: not now, and when instead is noted.

    Safe to call twice: the second finds the try under way.
    """
    if debt.state is not DebtState.OPEN or debt.try_at is None or debt.try_at > now:
        return None
    if running(session, debt.id) is not None:
        debt.try_at = None
        return None
    if _secured(session, debt):
        debt.try_at = now + SOON
        return None
    card = _card_for(session, debt, provider) if get(session, POLICY).card else None
    amount = 0 if card is None else _may_pay(session, card, debt, now)
    if card is None or amount <= 0:
        debt.try_at = now + LATER
        return None
    debt.tries, debt.try_at = debt.tries + 1, None
    return _begin(session, debt, provider, amount, now, method=card, by_rider=False)


def begin_for_rider(
    session: Session,
    debt: Debt,
    provider: PaymentProvider,
    now: datetime,
    *,
    method_id: UUID | None = None,
    card: str | None = None,
    return_url: str | None = None,
) -> Try:
    """All that is open, with a saved card or a token of the rider's; they may be asked for more by their bank.

    Raises DebtNotOpen, DebtBeingCollected, PaymentMethodNotFound, MethodLimitReached.
    """
    if debt.state is not DebtState.OPEN:
        raise DebtNotOpen(f"nothing of this is owed: it is {debt.state}", debt_id=debt.id, state=debt.state)
    under_way = running(session, debt.id)
    if under_way is not None or _secured(session, debt):
        intent_id = None if under_way is None else under_way.intent_id
        raise DebtBeingCollected("a card is being charged for it", debt_id=debt.id, intent_id=intent_id)
    method = None if method_id is None else methods.method_of(session, debt.user_id, method_id)
    if method is not None and _may_pay(session, method, debt, now) < debt.open_minor:
        left = max(0, _may_pay(session, method, debt, now))
        raise MethodLimitReached(
            f"this method may pay {Money(left, debt.currency)} more", left_minor=left, currency=debt.currency
        )
    debt.try_at = None
    return _begin(
        session, debt, provider, debt.open_minor, now, method=method, card=card, by_rider=True, return_url=return_url
    )


def running(session: Session, debt_id: UUID) -> DebtCollection | None:
    """The try under way."""
    query = select(DebtCollection).where(DebtCollection.debt_id == debt_id, DebtCollection.ended_at.is_(None))
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def _secured(session: Session, debt: Debt) -> bool:
    """What the rental's own card has set aside is on its way."""
    query = select(PaymentIntent.id).where(
        PaymentIntent.rental_id == debt.rental_id,
        PaymentIntent.purpose == IntentPurpose.RENTAL,
        PaymentIntent.state == IntentState.AUTHORIZED,
        PaymentIntent.settle_minor > 0,
    )
    return session.scalars(query).first() is not None


def _card_for(session: Session, debt: Debt, provider: PaymentProvider) -> PaymentMethod | None:
    """The saved card that the rental was begun with, else the default."""
    saved = [each for each in methods.methods_of(session, debt.user_id) if each.provider == provider.name]
    begun_with = session.scalar(
        select(PaymentIntent.method_id).where(
            PaymentIntent.rental_id == debt.rental_id, PaymentIntent.purpose == IntentPurpose.RENTAL
        )
    )
    own = next((each for each in saved if each.id == begun_with), None)
    return own or next((each for each in saved if each.is_default), None)


def _may_pay(session: Session, method: PaymentMethod, debt: Debt, now: datetime) -> int:
    """What of the debt the method's limits let it pay now."""
    left = methods.left_minor(session, method, debt.currency, now)
    return debt.open_minor if left is None else min(debt.open_minor, left)


def _begin(
    session: Session,
    debt: Debt,
    provider: PaymentProvider,
    amount: int,
    now: datetime,
    *,
    method: PaymentMethod | None,
    by_rider: bool,
    card: str | None = None,
    return_url: str | None = None,
) -> Try:
    intent = PaymentIntent(
        id=new_id(), user_id=debt.user_id, purpose=IntentPurpose.DEBT, amount_minor=amount, currency=debt.currency,
        provider=provider.name, state=IntentState.PROCESSING, rental_id=debt.rental_id, created_at=now,
        updated_at=now, confirmed_at=now, ask_at=now + intents.ASK_AFTER,
    )  # fmt: skip
    session.add(intent)
    session.flush()  # the try refers to it
    token = card or ""
    if method is not None:
        token = methods.use(session, intent, method.id, now).token
    before = session.scalar(select(func.max(DebtCollection.number)).where(DebtCollection.debt_id == debt.id))
    session.add(
        DebtCollection(
            debt_id=debt.id, number=(before or 0) + 1, intent_id=intent.id, amount_minor=amount, by_rider=by_rider,
            started_at=now,
        )
    )  # fmt: skip
    session.flush()  # a second one at once is refused here
    return Try(intents.order_of(intent, return_url, rider_is_there=by_rider), token)
