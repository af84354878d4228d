"""Subscriptions over HTTP: an operator offers a plan, a rider has it, rents with it, and leaves."""

from typing import Any
from uuid import uuid4

from tests.api.conftest import Live
from tests.api.people import Person, operator, signed_in
from tests.api.world import Cabinet, add_station, add_tariff, give_money

PLAN = {
    "code": "commuter", "name": "Commuter", "price_minor": 900, "currency": "EUR", "period_unit": "month",
    "free_minutes_per_day": 60, "free_minutes_per_rental": 30, "discount_basis_points": 1000,
}  # fmt: skip


def key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def offer(someone: Person, **changes: Any) -> dict[str, Any]:
    answer = someone.http.post("/api/v1/admin/subscription/plan", json={**PLAN, **changes})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def leave(desk: Person, rider: Person, subscription_id: str) -> None:
    """The rider cancels and thinks better of it; the operator ends it."""
    cancelled = rider.http.post("/api/v1/subscription/cancel").json()
    assert (cancelled["state"], cancelled["cancel_at_period_end"]) == ("active", True)
    assert rider.http.post("/api/v1/subscription/resume").json()["cancel_at_period_end"] is False
    listed = desk.http.get("/api/v1/admin/subscription", params={"state": "active"}).json()["items"]
    assert [each["id"] for each in listed] == [subscription_id]
    path = f"/api/v1/admin/subscription/{subscription_id}"
    assert desk.http.get(path).json()["state"] == "active"
    ended = desk.http.post(f"{path}/cancel", json={"giveback": "all", "reason": "the station is gone"}, headers=key())
    assert ended.status_code == 200, ended.text
    assert ended.json()["refunded"]["amount_minor"] == 900
    assert rider.http.get("/api/v1/subscription").json()["state"] == "cancelled"


def test_a_rider_subscribes_rents_and_leaves(live: Live) -> None:
    add_station(live)
    add_tariff(live)
    with operator(live) as desk, signed_in(live) as rider:
        offer(desk)
        give_money(live, rider, 2000)
        assert [each["code"] for each in rider.http.get("/api/v1/subscription/plans").json()["items"]] == ["commuter"]
        assert rider.http.get("/api/v1/subscription").status_code == 404

        headers = key()
        made = rider.http.post("/api/v1/subscription", json={"plan": "commuter"}, headers=headers)
        assert made.status_code == 201, made.text
        again = rider.http.post("/api/v1/subscription", json={"plan": "commuter"}, headers=headers)
        assert (again.status_code, again.json()) == (201, made.json())
        second = rider.http.post("/api/v1/subscription", json={"plan": "commuter"}, headers=key())
        assert (second.status_code, second.json()["code"]) == (409, "already_subscribed")
        mine = rider.http.get("/api/v1/subscription").json()
        assert (mine["state"], mine["benefits"], mine["free_seconds_left"]) == ("active", True, 1800)
        paid = rider.http.get("/api/v1/subscription/invoices").json()["items"]
        assert [(each["state"], each["price"]["amount_minor"]) for each in paid] == [("paid", 900)]
        invoice = rider.http.get(f"/api/v1/payment/invoice/{paid[0]['invoice_id']}").json()
        assert invoice["total"]["amount_minor"] == 900
        assert invoice["lines"][0]["text"].startswith("Commuter: ")

        quote = rider.http.post("/api/v1/rental/quote", json={"station": "ZRH-0001", "minutes": 60}).json()
        texts = [line["text"] for line in quote["price"]["lines"] if line["kind"] == "adjustment"]
        assert texts == ["Commuter: up to 30 min free", "Commuter: 10 % off"]
        rental = rider.http.post("/api/v1/rental/start", json={"station": "ZRH-0001"}, headers=key()).json()
        cabinet = Cabinet(live)
        cabinet.ejects(rental["id"])
        assert rider.http.get("/api/v1/subscription").json()["free_seconds_left"] == 1800
        price = rider.http.get(f"/api/v1/rental/{rental['id']}/price").json()
        assert "Commuter: up to 30 min free" in [line["text"] for line in price["lines"]]

        leave(desk, rider, mine["id"])


def test_without_money_it_is_402_and_nothing_is_bought(live: Live) -> None:
    with operator(live) as desk, signed_in(live) as rider:
        offer(desk)
        refused = rider.http.post("/api/v1/subscription", json={"plan": "commuter"}, headers=key())
        assert (refused.status_code, refused.json()["code"]) == (402, "subscription_not_paid")
        assert refused.json()["reason"] == "no_payment_method"
        saved = rider.http.post("/api/v1/payment/method", json={"token": "4242424242424242"}, headers=key()).json()
        body = {"plan": "commuter", "method_id": saved["id"]}
        made = rider.http.post("/api/v1/subscription", json=body, headers=key())
        assert (made.status_code, made.json()["state"]) == (201, "active")
        assert made.json()["payment"]["state"] == "succeeded"


def test_plans_are_versions_and_riders_are_not_operators(live: Live) -> None:
    with operator(live) as desk, signed_in(live) as rider:
        offer(desk)
        twice = desk.http.post("/api/v1/admin/subscription/plan", json=PLAN)
        assert (twice.status_code, twice.json()["code"]) == (409, "subscription_plan_exists")
        edit = {name: value for name, value in PLAN.items() if name != "code"}
        path = "/api/v1/admin/subscription/plan/commuter"
        newer = desk.http.post(f"{path}/version", json={**edit, "price_minor": 1000, "version": 1})
        assert (newer.status_code, newer.json()["version"]) == (201, 2)
        late = desk.http.post(f"{path}/version", json={**edit, "version": 1})
        assert (late.status_code, late.json()["code"]) == (409, "subscription_plan_changed")
        nothing = {**PLAN, "code": "empty", "free_minutes_per_day": None, "free_minutes_per_rental": None}
        empty = desk.http.post("/api/v1/admin/subscription/plan", json={**nothing, "discount_basis_points": 0})
        assert (empty.status_code, empty.json()["field"]) == (422, "discount_bp")
        gift = {"user_id": str(rider.user.id), "plan": "commuter", "reason": "two bad rentals"}
        given = desk.http.post("/api/v1/admin/subscription", json=gift, headers=key())
        assert (given.status_code, given.json()["cancel_at_period_end"]) == (201, True)
        assert rider.http.post("/api/v1/subscription/pay", json={}, headers=key()).status_code == 409
        assert desk.http.post(f"{path}/retire").json()["retired_at"] is not None
        assert rider.http.get("/api/v1/subscription/plans").json()["items"] == []
        assert rider.http.get("/api/v1/admin/subscription").status_code == 403
        listed = desk.http.get("/api/v1/admin/subscription/plan").json()["items"]
        assert [each["version"] for each in listed] == [2, 1]
