"""Stripe through its own library, over HTTP: the same rules as for any provider."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine

from fleet.common.money import Money
from fleet.db import new_id, session_scope
from fleet.payments import janitor, proof, rental_payments, webhooks
from fleet.payments.errors import PaymentMethodRefused, WebhookRefused
from fleet.payments.intent_models import IntentState, PaymentIntent, PaymentWebhook
from fleet.payments.outgoing import money_out
from fleet.payments.outgoing.models import MoneyOutState
from fleet.payments.providers import provider_from
from fleet.payments.providers.base import (
    ChargeOrder,
    ChargeStatus,
    DisputeStatus,
    MoveOrder,
    ObjectKind,
    OutcomeUnknown,
    ProviderCharge,
    ProviderDispute,
    ProviderMove,
)
from fleet.payments.providers.stripe import StripeProvider
from fleet.settings import Settings
from tests.fleet.payments.conftest import NOW
from tests.fleet.payments.saving import save_card
from tests.fleet.payments.stripe_server import ACTION, DECLINED, FakeStripe, serving
from tests.fleet.payments.test_disputes import loss, the_dispute
from tests.fleet.payments.test_refunds import Desk

SECRET = "whsec_voltbay"
GOOD = "pm_card_visa"


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    with serving() as fake:
        yield fake


@pytest.fixture
def provider(stripe: FakeStripe) -> StripeProvider:
    return StripeProvider("sk_test_voltbay", SECRET, stripe.url)


@pytest.fixture
def desk(books: Engine, committed_rider: UUID, provider: StripeProvider) -> Iterator[Desk]:
    desk = Desk(books, committed_rider)
    desk.provider = provider
    yield desk
    with session_scope(books) as session:
        assert proof.prove(session, NOW).problems == ()


def intents_at(stripe: FakeStripe) -> list[tuple[str, int]]:
    found = [one for one in stripe.objects.values() if one["object"] == "payment_intent"]
    return [(one["status"], one["amount_received"]) for one in found]


def test_a_top_up(desk: Desk, stripe: FakeStripe) -> None:
    intent = desk.pay(GOOD)
    assert (intent.state, desk.credited()) == (IntentState.SUCCEEDED, 2000)
    (made,) = stripe.objects.values()
    assert (made["amount"], made["currency"], made["metadata"]["intent_id"]) == (2000, "eur", str(intent.id))


def test_a_declined_card_leaves_nothing_that_could_be_charged(desk: Desk, stripe: FakeStripe) -> None:
    intent = desk.pay(DECLINED)
    assert (intent.state, intent.failure_code) == (IntentState.FAILED, "insufficient_funds")
    assert intents_at(stripe) == [("canceled", 0)]


def test_the_bank_wants_to_see_the_rider(desk: Desk, stripe: FakeStripe) -> None:
    intent = desk.pay(ACTION)
    assert (intent.state, intent.action_url) == (IntentState.REQUIRES_ACTION, "https://bank.example/3ds")
    assert intent.provider_reference is not None
    stripe.grant(stripe.objects[intent.provider_reference])
    assert desk.sweep_after(seconds=20) == 1
    assert (desk.state(intent.id), desk.credited()) == (IntentState.SUCCEEDED, 2000)


@pytest.mark.parametrize(
    ("lost", "state", "credited"),
    [
        (r"/v1/payment_intents", IntentState.CANCELLED, 0),  # created, never confirmed: nothing was charged
        (r"/v1/payment_intents/pi_1/confirm", IntentState.SUCCEEDED, 2000),
    ],
)
def test_a_lost_answer_is_asked_for(
    desk: Desk, stripe: FakeStripe, lost: str, state: IntentState, credited: int
) -> None:
    stripe.lost[lost] = 1
    intent = desk.pay(GOOD)
    assert intent.state is IntentState.UNKNOWN
    assert sum(desk.sweep_after(seconds=20 * 2**step) for step in range(4)) == 1
    assert (desk.state(intent.id), desk.credited()) == (state, credited)
    assert len(intents_at(stripe)) == 1


def test_a_rental_is_authorized_captured_in_part_and_refunded(desk: Desk, stripe: FakeStripe) -> None:
    rental = desk.by_card(320, GOOD)
    assert intents_at(stripe) == [("succeeded", 320)]
    refund = desk.ask(rental, 120)
    desk.approve(refund)
    stripe.lost[r"/v1/refunds"] = 2  # the list, then the refund itself
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            desk.send()
    assert desk.send() == 0  # pending
    made = [one for one in stripe.objects.values() if one["object"] == "refund"]
    assert [one["amount"] for one in made] == [120]  # once, although it was asked for three times
    made[0]["status"] = "succeeded"
    assert money_out.sweep(desk.transactions, desk.provider, desk.clock.now + money_out.ASK_AFTER) == 1
    assert (desk.outs()[0].state, desk.wallet()) == (MoneyOutState.SUCCEEDED, 1000)


def test_a_lost_answer_to_a_capture(desk: Desk, stripe: FakeStripe) -> None:
    stripe.lost[r"/v1/payment_intents/pi_1/capture"] = 1
    with pytest.raises(OutcomeUnknown):
        desk.by_card(320, GOOD)
    assert desk.credited() == 0
    assert desk.sweep_after(seconds=20) == 1
    assert (desk.credited(), intents_at(stripe)) == (320, [("succeeded", 320)])


def test_an_authorization_is_given_back(desk: Desk, stripe: FakeStripe) -> None:
    with desk.transactions() as session:
        intent = rental_payments.demand(
            session, user_id=desk.rider, money=Money(500, "EUR"), order={}, provider=desk.provider, now=NOW
        ).id
    assert desk.confirm(intent, GOOD).state is IntentState.AUTHORIZED
    with desk.transactions() as session:
        rental_payments.give_back(session, intent, NOW)
    assert janitor.carry_out(desk.transactions, intent, desk.provider, NOW)
    assert intents_at(stripe) == [("canceled", 0)]


def test_a_saved_card_is_a_token_of_a_customer(desk: Desk, stripe: FakeStripe) -> None:
    def save(token: str) -> str | None:
        return save_card(desk.transactions, desk.rider, token, desk.provider, NOW).customer

    assert save("pm_1") == save("pm_2") == "cus_1"
    with pytest.raises(PaymentMethodRefused):
        save(DECLINED)
    desk.provider.forget_method("pm_1")
    desk.provider.forget_method("pm_gone")
    assert [path for path in stripe.requests if path.endswith("detach")] == [
        "/v1/payment_methods/pm_1/detach", "/v1/payment_methods/pm_gone/detach",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("customer", "later", "usage"), [("cus_1", True, "off_session"), ("cus_1", False, None), (None, True, None)]
)
def test_a_saved_card_that_stands_for_a_rental_is_asked_again_when_nobody_is_there(
    provider: StripeProvider, stripe: FakeStripe, customer: str | None, later: bool, usage: str | None
) -> None:
    provider.authorize(ChargeOrder(new_id(), new_id(), 500, "EUR", capture_later=later, customer=customer), GOOD)
    (made,) = (one for one in stripe.objects.values() if one["object"] == "payment_intent")
    assert made.get("setup_future_usage") == usage


@pytest.mark.parametrize(("currency", "minor", "at_stripe"), [("EUR", 123, 123), ("JPY", 5, 5), ("ISK", 700, 70_000)])
def test_amounts_in_stripes_units(
    provider: StripeProvider, stripe: FakeStripe, currency: str, minor: int, at_stripe: int
) -> None:
    charge = provider.authorize(ChargeOrder(new_id(), new_id(), minor, currency), GOOD)
    assert (charge.amount_minor, charge.captured_minor) == (minor, minor)
    assert stripe.objects[charge.reference]["amount"] == at_stripe


def test_what_stripe_lists(provider: StripeProvider, stripe: FakeStripe) -> None:
    order = ChargeOrder(new_id(), new_id(), 500, "EUR")
    charge = provider.authorize(order, GOOD)
    stripe.answer("POST", "/v1/payment_intents", {"amount": "1", "currency": "eur"}, None)  # nobody tried a card on it
    provider.refund(MoveOrder(new_id(), order.user_id, 100, "EUR", to=charge.reference))
    provider.payout(MoveOrder(new_id(), order.user_id, 50, "EUR", to=stripe.verified_account()))
    for status in ("needs_response", "warning_needs_response"):
        form = {"amount": "500", "currency": "eur", "payment_intent": charge.reference, "reason": "fraudulent",
                "status": status}  # fmt: skip
        stripe.answer("POST", "/v1/disputes", form, None)
    at = datetime.fromtimestamp(stripe.now, UTC)
    found = list(provider.listing(at, at + timedelta(seconds=1)))
    assert [type(one) for one in found] == [ProviderCharge, ProviderMove, ProviderMove, ProviderDispute]
    assert list(provider.listing(at + timedelta(seconds=1), at + timedelta(days=1))) == []


def test_what_is_not_there(provider: StripeProvider) -> None:
    assert all(provider.fetch(kind, "xx_nothing") is None for kind in ObjectKind)
    assert provider.find(ChargeOrder(new_id(), new_id(), 1, "EUR")) is None


def test_a_foreign_object_is_nobodys(provider: StripeProvider, stripe: FakeStripe) -> None:
    form = {"amount": "5", "currency": "eur", "metadata": {"intent_id": "theirs"}}
    _, made = stripe.answer("POST", "/v1/payment_intents", form, None)
    found = provider.fetch(ObjectKind.CHARGE, made["id"])
    assert isinstance(found, ProviderCharge)
    assert (found.intent_id, found.status) == (None, ChargeStatus.PENDING)


def test_a_wrong_key_is_no_answer_about_money(stripe: FakeStripe) -> None:
    with pytest.raises(OutcomeUnknown, match="AuthenticationError"):
        StripeProvider("sk_test_wrong", SECRET, stripe.url).find(ChargeOrder(new_id(), new_id(), 1, "EUR"))


def signed(event: object, secret: str = SECRET, age_s: int = 0) -> tuple[bytes, dict[str, str]]:
    """As https://docs.stripe.com/webhooks#verify-manually says."""
    body = json.dumps(event).encode()
    at = int(time.time()) - age_s
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return body, {"stripe-signature": f"t={at},v1={digest}"}


