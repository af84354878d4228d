"""What riders and operators do with a rental between its start and its end, over HTTP."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import func, select

from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.payments import janitor
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.proof import prove
from fleet.payments.providers.sandbox import Card
from fleet.payments.providers.sandbox.models import SandboxCharge
from tests.api.conftest import Live
from tests.api.people import Person, operator, signed_in
from tests.api.test_tariffs import done
from tests.api.world import Cabinet, add_station, add_tariff, give_money
from tests.fleet.parallel import together

MINUTE = timedelta(minutes=1)
STATION = "ZRH-0001"
RENTAL = "/api/v1/rental"
FOUR_HOURS: dict[str, Any] = {
    "name": "4 hours", "kind": "prepaid", "minutes": 240, "price_minor": 400, "currency": "EUR",
}  # fmt: skip


@pytest.fixture
def city(live: Live) -> Live:
    """A station with two banks, an empty one, and a price."""
    add_tariff(live)
    add_station(live, charges=(90, 70))
    add_station(live, "ZRH-0002", charges=())
    return live


def post(person: Person, path: str, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key or uuid4().hex}
    return person.http.post(f"{RENTAL}{path}", json=body or None, headers=headers)


def wallet(person: Person) -> tuple[int, int]:
    found = done(person.http.get("/api/v1/payment/wallet"))
    return found["available"]["amount_minor"], found["held"]["amount_minor"]


def books_are_right(live: Live) -> None:
    with session_scope(live.engine) as session:
        assert prove(session, utc_now()).ok


def test_a_package_from_its_making_to_the_price(city: Live) -> None:
    with operator(city) as boss, signed_in(city) as rider:
        give_money(city, rider)
        package = done(boss.http.post("/api/v1/admin/package", json=FOUR_HOURS), 201)
        twice = boss.http.post("/api/v1/admin/package", json=FOUR_HOURS)
        assert (twice.status_code, twice.json()["code"]) == (409, "package_exists")
        offered = done(rider.http.get(f"{RENTAL}/packages", params={"station": STATION}))["items"]
        assert [(each["name"], each["price"]["amount_minor"]) for each in offered] == [("4 hours", 400)]

        wanted = {"station": STATION, "package": package["id"]}
        quoted = done(rider.http.post(f"{RENTAL}/quote", json={**wanted, "minutes": 300}))
        assert (quoted["can_start"], quoted["price"]["total"]["amount_minor"]) == (True, 400 + 2 * 50)
        rental = done(post(rider, "/start", **wanted), 202)
        assert [each["name"] for each in rental["packages"]] == ["4 hours"]
        assert wallet(rider) == (1600, 400)
        early = post(rider, f"/{rental['id']}/extend", package=package["id"])
        assert (early.status_code, early.json()["code"]) == (409, "rental_not_extendable")
        Cabinet(city).ejects(UUID(rental["id"]))

        key = uuid4().hex
        longer = done(post(rider, f"/{rental['id']}/extend", key, package=package["id"]))
        assert done(post(rider, f"/{rental['id']}/extend", key, package=package["id"])) == longer
        assert [each["bought_at"] is None for each in longer["packages"]] == [True, False]
        assert wallet(rider) == (1200, 800)
        done(boss.http.post(f"/api/v1/admin/package/{package['id']}/withdraw"))
        gone = post(rider, f"/{rental['id']}/extend", package=package["id"])
        assert (gone.status_code, gone.json()["code"]) == (404, "package_not_found")
        with signed_in(city) as stranger:
            assert post(stranger, f"/{rental['id']}/extend", package=package["id"]).status_code == 404

        Cabinet(city, "ZRH-0002").takes_back(1, rental["power_bank"])
        paid = done(rider.http.get(f"{RENTAL}/{rental['id']}/price"))
        assert [(line["kind"], line["amount"]["amount_minor"]) for line in paid["lines"]] == [
            ("package", 400),
            ("package", 400),
        ]
        assert wallet(rider) == (1200, 0)
    books_are_right(city)


def test_a_bank_is_kept_and_fetched(city: Live) -> None:
    with signed_in(city) as rider, signed_in(city) as other:
        give_money(city, rider)
        key = uuid4().hex
        kept = done(post(rider, "/reservation", key, station=STATION), 201)
        assert done(post(rider, "/reservation", key, station=STATION), 201) == kept
        assert (kept["state"], kept["slot"], kept["fee"]["amount_minor"]) == ("active", 1, 0)
        assert done(rider.http.get(f"{RENTAL}/reservation"))["items"] == [kept]
        assert done(other.http.get(f"{RENTAL}/reservation"))["items"] == []
        assert other.http.post(f"{RENTAL}/reservation/{kept['id']}/cancel").status_code == 404
        again = post(rider, "/reservation", station=STATION)
        assert (again.status_code, again.json()["code"]) == (409, "already_reserved")
        rental = done(post(rider, "/start", station=STATION), 202)
        assert rental["power_bank"] == kept["power_bank"]
        over = rider.http.post(f"{RENTAL}/reservation/{kept['id']}/cancel")
        assert (over.status_code, over.json()["code"]) == (409, "reservation_over")


def test_a_start_by_card_answers_402_with_a_payment(city: Live) -> None:
    with signed_in(city) as rider:
        key = uuid4().hex
        asked = post(rider, "/start", key, station=STATION, pay="card")
        assert (asked.status_code, asked.headers["Content-Type"]) == (402, "application/problem+json")
        intent = asked.json()["intent"]
        assert (asked.json()["code"], intent["amount"]["amount_minor"]) == ("payment_required", 500)
        assert post(rider, "/start", key, station=STATION, pay="card").json() == asked.json()
        found = done(rider.http.get(f"/api/v1/payment/intent/{intent['id']}"))
        assert (found["state"], found["purpose"]) == ("requires_confirmation", "rental")
        assert wallet(rider) == (0, 0)
    books_are_right(city)


def test_what_phones_poll_is_sent_again_when_it_is_another(city: Live) -> None:
    """The rental, the wallet and the payment that a rider waits for have entity tags, each rider's own."""
    with signed_in(city) as rider, signed_in(city) as other:
        give_money(city, rider)
        asked = post(rider, "/start", station=STATION, pay="card").json()["intent"]["id"]
        rental = done(post(rider, "/start", station=STATION), 202)["id"]
        polled = (
            f"{RENTAL}/current",
            f"{RENTAL}/{rental}",
            "/api/v1/payment/wallet",
            f"/api/v1/payment/intent/{asked}",
        )
        tags = {path: rider.http.get(path).headers["ETag"] for path in polled}
        for path, tag in tags.items():
            same = rider.http.get(path, headers={"If-None-Match": tag})
            assert (same.status_code, same.content) == (304, b""), path
        assert other.http.get(polled[0], headers={"If-None-Match": tags[polled[0]]}).status_code == 200
        assert other.http.get(polled[1], headers={"If-None-Match": tags[polled[1]]}).status_code == 404
        for _ in range(2):  # another slot is tried once; then it is over, and nothing is held
            Cabinet(city).refuses(UUID(rental))
        assert rider.http.post(f"/api/v1/payment/intent/{asked}/cancel", headers={"Idempotency-Key": "x"}).is_success
        for path, tag in tags.items():
            assert rider.http.get(path, headers={"If-None-Match": tag}).status_code == 200, path


