"""Stripe, by its official library: PaymentIntents, refunds, disputes; payouts are in `stripe_payouts`.

A charge is made in two steps, so that a lost answer never leaves anything behind: the PaymentIntent is created under
our intent's id, which charges nothing, and then confirmed. https://docs.stripe.com/api/payment_intents,
https://docs.stripe.com/api/idempotent_requests
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import stripe
from stripe import RequestOptions
from stripe.params import PaymentIntentConfirmParams, PaymentIntentCreateParams

from fleet.payments.errors import WebhookRefused
from fleet.payments.providers.base import (
    AccountOwner,
    ChargeOrder,
    MoveOrder,
    ObjectKind,
    OutcomeUnknown,
    ProviderAccount,
    ProviderCharge,
    ProviderEvent,
    ProviderMove,
    ProviderObject,
    ProviderRefused,
    SavedMethod,
)
from fleet.payments.providers.signing import TOLERANCE
from fleet.payments.providers.stripe_objects import (
    ABOUT,
    amount_for,
    begun,
    charge_of,
    dispute_of,
    refund_of,
)
from fleet.payments.providers.stripe_payouts import StripePayouts

NAME: Final = "stripe"
_TIMEOUT_S: Final = 10.0
#: What Stripe says of an object that has moved on, and of one that is not there.
_MOVED_ON: Final = "payment_intent_unexpected_state"
_MISSING: Final = "resource_missing"
_CANCELLABLE: Final = frozenset({"requires_payment_method", "requires_confirmation", "requires_action",
                                 "requires_capture", "processing"})  # fmt: skip


class StripeProvider:
    """`api_base`: where Stripe's API is, for tests and proxies. `connect_secret`: of the endpoint for events of
    connected accounts, which Stripe signs with a secret of its own.
    """

    def __init__(
        self, api_key: str, webhook_secret: str, api_base: str | None = None, connect_secret: str | None = None
    ) -> None:
        self._secrets = (webhook_secret, *([connect_secret] if connect_secret else []))
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base} if api_base else {},
            max_network_retries=0,  # whoever asks again knows what for
            http_client=stripe.RequestsClient(timeout=_TIMEOUT_S),
        )
        self._payouts = StripePayouts(self._client)

    @property
    def name(self) -> str:
        return NAME

    # Charges

    def authorize(self, order: ChargeOrder, method: str) -> ProviderCharge:
        with _asking():
            made = self._create(order)
            if not begun(made):
                made = self._confirm(order, made.id, method)
            return charge_of(made)

    def _create(self, order: ChargeOrder) -> stripe.PaymentIntent:
        """Ours, made if need be: the same however often it is asked for. Charges nothing."""
        params: PaymentIntentCreateParams = {
            "amount": amount_for(order.amount_minor, order.currency),
            "currency": order.currency.lower(),
            "capture_method": "manual" if order.capture_later else "automatic",
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},  # cards; no other pages
            "metadata": {"intent_id": str(order.intent_id), "user_id": str(order.user_id)},
        }
        if order.customer:
            params["customer"] = order.customer
        if order.customer and order.capture_later:
            # Late fees are asked of this card when nobody is there: the bank is told so while the rider is.
            params["setup_future_usage"] = "off_session"
        options: RequestOptions = {"idempotency_key": f"intent:{order.intent_id}"}
        return self._client.v1.payment_intents.create(params, options)

    def _confirm(self, order: ChargeOrder, reference: str, method: str) -> stripe.PaymentIntent:
        params: PaymentIntentConfirmParams = {"payment_method": method}
        if order.return_url:
            params["return_url"] = order.return_url
        if order.off_session:
            params["off_session"] = True
        try:
            return self._client.v1.payment_intents.confirm(
                reference,
                params,
                {"idempotency_key": f"confirm:{order.intent_id}"},
            )
        except stripe.CardError:
            # Another card could still be tried on it: not by us, and not by anybody else.
            return self._client.v1.payment_intents.cancel(reference)
        except stripe.InvalidRequestError as error:
            if error.code != _MOVED_ON:
                raise
            return self._client.v1.payment_intents.retrieve(reference)

    def capture(self, order: ChargeOrder, amount_minor: int) -> ProviderCharge:
        if order.reference is None:
            raise ProviderRefused("nothing is known to be set aside")
        with _asking():
            try:
                taken = self._client.v1.payment_intents.capture(
                    order.reference,
                    {"amount_to_capture": amount_for(amount_minor, order.currency)},
                    {"idempotency_key": f"capture:{order.intent_id}"},
                )
            except stripe.InvalidRequestError as error:
                if error.code != _MOVED_ON:
                    raise
                taken = self._client.v1.payment_intents.retrieve(order.reference)
            return charge_of(taken)

    def find(self, order: ChargeOrder) -> ProviderCharge | None:
        with _asking():
            found = self._known(order)
            return charge_of(found) if found is not None and begun(found) else None

    def _known(self, order: ChargeOrder) -> stripe.PaymentIntent | None:
        """By its reference, or by our id: searches lag by a minute, but idempotency keys are forgotten after a day."""
        if order.reference is not None:
            return self._client.v1.payment_intents.retrieve(order.reference)
        query = f"metadata['intent_id']:'{order.intent_id}'"
        found = self._client.v1.payment_intents.search({"query": query, "limit": 1}).data
        return self._client.v1.payment_intents.retrieve(found[0].id) if found else None

    def cancel(self, order: ChargeOrder) -> ProviderCharge:
        with _asking():
            known = self._known(order) or self._create(order)
            if known.status in _CANCELLABLE:
                try:
                    known = self._client.v1.payment_intents.cancel(known.id)
                except stripe.InvalidRequestError as error:
                    if error.code != _MOVED_ON:
                        raise
                    known = self._client.v1.payment_intents.retrieve(known.id)
            return charge_of(known)

    # Money back

    def refund(self, order: MoveOrder) -> ProviderMove:
        with _asking():
            for made in self._client.v1.refunds.list({"payment_intent": order.to, "limit": 100}).auto_paging_iter():
                found = refund_of(made)
                if found.id == order.id:
                    return found
            return refund_of(
                self._client.v1.refunds.create(
                    {
                        "payment_intent": order.to,
                        "amount": amount_for(order.amount_minor, order.currency),
                        "metadata": {"refund_id": str(order.id), "user_id": str(order.user_id)},
                    },
                    {"idempotency_key": f"refund:{order.id}"},
                )
            )

    # Money out (stripe_payouts)

    @property
    def pays_out_to_accounts(self) -> bool:
        return True

    def payout(self, order: MoveOrder) -> ProviderMove:
        """A transfer to a connected account, and its payout. Cards that pay cannot be paid out to."""
        with _asking():
            return self._payouts.pay_out(order)

    def open_account(self, owner: AccountOwner) -> ProviderAccount:
        with _asking():
            return self._payouts.open_account(owner)

    def onboarding_link(self, reference: str, return_url: str) -> str:
        with _asking():
            return self._payouts.onboarding_link(reference, return_url)

    # Looking

    def fetch(self, about: ObjectKind, reference: str) -> ProviderObject | None:
        with _asking():
            try:
                return self._fetch(about, reference)
            except stripe.InvalidRequestError as error:
                if error.code != _MISSING:
                    raise
                return None

    def _fetch(self, about: ObjectKind, reference: str) -> ProviderObject | None:
        v1 = self._client.v1
        if about is ObjectKind.CHARGE:
            return charge_of(v1.payment_intents.retrieve(reference))
        if about is ObjectKind.REFUND:
            return refund_of(v1.refunds.retrieve(reference))
        if about is ObjectKind.PAYOUT:
            return self._payouts.find(reference)
        if about is ObjectKind.ACCOUNT:
            return self._payouts.account(reference)
        return dispute_of(v1.disputes.retrieve(reference)) if about is ObjectKind.DISPUTE else None

    def listing(self, since: datetime, until: datetime) -> Iterator[ProviderObject]:
        first, last = int(since.timestamp()), int(until.timestamp())
        v1 = self._client.v1
        with _asking():
            for intent in v1.payment_intents.list(
                {"created": {"gte": first, "lt": last}, "limit": 100}
            ).auto_paging_iter():
                if begun(intent):
                    yield charge_of(intent)
            for refund in v1.refunds.list({"created": {"gte": first, "lt": last}, "limit": 100}).auto_paging_iter():
                yield refund_of(refund)
            yield from self._payouts.listing(first, last)
            for dispute in v1.disputes.list({"created": {"gte": first, "lt": last}, "limit": 100}).auto_paging_iter():
                found = dispute_of(dispute)
                if found is not None:
                    yield found

    # Saved cards

    def save_method(self, user_id: UUID, token: str, customer: str | None) -> SavedMethod:
        with _asking():
            if customer is None:
                customer = self._client.v1.customers.create(
                    {"metadata": {"user_id": str(user_id)}}, {"idempotency_key": f"customer:{user_id}"}
                ).id
            method = self._client.v1.payment_methods.attach(token, {"customer": customer})
        card = method.card
        if card is None or card.last4 is None:
            raise ProviderRefused("only cards can be saved", "not_a_card")
        return SavedMethod(
            token=method.id, kind="card", brand=card.brand, last4=card.last4, customer=customer,
            expires_month=card.exp_month, expires_year=card.exp_year,
        )  # fmt: skip

    def forget_method(self, token: str) -> None:
        with _asking():
            try:
                self._client.v1.payment_methods.detach(token)
            except stripe.InvalidRequestError as error:
                if error.code != _MISSING:
                    raise

    def read_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> ProviderEvent:
        """By the library's own check, which goes by the machine's clock and not by `now`."""
        del now
        self._verify(body, headers.get("stripe-signature", ""))
        try:
            event: dict[str, Any] = json.loads(body)
            about, reference = _named(event["data"]["object"])
            return ProviderEvent(str(event["id"]), str(event["type"]), reference, about)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WebhookRefused("the body is not an event") from error

    def _verify(self, body: bytes, signature: str) -> None:
        for secret in self._secrets:
            try:
                stripe.WebhookSignature.verify_header(body, signature, secret, tolerance=int(TOLERANCE.total_seconds()))
            except stripe.SignatureVerificationError:
                continue
            return
        raise WebhookRefused("the signature is wrong or too old")


def _named(data: dict[str, Any]) -> tuple[ObjectKind, str]:
    """Which object to look at. A payout from a connected account is looked at by its transfer, which is ours."""
    if data["object"] == "payout":
        transfer = (data.get("metadata") or {}).get("transfer")
        return (ObjectKind.PAYOUT, str(transfer)) if transfer else (ObjectKind.OTHER, str(data["id"]))
    return ABOUT.get(data["object"], ObjectKind.OTHER), str(data["id"])


@contextmanager
def _asking() -> Iterator[None]:
    """Stripe's errors in our words. Only what Stripe says it did not do is refused; all else may have happened."""
    try:
        yield
    except (stripe.CardError, stripe.InvalidRequestError) as error:
        raise ProviderRefused(error.user_message or "refused", error.code) from error
    except stripe.StripeError as error:
        raise OutcomeUnknown(type(error).__name__) from error