def about(kind: str, reference: str) -> dict[str, object]:
    return {"id": f"evt_{reference}", "type": f"{kind}.updated", "data": {"object": {"object": kind, "id": reference}}}


def test_webhooks_are_verified_and_applied_by_reading_the_object(desk: Desk, stripe: FakeStripe) -> None:
    stripe.lost[r"/v1/payment_intents/pi_1/confirm"] = 1
    intent = desk.pay(GOOD)
    body, headers = signed(about("payment_intent", "pi_1"))
    numbers = []
    for _ in range(3):
        with desk.transactions() as session:
            stored = webhooks.receive(session, desk.provider, headers, body, NOW)
            numbers += [] if stored is None else [stored.id]
    assert [webhooks.process(desk.transactions, number, desk.provider, NOW) for number in numbers * 2] == [True, False]
    assert (desk.state(intent.id), desk.credited()) == (IntentState.SUCCEEDED, 2000)


def test_events_that_move_no_money_are_kept_and_change_nothing(desk: Desk) -> None:
    body, headers = signed(about("charge", "ch_1"))
    with desk.transactions() as session:
        stored = webhooks.receive(session, desk.provider, headers, body, NOW)
        assert stored is not None
        number = stored.id
    assert webhooks.process(desk.transactions, number, desk.provider, NOW)
    with desk.transactions() as session:
        assert session.get_one(PaymentWebhook, number).error is None


