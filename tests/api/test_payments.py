import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import func, select

from fleet.common.clock import utc_now
from fleet.common.models import OutboxEvent
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.payments import wallets
from fleet.payments.intent_models import PaymentIntent, PaymentWebhook
from fleet.payments.models import LedgerTransfer
from fleet.payments.proof import prove
from fleet.payments.providers.sandbox import SIGNATURE_HEADER, Card
from fleet.payments.providers.signing import sign
from tests.api.conftest import Live
from tests.api.people import Person, operator, signed_in

TEN = {"amount_minor": 1000, "currency": "EUR"}
SOMEBODYS = "0197a2c4-5f1e-7c3a-9a64-0b8f7d3c2e10"


def keyed(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or uuid4().hex}


def top_up(person: Person, card: Card = Card.SUCCEEDS) -> httpx.Response:
    intent = person.http.post("/api/v1/payment/top-up", json=TEN, headers=keyed())
    assert intent.status_code == 201
    return person.http.post(
        f"/api/v1/payment/top-up/{intent.json()['id']}/confirm", json={"card": card.value}, headers=keyed()
    )


def test_top_up_reaches_the_wallet_and_the_statement(live: Live) -> None:
    with signed_in(live) as person:
        empty = person.http.get("/api/v1/payment/wallet").json()
        assert empty["available"] == {"amount_minor": 0, "currency": "EUR"}
        answer = top_up(person)
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
        assert person.http.get("/api/v1/payment/wallet").json()["available"] == TEN
        lines = person.http.get("/api/v1/payment/wallet/statement").json()["items"]
        assert [(line["kind"], line["amount"], line["state"]) for line in lines] == [("top_up", TEN, "posted")]
        got = person.http.get(f"/api/v1/payment/top-up/{answer.json()['id']}")
        assert got.json() == answer.json()


@pytest.mark.parametrize(
    ("card", "state", "code"),
    [
        (Card.DECLINED, "failed", "card_declined"),
        (Card.TIMEOUT_CHARGED, "unknown", None),
        (Card.SLOW, "processing", None),
    ],
)
def test_cards_that_do_not_pay_at_once(live: Live, card: Card, state: str, code: str | None) -> None:
    with signed_in(live) as person:
        answer = top_up(person, card)
        assert (answer.status_code, answer.json()["state"], answer.json()["failure_code"]) == (200, state, code)
        assert person.http.get("/api/v1/payment/wallet").json()["balance"]["amount_minor"] == 0


def test_same_key_gives_the_same_answer_and_one_effect(live: Live) -> None:
    with signed_in(live) as person:
        key = keyed()
        first = person.http.post("/api/v1/payment/top-up", json=TEN, headers=key)
        again = person.http.post("/api/v1/payment/top-up", json=TEN, headers=key)
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert again.headers["Idempotency-Replayed"] == "true"
        assert "Idempotency-Replayed" not in first.headers
        unversioned = person.http.post("/api/payment/top-up", json=TEN, headers=key)
        assert unversioned.json() == first.json()
        other_body = person.http.post("/api/v1/payment/top-up", json={**TEN, "amount_minor": 2000}, headers=key)
        assert (other_body.status_code, other_body.json()["code"]) == (422, "idempotency_key_reused")
        confirm = f"/api/v1/payment/top-up/{first.json()['id']}/confirm"
        other_route = person.http.post(confirm, json={"card": Card.SUCCEEDS}, headers=key)
        assert (other_route.status_code, other_route.json()["code"]) == (422, "idempotency_key_reused")
        assert person.http.get("/api/v1/payment/wallet").json()["balance"]["amount_minor"] == 0
    with session_scope(live.engine) as session:
        assert session.scalar(select(func.count()).select_from(PaymentIntent)) == 1


def test_keys_of_two_riders_do_not_meet(live: Live) -> None:
    with signed_in(live) as ada, signed_in(live) as bob:
        key = keyed()
        ones = [who.http.post("/api/v1/payment/top-up", json=TEN, headers=key).json()["id"] for who in (ada, bob)]
        assert ones[0] != ones[1]


