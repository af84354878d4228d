"""Bringing money in. The provider is called between transactions; what it did is applied once, whoever hears of it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import structlog
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput, NotFound
from fleet.common.money import Money
from fleet.common.outbox import publish
from fleet.config.service import PUBLIC, ConfigKey, get, registry
from fleet.payments import ledger, rules
from fleet.payments.errors import ChargeMismatch, IntentNotOpen
from fleet.payments.events import TopUpFailed, TopUpSucceeded
from fleet.payments.models import AccountKind, IntentState, PaymentIntent
from fleet.payments.providers.base import (
    ChargeOrder,
    ChargeStatus,
    OutcomeUnknown,
    PaymentProvider,
    ProviderCharge,
    ProviderRefused,
)
from fleet.payments.wallets import wallet_of

log = structlog.get_logger(__name__)

#: Opens a transaction that is committed when the block ends; edges pass `lambda: session_scope(engine)`.
Transactions = Callable[[], AbstractContextManager[Session]]

TOP_UP = "top_up"
#: After this long without a result the provider is asked; then again after twice the time, up to the slowest.
ASK_AFTER = timedelta(seconds=15)
ASK_SLOWEST = timedelta(hours=1)
#: A charge the provider has never heard of by then is stopped: our request was lost on the way.
LOST_AFTER = timedelta(seconds=60)
#: A charge that is still pending by then is stopped: nobody waits at a cabinet for so long.
PENDING_MAX = timedelta(minutes=15)


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
    intent = PaymentIntent(
        user_id=user_id,
        purpose=TOP_UP,
        amount_minor=money.amount_minor,
        currency=money.currency,
        provider=provider.name,
        state=IntentState.REQUIRES_CONFIRMATION,
        created_at=now,
        updated_at=now,
    )
    session.add(intent)
    session.flush()  # the caller answers with its id
    return intent


def intent_of(session: Session, user_id: UUID, intent_id: UUID) -> PaymentIntent:
    """Raises NotFound when it is not the user's."""
    intent = session.get(PaymentIntent, intent_id)
    if intent is None or intent.user_id != user_id:
        raise NotFound("no such payment", intent_id=intent_id)
    return intent


def _locked(session: Session, intent_id: UUID) -> PaymentIntent | None:
    return session.get(PaymentIntent, intent_id, with_for_update=True, populate_existing=True)


def cancel(session: Session, *, user_id: UUID, intent_id: UUID, now: datetime) -> PaymentIntent:
    """Give up a top-up before it is confirmed; again changes nothing. Raises NotFound, IntentNotOpen."""
    intent = _locked(session, intent_of(session, user_id, intent_id).id)
    assert intent is not None
    if intent.state is IntentState.CANCELLED:
        return intent
    if intent.state is not IntentState.REQUIRES_CONFIRMATION:
        raise IntentNotOpen(f"this payment is already {intent.state}", intent_id=intent_id, state=intent.state)
    _move(intent, IntentState.CANCELLED, now)
    return intent


def confirm(
    transactions: Transactions, *, intent_id: UUID, user_id: UUID, card: str, provider: PaymentProvider, now: datetime
) -> PaymentIntent:
    """Charge the rider's card; returns the intent as it is then: SUCCEEDED, FAILED, PROCESSING or UNKNOWN.

    An intent is charged at most once: confirming it again returns what became of it. Raises NotFound, and IntentNotOpen
    when it has failed or was cancelled.
    """
    with transactions() as session:
        intent = _locked(session, intent_of(session, user_id, intent_id).id)
        assert intent is not None
        if not _begin(intent, now):
            return intent
        order = order_of(intent)
    try:
        charge = provider.charge(order, card)
    except ProviderRefused as error:
        log.error("provider_refused", intent_id=str(intent_id), error=str(error))  # noqa: TRY400  # its words say it all
        return _note_unknown(transactions, intent_id, now, None)
    except Exception as error:  # whatever it was, the request may have arrived
        log.warning("charge_outcome_unknown", intent_id=str(intent_id), exc_info=not isinstance(error, OutcomeUnknown))
        return _note_unknown(transactions, intent_id, now, None)
    return apply_or_note(transactions, intent_id, charge, now)


def _begin(intent: PaymentIntent, now: datetime) -> bool:
    """False when the provider has been called for it before."""
    if intent.state in {IntentState.FAILED, IntentState.CANCELLED}:
        raise IntentNotOpen(f"this payment has {intent.state}", intent_id=intent.id, state=intent.state)
    if intent.state is not IntentState.REQUIRES_CONFIRMATION:
        return False
    _move(intent, IntentState.PROCESSING, now)
    intent.confirmed_at, intent.ask_at = now, now + ASK_AFTER
    return True


def order_of(intent: PaymentIntent) -> ChargeOrder:
    return ChargeOrder(intent.id, intent.user_id, intent.amount_minor, intent.currency)


def _move(intent: PaymentIntent, state: IntentState, now: datetime) -> None:
    rules.check_move(intent.state, state)
    intent.state, intent.updated_at = state, now


