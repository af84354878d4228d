"""Stripe's objects as ours."""

from typing import Final
from uuid import UUID

import stripe

from fleet.payments.providers.base import (
    ChargeStatus,
    DisputeStatus,
    MoveStatus,
    ObjectKind,
    ProviderCharge,
    ProviderDispute,
    ProviderMove,
)

#: Which of our kinds an object of a webhook is.
ABOUT: Final = {
    "payment_intent": ObjectKind.CHARGE,
    "refund": ObjectKind.REFUND,
    "transfer": ObjectKind.PAYOUT,
    "dispute": ObjectKind.DISPUTE,
    "account": ObjectKind.ACCOUNT,
}
#: Have no minor unit, and are counted in hundredths by Stripe (https://docs.stripe.com/currencies#special-cases).
_IN_HUNDREDTHS: Final = frozenset({"ISK", "UGX"})

_CHARGES: Final = {
    "requires_confirmation": ChargeStatus.PENDING,
    "processing": ChargeStatus.PENDING,
    "requires_action": ChargeStatus.REQUIRES_ACTION,
    "requires_capture": ChargeStatus.AUTHORIZED,
    "succeeded": ChargeStatus.SUCCEEDED,
}
_REFUNDS: Final = {"succeeded": MoveStatus.SUCCEEDED, "failed": MoveStatus.FAILED, "canceled": MoveStatus.FAILED}
_DISPUTES: Final = {"won": DisputeStatus.WON, "lost": DisputeStatus.LOST}


def amount_for(amount_minor: int, currency: str) -> int:
    return amount_minor * 100 if currency in _IN_HUNDREDTHS else amount_minor


def minor_of(amount: int, currency: str) -> int:
    return amount // 100 if currency in _IN_HUNDREDTHS else amount


def begun(intent: stripe.PaymentIntent) -> bool:
    """Whether a card was ever tried on it."""
    return intent.status not in {"requires_payment_method", "requires_confirmation"} or bool(intent.last_payment_error)


def charge_of(intent: stripe.PaymentIntent) -> ProviderCharge:
    currency = intent.currency.upper()
    error = intent.last_payment_error
    status = _CHARGES.get(intent.status)
    if status is None:  # canceled, or without a card (any more)
        untouched = intent.status == "requires_payment_method" and not error
        over = ChargeStatus.FAILED if error else ChargeStatus.CANCELLED
        status = ChargeStatus.PENDING if untouched else over
    return ProviderCharge(
        reference=intent.id,
        status=status,
        amount_minor=minor_of(intent.amount, currency),
        currency=currency,
        intent_id=id_of(intent.metadata, "intent_id"),
        user_id=id_of(intent.metadata, "user_id"),
        failure_code=(error.decline_code or error.code) if error and status is ChargeStatus.FAILED else None,
        captured_minor=minor_of(intent.amount_received, currency) if status is ChargeStatus.SUCCEEDED else None,
        action_url=_action_url(intent) if status is ChargeStatus.REQUIRES_ACTION else None,
    )


def _action_url(intent: stripe.PaymentIntent) -> str | None:
    action = intent.next_action
    return action.redirect_to_url.url if action is not None and action.redirect_to_url is not None else None


def kept(metadata: object, name: str) -> str | None:
    """What whoever made the object put there."""
    return str(metadata[name]) if isinstance(metadata, stripe.StripeObject) and name in metadata else None


def id_of(metadata: object, name: str) -> UUID | None:
    """Ours, if whoever made the object put one there."""
    value = kept(metadata, name)
    try:
        return UUID(value) if value else None
    except ValueError:
        return None


def refund_of(refund: stripe.Refund) -> ProviderMove:
    currency = refund.currency.upper()
    return ProviderMove(
        kind=ObjectKind.REFUND,
        reference=refund.id,
        status=_REFUNDS.get(refund.status or "", MoveStatus.PENDING),
        amount_minor=minor_of(refund.amount, currency),
        currency=currency,
        id=id_of(refund.metadata, "refund_id"),
        failure_code=getattr(refund, "failure_reason", None),
        charge=None if refund.payment_intent is None else str(refund.payment_intent),
    )


def dispute_of(dispute: stripe.Dispute) -> ProviderDispute | None:
    """None for inquiries, which take no money."""
    if dispute.status.startswith("warning"):
        return None
    currency = dispute.currency.upper()
    return ProviderDispute(
        reference=dispute.id,
        charge=str(dispute.payment_intent),
        status=_DISPUTES.get(dispute.status, DisputeStatus.OPEN),
        amount_minor=minor_of(dispute.amount, currency),
        currency=currency,
        reason=dispute.reason,
    )