@pytest.mark.parametrize("key", ["1", "order 12, second try", "x" * 255])
def test_key_may_be_anything_printable(live: Live, key: str) -> None:
    with signed_in(live) as person:
        ones = [
            person.http.post("/api/v1/payment/top-up", json=TEN, headers={"Idempotency-Key": key}) for _ in range(2)
        ]
        assert [answer.status_code for answer in ones] == [201, 201]
        assert ones[0].json()["id"] == ones[1].json()["id"]


@pytest.mark.parametrize("key", [None, "", "with\ttab", "x" * 256])
def test_key_is_required_and_has_a_form(live: Live, key: str | None) -> None:
    with signed_in(live) as person:
        answer = person.http.post(
            "/api/v1/payment/top-up", json=TEN, headers={"Idempotency-Key": key} if key is not None else {}
        )
        assert (answer.status_code, answer.json()["field"]) == (422, "header.Idempotency-Key")


def test_failed_request_keeps_no_answer(live: Live) -> None:
    with signed_in(live) as person:
        key = keyed()
        refused = person.http.post("/api/v1/payment/top-up", json={**TEN, "currency": "JPY"}, headers=key)
        assert (refused.status_code, refused.json()["field"]) == (422, "currency")
        assert person.http.post("/api/v1/payment/top-up", json=TEN, headers=key).status_code == 201


def test_one_key_twenty_times_at_once_makes_one_intent(live: Live) -> None:
    with signed_in(live) as person, ThreadPoolExecutor(20) as pool:
        key = keyed()
        answers = list(pool.map(lambda _: person.http.post("/api/v1/payment/top-up", json=TEN, headers=key), range(20)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["id"] for answer in answers}) == 1


def test_confirming_ten_times_at_once_charges_once(live: Live) -> None:
    with signed_in(live) as person, ThreadPoolExecutor(10) as pool:
        intent = person.http.post("/api/v1/payment/top-up", json=TEN, headers=keyed()).json()["id"]
        path, same = f"/api/v1/payment/top-up/{intent}/confirm", keyed()
        headers = [same] * 5 + [keyed() for _ in range(5)]
        answers = list(pool.map(lambda key: person.http.post(path, json={"card": Card.SUCCEEDS}, headers=key), headers))
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["state"] for answer in answers} <= {"succeeded", "processing"}
        assert person.http.get("/api/v1/payment/wallet").json()["balance"] == TEN
    with session_scope(live.engine) as session:
        assert session.scalar(select(func.count()).select_from(LedgerTransfer)) == 1
        assert prove(session, utc_now()).ok


def test_confirm_replays_its_answer(live: Live) -> None:
    with signed_in(live) as person:
        intent = person.http.post("/api/v1/payment/top-up", json=TEN, headers=keyed()).json()["id"]
        path, key = f"/api/v1/payment/top-up/{intent}/confirm", keyed()
        first = person.http.post(path, json={"card": Card.DECLINED}, headers=key)
        again = person.http.post(path, json={"card": Card.DECLINED}, headers=key)
        assert again.json() == first.json()
        assert again.headers["Idempotency-Replayed"] == "true"
        other = person.http.post(path, json={"card": Card.SUCCEEDS}, headers=keyed())
        assert (other.status_code, other.json()["code"]) == (409, "payment_intent_not_open")


def test_cancel_before_confirming_only(live: Live) -> None:
    with signed_in(live) as person:
        intent = person.http.post("/api/v1/payment/top-up", json=TEN, headers=keyed()).json()["id"]
        for _ in range(2):
            assert person.http.post(f"/api/v1/payment/top-up/{intent}/cancel").json()["state"] == "cancelled"
        paid = top_up(person).json()["id"]
        refused = person.http.post(f"/api/v1/payment/top-up/{paid}/cancel")
        assert (refused.status_code, refused.json()["state"]) == (409, "succeeded")


def test_another_riders_payment_is_not_there(live: Live) -> None:
    with signed_in(live) as ada, signed_in(live) as bob:
        intent = ada.http.post("/api/v1/payment/top-up", json=TEN, headers=keyed()).json()["id"]
        path = f"/api/v1/payment/top-up/{intent}"
        assert bob.http.get(path).status_code == 404
        assert bob.http.post(f"{path}/cancel").status_code == 404
        confirm = bob.http.post(f"{path}/confirm", json={"card": Card.SUCCEEDS}, headers=keyed())
        assert confirm.status_code == 404
        assert ada.http.get(path).json()["state"] == "requires_confirmation"


