"""Saved cards and the bank's page over HTTP."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from fleet.payments.providers.sandbox import Card
from tests.api.conftest import Live
from tests.api.people import Person, signed_in
from tests.api.test_payments import SOMEBODYS, TEN, keyed, top_up


def save(person: Person, token: str = Card.SUCCEEDS, key: str | None = None) -> httpx.Response:
    return person.http.post("/api/v1/payment/method", json={"token": token}, headers=keyed(key))


def intent(person: Person) -> str:
    made: str = person.http.post("/api/v1/payment/top-up", json=TEN, headers=keyed()).json()["id"]
    return made


def test_a_card_is_saved_used_and_forgotten(live: Live) -> None:
    with signed_in(live) as person:
        key = uuid4().hex
        first, again = save(person, key=key), save(person, key=key)
        assert (first.status_code, again.json()) == (201, first.json())
        assert "token" not in first.json()
        assert (first.json()["last4"], first.json()["is_default"]) == ("4242", True)
        other = save(person, Card.SLOW).json()["id"]
        assert person.http.post(f"/api/v1/payment/method/{other}/default").json()["is_default"]
        listed = person.http.get("/api/v1/payment/method").json()["items"]
        assert [(method["last4"], method["is_default"]) for method in listed] == [("1034", True), ("4242", False)]
        paid = person.http.post(
            f"/api/v1/payment/intent/{intent(person)}/confirm", json={"method_id": first.json()["id"]}, headers=keyed()
        )
        assert (paid.status_code, paid.json()["state"], paid.json()["captured"]) == (200, "succeeded", TEN)
        assert person.http.delete(f"/api/v1/payment/method/{other}").status_code == 204
        gone = person.http.delete(f"/api/v1/payment/method/{other}")
        assert (gone.status_code, gone.json()["code"]) == (404, "payment_method_not_found")


def test_one_key_ten_times_at_once_saves_one_card(live: Live) -> None:
    with signed_in(live) as person:
        key = uuid4().hex
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: save(person, key=key), range(10)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert len(person.http.get("/api/v1/payment/method").json()["items"]) == 1


def test_a_refused_card_says_why(live: Live) -> None:
    with signed_in(live) as person:
        answer = save(person, Card.EXPIRED)
        assert (answer.status_code, answer.json()["code"], answer.json()["reason"]) == (
            409, "payment_method_refused", "expired_card",
        )  # fmt: skip


def test_another_riders_card_is_not_there(live: Live) -> None:
    with signed_in(live) as ada, signed_in(live) as bob:
        method = save(ada).json()["id"]
        assert bob.http.post(f"/api/v1/payment/method/{method}/default").status_code == 404
        assert bob.http.delete(f"/api/v1/payment/method/{method}").status_code == 404
        paid = bob.http.post(
            f"/api/v1/payment/top-up/{intent(bob)}/confirm", json={"method_id": method}, headers=keyed()
        )
        assert (paid.status_code, paid.json()["code"]) == (404, "payment_method_not_found")
        assert bob.http.get(f"/api/v1/payment/intent/{intent(ada)}").status_code == 404


@pytest.mark.parametrize("body", [{}, {"card": Card.SUCCEEDS, "method_id": SOMEBODYS}])
def test_one_means_of_payment_is_named(live: Live, body: dict[str, str]) -> None:
    with signed_in(live) as person:
        answer = person.http.post(f"/api/v1/payment/top-up/{intent(person)}/confirm", json=body, headers=keyed())
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


@pytest.mark.parametrize(("choice", "known"), [("approve", "succeeded"), ("decline", "failed")])
def test_the_banks_page_completes_a_payment(live: Live, choice: str, known: str) -> None:
    with signed_in(live) as person:
        waits = top_up(person, Card.REQUIRES_ACTION).json()
        assert waits["state"] == "requires_action"
        page = live.client.get(waits["action_url"])
        assert "10.00 EUR" in page.text
        assert "form-action 'self'" in page.headers["content-security-policy"]
        done = live.client.post(f"{waits['action_url']}/{choice}", follow_redirects=True)
        assert known in done.text
        # The app shows what the webhook brings; here the rider confirms again, which never charges twice.
        again = person.http.post(
            f"/api/v1/payment/intent/{waits['id']}/confirm", json={"card": Card.SUCCEEDS}, headers=keyed()
        )
        assert again.json()["state"] == "requires_action"


def test_the_bank_knows_only_its_payments(live: Live) -> None:
    assert live.client.get("/sandbox/pay/ch_nothing").status_code == 404
    assert live.client.post("/sandbox/pay/ch_nothing/approve", follow_redirects=True).status_code == 404
    with signed_in(live) as person:
        answer = person.http.post(f"/api/v1/payment/intent/{intent(person)}/cancel")
        assert answer.json()["state"] == "cancelled"