def apply_or_note(transactions: Transactions, intent_id: UUID, charge: ProviderCharge, now: datetime) -> PaymentIntent:
    """`apply_charge` in a transaction of its own; an object that does not match leaves the intent UNKNOWN."""
    try:
        with transactions() as session:
            return apply_charge(session, intent_id, charge, now)
    except ChargeMismatch as error:
        log.exception("charge_mismatch", intent_id=str(intent_id), reference=charge.reference, **error.attributes)
        return _note_unknown(transactions, intent_id, now, ChargeMismatch.code)


def _note_unknown(
    transactions: Transactions, intent_id: UUID, now: datetime, failure_code: str | None
) -> PaymentIntent:
    with transactions() as session:
        intent = _locked(session, intent_id)
        assert intent is not None
        if intent.state is IntentState.PROCESSING:  # a webhook may have settled it meanwhile
            _move(intent, IntentState.UNKNOWN, now)
        if intent.state is IntentState.UNKNOWN:
            intent.failure_code = failure_code
        return intent


def apply_charge(session: Session, intent_id: UUID, charge: ProviderCharge, now: datetime) -> PaymentIntent:
    """Make the intent what the provider's object says, and credit the wallet once, whoever brings the news.

    Raises ChargeMismatch when the object is not what was asked for, NotFound.
    """
    intent = _locked(session, intent_id)
    if intent is None:
        raise NotFound("no such payment", intent_id=intent_id)
    check_charge(intent, charge)
    intent.provider_reference = charge.reference
    if charge.status is ChargeStatus.PENDING or intent.state.value == charge.status.value:
        return intent
    _move(intent, IntentState(charge.status.value), now)
    intent.failure_code = charge.failure_code
    if intent.state is IntentState.SUCCEEDED:
        _credit(session, intent, now)
        publish(session, TopUpSucceeded(intent.id, intent.user_id, intent.amount_minor, intent.currency), now)
    else:
        publish(session, TopUpFailed(intent.id, intent.user_id, charge.failure_code), now)
    return intent


def check_charge(intent: PaymentIntent, charge: ProviderCharge) -> None:
    """Raises ChargeMismatch with the first `field` in which the provider's object is not what the intent asked for."""
    pairs = {
        "intent_id": (intent.id, charge.intent_id),
        "user_id": (intent.user_id, charge.user_id),
        "amount_minor": (intent.amount_minor, charge.amount_minor),
        "currency": (intent.currency, charge.currency),
        "reference": (intent.provider_reference or charge.reference, charge.reference),
    }
    for field, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise ChargeMismatch(f"the provider's {field} is {theirs}, the intent's {ours}", field=field)


def _credit(session: Session, intent: PaymentIntent, now: datetime) -> None:
    wallet = wallet_of(session, intent.user_id, intent.currency, now)
    clearing = ledger.house_accounts(session, intent.currency, now)[AccountKind.PROVIDER_CLEARING]
    ledger.transfer(
        session,
        debit=clearing,
        credit=wallet.account_id,
        money=Money(intent.amount_minor, intent.currency),
        kind=TOP_UP,
        key=f"topup:{intent.id}",
        now=now,
        intent_id=intent.id,
    )


def settle_unknown(transactions: Transactions, provider: PaymentProvider, now: datetime, limit: int = 50) -> int:
    """Ask the provider what became of intents nobody has heard of; returns how many are settled now.

    Several janitors may run at once: each claims its own. A provider that does not answer is asked again later.
    """
    with transactions() as session:
        claimed = [(order_of(intent), intent.confirmed_at or now) for intent in _claim(session, provider, now, limit)]
    settled = 0
    for order, confirmed_at in claimed:
        try:
            charge = _ask(provider, order, now - confirmed_at)
        except Exception as error:  # noqa: BLE001  # one that cannot be asked must not stop the others
            log.warning("provider_not_asked", intent_id=str(order.intent_id), error=str(error))
            continue
        if charge is not None:
            intent = apply_or_note(transactions, order.intent_id, charge, now)
            settled += intent.state not in {IntentState.PROCESSING, IntentState.UNKNOWN}
    return settled


def _claim(session: Session, provider: PaymentProvider, now: datetime, limit: int) -> list[PaymentIntent]:
    query = (
        select(PaymentIntent)
        .where(
            PaymentIntent.state.in_((IntentState.PROCESSING, IntentState.UNKNOWN)),
            PaymentIntent.provider == provider.name,
            PaymentIntent.ask_at <= now,
        )
        .order_by(PaymentIntent.ask_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    intents = list(session.scalars(query))
    for intent in intents:
        waited = now - (intent.confirmed_at or now)
        intent.ask_at = now + min(max(waited, ASK_AFTER), ASK_SLOWEST)
    return intents


def _ask(provider: PaymentProvider, order: ChargeOrder, waited: timedelta) -> ProviderCharge | None:
    charge = provider.find(order.intent_id)
    lost = charge is None and waited >= LOST_AFTER
    stuck = charge is not None and charge.status is ChargeStatus.PENDING and waited >= PENDING_MAX
    return provider.cancel(order) if lost or stuck else charge
