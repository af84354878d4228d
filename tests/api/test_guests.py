"""Riders without an account, over HTTP: what they may do, what they may not, and how they get an account."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import pytest

from api.limits import rules_for
from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.payments import janitor
from fleet.payments.providers.sandbox import Card
from fleet.rentals.closing import dues, guests
from fleet.rentals.models import Rental
from fleet.rentals.starts import by_card
from tests.api.conftest import Live, Serve
from tests.api.people import operator, signed_in
from tests.api.test_rental_life import STATION
from tests.api.test_tariffs import done
from tests.api.test_users import ask, code_for
from tests.api.world import Cabinet, add_station, add_tariff
from tests.plain_http import NO_TLS

API = "/api/v1"
MAIL = "guest@example.com"
#: Part of the names of tests, which two workers must find alike.
_NOBODYS: Final = "01a2178b-f3ea-7590-8ff4-b620e04afab2"


@dataclass
class Guest:
    live: Live
    id: UUID
    http: httpx.Client

    def post(self, path: str, body: object = None) -> httpx.Response:
        return self.http.post(f"{API}{path}", json=body or {}, headers={"Idempotency-Key": uuid4().hex})

    def ask(self) -> str:
        """The payment that a start answers with."""
        asked = done(self.post("/rental/start", {"station": STATION, "pay": "card"}), 402)
        intent: str = asked["intent"]["id"]
        return intent

    def start(self) -> UUID:
        """402, the card, and what the worker does then."""
        intent = self.ask()
        paid = done(self.post(f"/payment/intent/{intent}/confirm", {"card": Card.SUCCEEDS}))
        assert paid["state"] == "authorized"
        with session_scope(self.live.engine) as session:
            rental = by_card.start_paid(session, UUID(intent), utc_now(), self.live.server.runtime.policy).rental
            assert rental is not None
            return rental.id

    def card_pays(self, rental_id: UUID) -> None:
        """What the workers do when it is over."""
        now, engine = utc_now(), self.live.engine
        with session_scope(engine) as session:
            intent = session.get_one(Rental, rental_id).intent_id
            assert intent is not None
        janitor.carry_out(lambda: session_scope(engine), intent, self.live.server.runtime.provider, now)
        with session_scope(engine) as session:
            dues.collect_dues(session, self.id, now)
            guests.give_back(session, self.id, now)


@contextmanager
def guest_of(live: Live, **said: str) -> Iterator[Guest]:
    welcomed = done(live.client.post(f"{API}/user/guest", json=said), 201)
    assert (welcomed["new"], welcomed["user"]["guest"]) == (True, True)
    headers = {"Authorization": f"Bearer {welcomed['access_token']}"}
    with httpx.Client(base_url=live.url, headers=headers, timeout=40, verify=NO_TLS) as http:
        yield Guest(live, UUID(welcomed["user"]["id"]), http)


@pytest.fixture
def city(live: Live) -> Live:
    add_tariff(live)
    add_station(live, charges=(90, 70))
    return live


def test_a_guest_rents_by_card_and_has_the_receipt(city: Live) -> None:
    with guest_of(city, locale="de-CH") as guest:
        me = done(guest.http.get(f"{API}/user/me"))
        assert (me["guest"], me["email"], me["phone"], me["locale"]) == (True, None, None, "de-CH")
        quoted = done(guest.post("/rental/quote", {"station": STATION, "pay": "card"}))
        assert (quoted["can_start"], quoted["reason"]) == (True, None)
        rental_id, cabinet = guest.start(), Cabinet(city)
        cabinet.ejects(rental_id)
        rental = done(guest.http.get(f"{API}/rental/{rental_id}"))
        assert rental["state"] == "active"
        (card,) = done(guest.http.get(f"{API}/payment/method"))["items"]
        kept = guest.http.delete(f"{API}/payment/method/{card['id']}")
        assert (kept.status_code, kept.json()["code"]) == (409, "payment_method_in_use")
        cabinet.takes_back(4, rental["power_bank"])
        guest.card_pays(rental_id)
        receipt = done(guest.http.get(f"{API}/rental/{rental_id}/receipt"))
        assert (receipt["total"]["amount_minor"], receipt["due"]["amount_minor"]) == (150, 0)
        assert [(each["purse"], each["amount"]["amount_minor"]) for each in receipt["paid_by"]] == [("card", 150)]
        assert guest.http.delete(f"{API}/payment/method/{card['id']}").status_code == 204


def test_a_payment_that_is_confirmed_ten_times_at_once_keeps_one_card(city: Live) -> None:
    with guest_of(city) as guest:
        intent, key = guest.ask(), {"Idempotency-Key": uuid4().hex}

        def confirm(_: int) -> httpx.Response:
            path = f"{API}/payment/intent/{intent}/confirm"
            return guest.http.post(path, json={"card": Card.SUCCEEDS}, headers=key)

        with ThreadPoolExecutor(10) as pool:
            assert {answer.status_code for answer in pool.map(confirm, range(10))} == {200}
        assert len(guest.http.get(f"{API}/payment/method").json()["items"]) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rental/start", {"station": STATION}),
        ("/rental/start", {"station": STATION, "pay": "points"}),
        ("/rental/reservation", {"station": STATION}),
        (f"/rental/{_NOBODYS}/extend", {"package": _NOBODYS}),
        ("/payment/top-up", {"amount_minor": 1000, "currency": "EUR"}),
        ("/payment/withdrawal", {"amount_minor": 1000, "currency": "EUR", "method_id": _NOBODYS}),
        ("/payment/payout-account", {}),
        ("/subscription", {"plan": _NOBODYS}),
    ],
)
def test_all_that_takes_an_account_says_so_and_where(city: Live, path: str, body: dict[str, Any]) -> None:
    with guest_of(city) as guest:
        refused = guest.post(path, body)
        assert (refused.status_code, refused.json()["code"]) == (403, "account_needed"), refused.text
        assert refused.json()["sign_up_at"] == f"{API}/user/guest/verify"


def test_a_guest_with_an_address_is_the_same_user_with_an_account(city: Live) -> None:
    with guest_of(city) as guest, signed_in(city) as stranger:
        rental_id = guest.start()
        ask(city, MAIL)
        code = code_for(city, MAIL)
        wrong = guest.post("/user/guest/verify", {"email": MAIL, "code": f"{(int(code) + 1) % 10**6:06d}"})
        assert (wrong.status_code, wrong.json()["code"]) == (401, "code_refused")
        other = stranger.http.post(f"{API}/user/guest/verify", json={"email": MAIL, "code": code})
        assert (other.status_code, other.json()["code"]) == (409, "not_a_guest")
        account = done(guest.post("/user/guest/verify", {"email": MAIL, "code": code}))
        assert (UUID(account["user"]["id"]), account["user"]["email"], account["user"]["guest"]) == (
            guest.id, MAIL, False,
        )  # fmt: skip
        assert guest.http.get(f"{API}/user/me").status_code == 401, "the guest's tokens have ended"
        guest.http.headers["Authorization"] = f"Bearer {account['access_token']}"
        assert done(guest.http.get(f"{API}/rental/{rental_id}"))["id"] == str(rental_id)
        assert done(guest.post("/payment/top-up", {"amount_minor": 1000, "currency": "EUR"}), 201)["state"]


def test_an_address_with_an_account_is_not_attached_but_signs_in(city: Live) -> None:
    with guest_of(city) as guest, signed_in(city) as owner:
        mail = owner.user.email or ""
        ask(city, mail)
        code = code_for(city, mail)
        taken = guest.post("/user/guest/verify", {"email": mail, "code": code})
        assert (taken.status_code, taken.json()["code"], taken.json()["sign_in_at"]) == (
            409, "destination_taken", f"{API}/user/auth/verify",
        )  # fmt: skip
        assert done(guest.http.get(f"{API}/user/me"))["guest"]
        signed = done(city.client.post(f"{API}/user/auth/verify", json={"email": mail, "code": code}))
        assert (UUID(signed["user"]["id"]), signed["new"]) == (owner.user.id, False)


def test_operators_see_that_it_is_a_guest(city: Live) -> None:
    with guest_of(city) as guest, operator(city) as boss:
        rental_id = guest.start()
        shown = done(boss.http.get(f"{API}/admin/user/{guest.id}"))
        assert (shown["guest"], shown["open_rentals"]) == (True, [str(rental_id)])
        assert not done(boss.http.get(f"{API}/admin/user/{boss.user.id}"))["guest"]
        trail = done(boss.http.get(f"{API}/admin/rental/{rental_id}/trace"))["entries"]
        (request,) = [each for each in trail if each["kind"] == "request"]
        assert (request["detail"]["user_id"], request["detail"]["guest"]) == (str(guest.id), True)
        suspended = boss.http.post(
            f"{API}/admin/user/{guest.id}/status", json={"status": "suspended", "reason": "stolen card"}
        )
        assert suspended.status_code == 200
        assert guest.http.get(f"{API}/user/me").status_code == 403


def test_where_guests_are_not_wanted(serve: Serve) -> None:
    live = serve(guests_allowed=False)
    assert done(live.client.get(f"{API}/config/public"))["guests_allowed"] is False
    refused = live.client.post(f"{API}/user/guest", json={})
    assert (refused.status_code, refused.json()["code"], refused.json()["sign_up_at"]) == (
        403, "guests_not_allowed", f"{API}/user/auth/code",
    )  # fmt: skip


def test_guests_are_not_made_by_the_thousand() -> None:
    (rule,) = [each for each in rules_for("POST", f"{API}/user/guest", signed_in=False) if each.name == "guest"]
    assert (rule.per, rule.limit, rule.window_s) == ("address", 60, 3600)
    cards = f"{API}/payment/intent/{uuid4()}/confirm"
    assert "card" in {each.name for each in rules_for("POST", cards, signed_in=True)}
    assert "auth-verify" in {each.name for each in rules_for("POST", f"{API}/user/guest/verify", signed_in=True)}