def save_card(person: Person, card: str) -> str:
    saved = person.http.post("/api/v1/payment/method", json={"token": card}, headers={"Idempotency-Key": uuid4().hex})
    method: str = done(saved, 201)["id"]
    return method


def charges(live: Live) -> int:
    """How often the card company was asked for money."""
    with session_scope(live.engine) as session:
        return session.scalar(select(func.count()).select_from(SandboxCharge)) or 0


def card_company_is_asked(live: Live) -> None:
    """What the job does with payments of which nobody knows."""
    provider = live.server.runtime.provider
    assert janitor.settle_unknown(lambda: session_scope(live.engine), provider, utc_now() + MINUTE) == 1


def test_a_saved_card_starts_a_rental_in_one_request(city: Live) -> None:
    with signed_in(city) as rider, signed_in(city) as other:
        wanted = {"station": STATION, "pay": "card", "method_id": save_card(rider, Card.SUCCEEDS)}
        key = uuid4().hex
        rental = done(post(rider, "/start", key, **wanted), 202)
        assert (rental["pay"], wallet(rider)) == ("card", (0, 0))
        again = post(rider, "/start", key, **wanted)
        assert (done(again, 202), again.headers["Idempotency-Replayed"], charges(city)) == (rental, "true", 1)
        Cabinet(city).ejects(UUID(rental["id"]))
        assert done(rider.http.get(f"{RENTAL}/current"))["items"][0]["state"] == "active"
        assert post(other, "/start", **wanted).status_code == 404, "somebody else's card"
        assert post(rider, "/start", station=STATION, method_id=wanted["method_id"]).status_code == 422
    books_are_right(city)


