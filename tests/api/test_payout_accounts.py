"""Accounts for payouts over HTTP, with Stripe behind the API: riders withdraw, partners are paid."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import select

from fleet.common.clock import utc_now
from fleet.common.models import Country
from fleet.common.money import Money
from fleet.config import service as config
from fleet.db import session_scope
from fleet.partners.proof import CHECKS
from fleet.payments import wallets, webhooks
from fleet.payments.intent_models import PaymentWebhook
from fleet.payments.outgoing import withdrawals
from fleet.payments.proof import prove
from fleet.users.models import User
from tests.api.conftest import Live, Serve
from tests.api.people import operator, signed_in
from tests.api.test_money_out import EUROS, sent
from tests.api.test_partners import ADMIN, PARTNER, earn, ok, partner
from tests.api.test_payments import keyed
from tests.fleet.payments.stripe_server import FakeStripe, serving
from tests.fleet.payments.test_stripe import SECRET, about, signed

ACCOUNT = "/api/v1/payment/payout-account"


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    with serving() as fake:
        yield fake


@pytest.fixture
def live(serve: Serve, stripe: FakeStripe) -> Live:
    return serve(
        payment_provider="stripe", stripe_api_key="sk_test_voltbay", stripe_webhook_secret=SECRET,
        stripe_api_base=stripe.url,
    )  # fmt: skip


def at_home_in_switzerland(live: Live, rider: UUID) -> None:
    with session_scope(live.engine) as session:
        session.add(Country(iso_code="CH", name="S", dial_code="+41", currency="CHF", locale="de", time_zone="x"))
        session.flush()
        config.put(session, withdrawals.POLICY.name, EUROS, utc_now())
        session.get_one(User, rider).country = "CH"
        wallets.adjust(
            session, user_id=rider, money=Money(800, "EUR"), reason="start", actor_id=rider, key="start", now=utc_now()
        )


def stripe_calls(live: Live, kind: str, reference: str) -> None:
    """Stripe tells of an object, and a worker applies it."""
    body, headers = signed(about(kind, reference))
    ok(live.client.post("/api/v1/payment/webhook/stripe", content=body, headers=headers))
    with session_scope(live.engine) as session:
        numbers = session.scalars(select(PaymentWebhook.id).where(PaymentWebhook.applied_at.is_(None))).all()
    provider = live.server.runtime.provider
    for number in numbers:
        assert webhooks.process(lambda: session_scope(live.engine), number, provider, utc_now())


def test_a_rider_opens_an_account_and_withdraws_to_it(live: Live, stripe: FakeStripe) -> None:
    with signed_in(live) as person, operator(live) as boss:
        unknown = person.http.post(ACCOUNT)
        assert (unknown.status_code, unknown.json()["field"]) == (422, "country")
        at_home_in_switzerland(live, person.user.id)
        assert person.http.get(ACCOUNT).status_code == 404
        opened = ok(person.http.post(ACCOUNT))
        assert (opened["account"]["state"], opened["account"]["missing"]) == ("pending", ["individual.dob"])
        assert opened["url"].startswith("https://connect.stripe.example/acct_")
        body = {"amount_minor": 500, "currency": "EUR"}
        early = person.http.post("/api/v1/payment/withdrawal", json=body, headers=keyed())
        assert (early.status_code, early.json()["code"]) == (409, "payout_account_not_ready")
        reference = opened["url"].rpartition("/")[2]
        stripe.verify(reference)
        stripe_calls(live, "account", reference)
        assert ok(person.http.get(ACCOUNT))["state"] == "enabled"
        asked = ok(person.http.post("/api/v1/payment/withdrawal", json=body, headers=keyed()))
        assert (asked["account_id"], asked["method_id"]) == (opened["account"]["id"], None)
        ok(boss.http.post(f"/api/v1/admin/withdrawal/{asked['id']}/approve", headers=keyed()))
        assert sent(live) == 0  # pending at the bank
        stripe.settle_payouts()
        transfer = next(name for name, one in stripe.objects.items() if one["object"] == "transfer")
        stripe_calls(live, "transfer", transfer)
        assert ok(person.http.get("/api/v1/payment/withdrawal"))["items"][0]["state"] == "completed"
    with session_scope(live.engine) as session:
        assert prove(session, utc_now()).ok


def test_a_partner_is_paid_by_the_provider(live: Live, stripe: FakeStripe) -> None:
    with operator(live) as boss, partner(live, boss, "North") as (partner_id, person):
        earn(live, partner_id, 900)
        opened = ok(person.http.post(f"{PARTNER}/payout-account", json={"country": "CH"}))
        reference = opened["url"].rpartition("/")[2]
        stripe.verify(reference)
        stripe_calls(live, "account", reference)
        assert ok(person.http.get(f"{PARTNER}/payout-account"))["state"] == "enabled"
        body = {"amount_minor": 700, "currency": "EUR"}
        payout = ok(person.http.post(f"{PARTNER}/payout", json=body, headers=keyed()))["id"]
        early = boss.http.post(f"{ADMIN}/payout/{payout}/send")
        assert (early.status_code, early.json()["code"]) == (409, "illegal_transition")
        ok(boss.http.post(f"{ADMIN}/payout/{payout}/approve"))
        for _ in range(2):
            found = ok(boss.http.post(f"{ADMIN}/payout/{payout}/send"))
            assert (found["state"], found["provider"]) == ("processing", "stripe")
        by_hand = boss.http.post(f"{ADMIN}/payout/{payout}/complete", json={"reference": "SEPA-1"}, headers=keyed())
        assert (by_hand.status_code, by_hand.json()["code"]) == (409, "payout_on_its_way")
        assert sent(live) == 0
        assert [one["amount"] for one in stripe.objects.values() if one["object"] == "payout"] == [700]
    with session_scope(live.engine) as session:
        assert prove(session, utc_now(), CHECKS).ok