@pytest.mark.parametrize("forgery", ["secret", "old", "none", "body", "no event"])
def test_forged_webhooks_are_refused(provider: StripeProvider, forgery: str) -> None:
    good, headers = signed(about("refund", "re_1"))
    assert provider.read_webhook(headers, good, NOW).about is ObjectKind.REFUND
    body, headers = {
        "secret": signed(about("refund", "re_1"), secret="guess"),
        "old": signed(about("refund", "re_1"), age_s=400),
        "none": (good, {}),
        "body": (good.replace(b"re_1", b"re_2"), headers),
        "no event": signed([1]),
    }[forgery]
    with pytest.raises(WebhookRefused):
        provider.read_webhook(headers, body, NOW)


def tell(desk: Desk, kind: str, reference: str, secret: str = SECRET) -> bool:
    """Stripe calls, twice; a worker applies it."""
    body, headers = signed(about(kind, reference), secret)
    numbers = []
    for _ in range(2):
        with desk.transactions() as session:
            stored = webhooks.receive(session, desk.provider, headers, body, NOW)
            numbers += [] if stored is None else [stored.id]
    return [webhooks.process(desk.transactions, number, desk.provider, NOW) for number in numbers * 2] == [True, False]


@pytest.mark.parametrize("won", [True, False])
def test_a_dispute(desk: Desk, stripe: FakeStripe, won: bool) -> None:
    desk.by_card(320, GOOD)
    form = {"amount": "320", "currency": "eur", "payment_intent": "pi_1", "reason": "fraudulent",
            "status": "needs_response"}  # fmt: skip
    _, made = stripe.answer("POST", "/v1/disputes", form, None)
    assert tell(desk, "dispute", made["id"])
    assert (the_dispute(desk).state, the_dispute(desk).amount_minor) == (DisputeStatus.OPEN, 320)
    stripe.objects[made["id"]]["status"] = "won" if won else "lost"
    body, headers = signed({**about("dispute", made["id"]), "id": "evt_closed"})
    with desk.transactions() as session:
        stored = webhooks.receive(session, desk.provider, headers, body, NOW)
        assert stored is not None
        number = stored.id
    assert webhooks.process(desk.transactions, number, desk.provider, NOW)
    assert (the_dispute(desk).state, loss(desk)) == (
        (DisputeStatus.WON, 0) if won else (DisputeStatus.LOST, 320)
    )  # fmt: skip