def test_statement_pages_hold_every_line_once(live: Live) -> None:
    with signed_in(live) as person:
        with session_scope(live.engine) as session:
            for number in range(7):
                wallets.adjust(
                    session, user_id=person.user.id, money=Money(100 + number, "EUR"), reason="seven",
                    actor_id=person.user.id, key=str(number), now=utc_now() + timedelta(seconds=number),
                )  # fmt: skip
        seen, cursor = [], None
        while True:
            params = {"limit": 3, **({"cursor": cursor} if cursor else {})}
            page = person.http.get("/api/v1/payment/wallet/statement", params=params).json()
            seen += [line["amount"]["amount_minor"] for line in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert sorted(seen) == list(range(100, 107))
        for params in ({"limit": 101}, {"limit": 0}, {"cursor": "made-up"}):
            assert person.http.get("/api/v1/payment/wallet/statement", params=params).status_code == 422


def webhook(live: Live, event: dict[str, object], secret: str | None = None, age_s: float = 0) -> httpx.Response:
    body = json.dumps(event).encode()
    key = (secret or live.settings.sandbox_webhook_secret.get_secret_value()).encode()
    headers = {SIGNATURE_HEADER: sign(key, body, utc_now() - timedelta(seconds=age_s))}
    return live.client.post("/api/v1/payment/webhook/sandbox", content=body, headers=headers)


def test_webhook_is_stored_once_and_left_to_a_worker(live: Live) -> None:
    event: dict[str, object] = {"id": "evt_1", "type": "charge.succeeded", "data": {"reference": "ch_1"}}
    for _ in range(3):
        answer = webhook(live, event)
        assert (answer.status_code, answer.json()) == (200, {"received": True})
    with session_scope(live.engine) as session:
        stored = session.scalars(select(PaymentWebhook)).one()
        assert json.loads(stored.body) == event
        waiting = session.scalars(select(OutboxEvent).where(OutboxEvent.name == "payments.WebhookReceived")).one()
        assert waiting.payload == {"webhook_id": stored.id}


def test_forged_old_or_foreign_webhook_is_refused(live: Live) -> None:
    event: dict[str, object] = {"id": "evt_1", "type": "charge.succeeded", "data": {"reference": "ch_1"}}
    for answer in (webhook(live, event, secret="guess"), webhook(live, event, age_s=400)):
        assert (answer.status_code, answer.json()["code"]) == (403, "webhook_refused")
    unknown = live.client.post("/api/v1/payment/webhook/nobody", content=b"{}")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_payment_provider")
    with session_scope(live.engine) as session:
        assert session.scalar(select(func.count()).select_from(PaymentWebhook)) == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "wallet"),
        ("GET", "wallet/statement"),
        ("POST", "top-up"),
        ("GET", f"top-up/{SOMEBODYS}"),
        ("POST", f"top-up/{SOMEBODYS}/confirm"),
        ("POST", f"top-up/{SOMEBODYS}/cancel"),
    ],
)
def test_nothing_without_a_token(live: Live, method: str, path: str) -> None:
    answer = live.client.request(method, f"/api/v1/payment/{path}", headers=keyed())
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


def test_transactions_of_all_purses_are_mine_alone(live: Live) -> None:
    with signed_in(live) as person, signed_in(live) as other, operator(live) as boss:
        top_up(person)
        gift = {"amount_minor": 300, "currency": "EUR", "reason": "sorry", "account": "bonus"}
        given = boss.http.post(f"/api/v1/admin/user/{person.user.id}/wallet/adjust", json=gift, headers=keyed())
        assert given.is_success, given.text
        first = person.http.get("/api/v1/payment/transaction", params={"limit": 1}).json()
        second = person.http.get("/api/v1/payment/transaction", params={"cursor": first["next"]}).json()
        assert [
            (row["purse"], row["text"], row["state"], row["amount"]["amount_minor"])
            for row in [*first["items"], *second["items"]]
        ] == [("points", "Credit from customer service", "posted", 300), ("wallet", "Top-up", "posted", 1000)]
        assert second["next"] is None
        assert other.http.get("/api/v1/payment/transaction").json() == {"items": [], "next": None}
        assert person.http.get("/api/v1/payment/transaction", params={"rental_id": SOMEBODYS}).json()["items"] == []
