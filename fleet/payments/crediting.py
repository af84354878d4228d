"""What a payment's result means for the books: the wallet, and who is told."""

from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.common.outbox import publish
from fleet.payments import ledger, subscription_payments
from fleet.payments.debts import service as debts
from fleet.payments.events import (
    AuthorizationDecided,
    RentalPaymentCaptured,
    RentalPaymentFailed,
    RentalPaymentReady,
    SubscriptionPaymentCaptured,
    SubscriptionPaymentFailed,
    TopUpFailed,
    TopUpSucceeded,
)
from fleet.payments.intent_models import IntentPurpose, PaymentIntent
from fleet.payments.models import AccountKind
from fleet.payments.wallets import wallet_of

_FAILED: Final[dict[str, type[RentalPaymentFailed | SubscriptionPaymentFailed]]] = {
    IntentPurpose.RENTAL: RentalPaymentFailed,
    IntentPurpose.SUBSCRIPTION: SubscriptionPaymentFailed,
}
TOP_UP = "top_up"
CARD_PAYMENT = "card_payment"


def paid(session: Session, intent: PaymentIntent, now: datetime) -> None:
    """Credit what the provider took to the wallet; card money for a purpose passes it too (decision 0131)."""
    assert intent.captured_minor is not None
    rental = intent.purpose in {IntentPurpose.RENTAL, IntentPurpose.DEBT}
    wallet = wallet_of(session, intent.user_id, intent.currency, now)
    clearing = ledger.house_accounts(session, intent.currency, now)[AccountKind.PROVIDER_CLEARING]
    ledger.transfer(
        session,
        debit=clearing,
        credit=wallet.account_id,
        money=Money(intent.captured_minor, intent.currency),
        kind=TOP_UP if intent.purpose == IntentPurpose.TOP_UP else CARD_PAYMENT,
        key=f"topup:{intent.id}",
        now=now,
        rental_id=intent.rental_id,
        intent_id=intent.id,
    )
    took = (intent.captured_minor, intent.currency)
    if intent.purpose == IntentPurpose.DEBT:
        debts.collection_ended(session, intent, None, now)
    if intent.purpose == IntentPurpose.SUBSCRIPTION:
        subscription_payments.set_aside(session, intent, wallet.account_id, now)
        publish(session, SubscriptionPaymentCaptured(intent.id, intent.user_id, *took), now)
    elif rental:
        publish(session, RentalPaymentCaptured(intent.id, intent.user_id, intent.rental_id, *took), now)
    else:
        publish(session, TopUpSucceeded(intent.id, intent.user_id, *took), now)


def authorized(session: Session, intent: PaymentIntent, *, given_up: bool, now: datetime) -> None:
    """Set aside: its rental may start. Unless we had given it up, or it came too late: then it goes back."""
    late = intent.expires_at is not None and intent.expires_at <= now
    if intent.rental_id is None and (given_up or late):
        decide(session, intent, 0, now)
    else:
        publish(session, RentalPaymentReady(intent.id, intent.user_id), now)


def decide(session: Session, intent: PaymentIntent, settle_minor: int, now: datetime) -> None:
    """Have so much of an authorization captured, or (0) all of it given back. The intent is locked."""
    intent.settle_minor, intent.ask_at, intent.updated_at = settle_minor, now, now
    publish(session, AuthorizationDecided(intent.id), now)


def failed(session: Session, intent: PaymentIntent, now: datetime) -> None:
    """Tell of a payment that brought nothing."""
    if intent.purpose == IntentPurpose.DEBT:
        debts.collection_ended(session, intent, intent.failure_code or intent.state, now)
        return
    event = _FAILED.get(intent.purpose, TopUpFailed)
    publish(session, event(intent.id, intent.user_id, intent.failure_code), now)