def test_one_start_by_a_saved_card_sent_many_times_at_once(city: Live) -> None:
    """Some may be told to ask again, while the card is asked; whoever asks then finds the one rental."""
    with signed_in(city) as rider:
        wanted = {"station": STATION, "pay": "card", "method_id": save_card(rider, Card.SUCCEEDS)}
        key = uuid4().hex
        answers = together(8, lambda _: post(rider, "/start", key, **wanted))
        statuses = {each.status_code for each in answers if isinstance(each, httpx.Response)}
        assert (len(answers), statuses - {202, 402}) == (8, set()), answers
        rental = done(post(rider, "/start", key, **wanted), 202)
        assert [each["id"] for each in done(rider.http.get(f"{RENTAL}/history"))["items"]] == [rental["id"]]
        assert charges(city) == 1
    books_are_right(city)


def test_a_start_whose_card_did_not_answer_goes_on_with_its_key(city: Live) -> None:
    """As when the process that asked has died: the card is asked no second time, and there is one rental."""
    with signed_in(city) as rider:
        wanted = {"station": STATION, "pay": "card", "method_id": save_card(rider, Card.TIMEOUT_CHARGED)}
        key = uuid4().hex
        first = post(rider, "/start", key, **wanted)
        assert (first.status_code, first.json()["intent"]["state"]) == (402, "unknown")
        assert post(rider, "/start", key, **wanted).json()["intent"]["state"] == "unknown"
        card_company_is_asked(city)
        rental = done(post(rider, "/start", key, **wanted), 202)
        assert done(post(rider, "/start", key, **wanted), 202) == rental
        intent = done(rider.http.get(f"/api/v1/payment/intent/{first.json()['intent']['id']}"))
        assert (intent["state"], intent["rental_id"], charges(city)) == ("authorized", rental["id"], 1)


def test_a_start_that_is_refused_when_the_money_is_there_gives_it_back(city: Live) -> None:
    with signed_in(city) as rider, operator(city) as boss:
        wanted = {"station": STATION, "pay": "card", "method_id": save_card(rider, Card.TIMEOUT_CHARGED)}
        key = uuid4().hex
        intent = post(rider, "/start", key, **wanted).json()["intent"]["id"]
        card_company_is_asked(city)
        body = {"on": True, "reason": "it rains in"}
        done(boss.http.post(f"/api/v1/admin/station/{STATION}/maintenance", json=body))
        for _ in range(2):
            refused = post(rider, "/start", key, **wanted)
            assert (refused.status_code, refused.json()["code"]) == (409, "station_not_renting")
            assert refused.headers["Content-Type"] == "application/problem+json"
        with session_scope(city.engine) as session:
            assert session.get_one(PaymentIntent, UUID(intent)).settle_minor == 0
        assert done(rider.http.get(f"{RENTAL}/history"))["items"] == []
