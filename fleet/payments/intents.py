"""A payment from confirming to its end. The provider is called between transactions; what it did is applied once,
whoever hears of it.

Locks: the rider's wallet, then the intent.
"""

from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from fleet.common.errors import NotFound
from fleet.payments import crediting, ledger, methods, rules
from fleet.payments.errors import ChargeMismatch, IntentNotOpen
from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.payments.providers.base import (
    ChargeOrder,
    ChargeStatus,
    OutcomeUnknown,
    PaymentProvider,
    ProviderCharge,
    ProviderRefused,
    SavedMethod,
)
from fleet.payments.transactions import Transactions
from fleet.payments.wallets import wallet_of

log = structlog.get_logger(__name__)

#: After this long without a result the provider is asked; then again after twice the time, up to the slowest.
ASK_AFTER = timedelta(seconds=15)


def intent_of(session: Session, user_id: UUID, intent_id: UUID) -> PaymentIntent:
    """Raises NotFound when it is not the user's."""
    intent = session.get(PaymentIntent, intent_id)
    if intent is None or intent.user_id != user_id:
        raise NotFound("no such payment", intent_id=intent_id)
    return intent


def locked(session: Session, intent_id: UUID, now: datetime) -> PaymentIntent:
    """The intent as it is now, its rider's wallet locked first. Raises NotFound."""
    intent = session.get(PaymentIntent, intent_id)
    if intent is None:
        raise NotFound("no such payment", intent_id=intent_id)
    ledger.lock_accounts(session, wallet_of(session, intent.user_id, intent.currency, now).account_id)
    return session.get_one(PaymentIntent, intent_id, with_for_update=True, populate_existing=True)


def cancel(session: Session, *, user_id: UUID, intent_id: UUID, now: datetime) -> PaymentIntent:
    """Give up a payment before it is confirmed; again changes nothing. Raises NotFound, IntentNotOpen."""
    intent = locked(session, intent_of(session, user_id, intent_id).id, now)
    if intent.state is IntentState.CANCELLED:
        return intent
    if intent.state is not IntentState.REQUIRES_CONFIRMATION:
        raise IntentNotOpen(f"this payment is already {intent.state}", intent_id=intent_id, state=intent.state)
    move(intent, IntentState.CANCELLED, now)
    return intent


def confirm(
    transactions: Transactions,
    *,
    intent_id: UUID,
    user_id: UUID,
    card: str | None = None,
    method_id: UUID | None = None,
    saved: SavedMethod | None = None,
    provider: PaymentProvider,
    now: datetime,
    return_url: str | None = None,
) -> PaymentIntent:
    """Charge `card` (a provider's token) or a saved card, or set the money aside; at most once, however often it is
    called. `saved`: the card as the provider has saved it, to be kept with the payment.

    The answer may be PROCESSING or UNKNOWN: a webhook or the janitor settles it. REQUIRES_ACTION: the rider goes to
    `action_url`. Raises NotFound, IntentNotOpen, PaymentMethodNotFound, MethodLimitReached, TooManyPaymentMethods.
    """
    with transactions() as session:
        intent = locked(session, intent_of(session, user_id, intent_id).id, now)
        if not _begin(intent, now):
            return intent
        token = card or ""
        if saved is not None:
            method_id = methods.keep(session, user_id, provider.name, saved, now).id
        if method_id is not None:
            token = methods.use(session, intent, method_id, now).token
        order = order_of(intent, return_url)
    return charge(transactions, order, token, provider, now)


def charge(
    transactions: Transactions, order: ChargeOrder, token: str, provider: PaymentProvider, now: datetime
) -> PaymentIntent:
    """Ask the provider for what a PROCESSING intent wants, outside any transaction, and apply its answer.

    No answer leaves the intent UNKNOWN: the janitor asks.
    """
    intent_id = order.intent_id
    try:
        made = provider.authorize(order, token)
    except ProviderRefused as error:
        log.error("provider_refused", intent_id=str(intent_id), error=str(error))  # noqa: TRY400  # its words say it all
        return _note_unknown(transactions, intent_id, now, None)
    except Exception as error:  # whatever it was, the request may have arrived
        log.warning("charge_outcome_unknown", intent_id=str(intent_id), exc_info=not isinstance(error, OutcomeUnknown))
        return _note_unknown(transactions, intent_id, now, None)
    return apply_or_note(transactions, intent_id, made, now)