def test_a_refund_that_was_made_in_stripes_dashboard(desk: Desk, stripe: FakeStripe) -> None:
    desk.by_card(320, GOOD)
    _, made = stripe.answer("POST", "/v1/refunds", {"amount": "120", "payment_intent": "pi_1"}, None)
    stripe.objects[made["id"]]["status"] = "succeeded"
    assert tell(desk, "refund", made["id"])
    [out] = desk.outs()
    assert (out.provider_reference, out.amount_minor, out.state) == (made["id"], 120, MoneyOutState.SUCCEEDED)
    assert (desk.wallet(), loss(desk)) == (1000, 0)


def test_stripe_by_name(books: Engine, stripe: FakeStripe) -> None:
    made = Settings(
        payment_provider="stripe", stripe_api_key="sk_test_voltbay", stripe_webhook_secret=SECRET,
        stripe_api_base=stripe.url,
    )  # fmt: skip
    assert provider_from(made, books).name == "stripe"
    assert provider_from(made, books).pays_out_to_accounts
    with pytest.raises(ValueError, match="VOLTBAY_STRIPE_API_KEY"):
        Settings(payment_provider="stripe")


def test_an_intent_of_ours_is_found_without_its_reference(desk: Desk, stripe: FakeStripe) -> None:
    intent = desk.pay(GOOD)
    with desk.transactions() as session:
        row = session.get_one(PaymentIntent, intent.id)
        order = ChargeOrder(row.id, row.user_id, row.amount_minor, row.currency)
    found = desk.provider.find(order)
    assert found is not None
    assert found.reference == intent.provider_reference
    assert desk.provider.cancel(order).status is ChargeStatus.SUCCEEDED  # too late
    assert len(intents_at(stripe)) == 1