def _begin(intent: PaymentIntent, now: datetime) -> bool:
    """False when the provider has been called for it before."""
    if intent.state in {IntentState.FAILED, IntentState.CANCELLED}:
        raise IntentNotOpen(f"this payment has {intent.state}", intent_id=intent.id, state=intent.state)
    if intent.state is not IntentState.REQUIRES_CONFIRMATION:
        return False
    if intent.expires_at is not None and intent.expires_at <= now:
        raise IntentNotOpen("this payment has expired", intent_id=intent.id, state="expired")
    move(intent, IntentState.PROCESSING, now)
    intent.confirmed_at, intent.ask_at = now, now + ASK_AFTER
    return True


def order_of(intent: PaymentIntent, return_url: str | None = None, *, rider_is_there: bool = True) -> ChargeOrder:
    return ChargeOrder(
        intent.id,
        intent.user_id,
        intent.amount_minor,
        intent.currency,
        capture_later=intent.capture_later,
        reference=intent.provider_reference,
        customer=intent.customer,
        return_url=return_url,
        off_session=not rider_is_there,
    )


def move(intent: PaymentIntent, state: IntentState, now: datetime) -> None:
    """Raises IllegalTransition."""
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
        intent = locked(session, intent_id, now)
        if intent.state is IntentState.PROCESSING:  # a webhook may have settled it meanwhile
            move(intent, IntentState.UNKNOWN, now)
        if intent.state is IntentState.UNKNOWN:
            intent.failure_code = failure_code
        return intent


def apply_charge(session: Session, intent_id: UUID, charge: ProviderCharge, now: datetime) -> PaymentIntent:
    """Make the intent what the provider's object says, and credit the wallet once, whoever brings the news.

    Raises ChargeMismatch when the object is not what was asked for, NotFound.
    """
    intent = locked(session, intent_id, now)
    check_charge(intent, charge)
    intent.provider_reference = charge.reference
    if rules.is_old_news(intent.state, charge.status):
        return intent
    before = intent.state
    move(intent, IntentState(charge.status.value), now)
    intent.failure_code, intent.action_url = charge.failure_code, charge.action_url
    if charge.status is ChargeStatus.REQUIRES_ACTION:
        return intent
    intent.ask_at = None
    if charge.status is ChargeStatus.AUTHORIZED:
        crediting.authorized(session, intent, given_up=before in {IntentState.CANCELLED, IntentState.FAILED}, now=now)
    elif charge.status is ChargeStatus.SUCCEEDED:
        intent.captured_minor = intent.amount_minor if charge.captured_minor is None else charge.captured_minor
        crediting.paid(session, intent, now)
    else:
        crediting.failed(session, intent, now)
    return intent


def check_charge(intent: PaymentIntent, charge: ProviderCharge) -> None:
    """Raises ChargeMismatch with the first `field` in which the provider's object is not what the intent asked for."""
    taken = intent.amount_minor if charge.captured_minor is None else charge.captured_minor
    pairs = {
        "intent_id": (intent.id, charge.intent_id),
        "user_id": (intent.user_id, charge.user_id),
        "amount_minor": (intent.amount_minor, charge.amount_minor),
        "currency": (intent.currency, charge.currency),
        "reference": (intent.provider_reference or charge.reference, charge.reference),
        "captured_minor": (
            (intent.settle_minor if intent.capture_later else intent.amount_minor, taken)
            if charge.status is ChargeStatus.SUCCEEDED
            else (None, None)
        ),
    }
    rules.must_agree(pairs, "the intent's")
