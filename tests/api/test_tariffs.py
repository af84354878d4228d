"""Operators' tariffs, venues and taxes, and what a rider is shown of them."""

from typing import Any
from uuid import uuid4

import httpx

from fleet.common.models import Country
from fleet.db import session_scope
from tests.api.conftest import Live
from tests.api.people import Person, operator, signed_in
from tests.api.test_admin import acts
from tests.api.world import Cabinet, add_station, give_money

ADMIN = "/api/v1/admin"
TERMS: dict[str, Any] = {
    "currency": "EUR", "unlock_minor": 100, "interval_minor": 50, "interval_minutes": 30, "daily_cap_minor": 1000,
    "total_cap_minor": 3000, "hold_minor": 500, "overdue_after_minutes": 2880,
    "late": {"multiplier_bp": 20000, "hourly_minor": 30, "daily_cap_minor": 400},
}  # fmt: skip
EXAMPLE = {**TERMS, "daily_cap_minor": 0, "total_cap_minor": 9000}


def done(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def add_switzerland(live: Live) -> None:
    with session_scope(live.engine) as session:
        session.add(
            Country(iso_code="CH", name="Switzerland", dial_code="+41", currency="CHF", locale="de", time_zone="x")
        )


def price_of(rider: Person, minutes: int) -> dict[str, Any]:
    found = done(rider.http.post("/api/v1/rental/quote", json={"station": "ZRH-0001", "minutes": minutes}))
    price: dict[str, Any] = found["price"]
    assert sum(line["amount"]["amount_minor"] for line in price["lines"]) == price["total"]["amount_minor"]
    return price


def test_a_tariff_from_its_making_to_a_riders_receipt(live: Live) -> None:
    add_switzerland(live)
    add_station(live)
    with operator(live) as boss, signed_in(live) as rider:
        give_money(live, rider)
        done(boss.http.put(f"{ADMIN}/venue/HB", json={"name": "Main station", "country": "CH"}))
        done(boss.http.put(f"{ADMIN}/station/ZRH-0001/venue", json={"venue": "HB"}))
        done(boss.http.patch(f"{ADMIN}/station/ZRH-0001", json={"country": "CH"}))
        done(boss.http.put(f"{ADMIN}/tax-rate/CH", json={"name": "MWST", "basis_points": 810}))
        everywhere = done(boss.http.post(f"{ADMIN}/tariff", json={"name": "everywhere", **TERMS}), 201)
        at_venue = {"name": "at the station", "scope": {"venue": "HB"}, **TERMS, "unlock_minor": 200}
        first = done(boss.http.post(f"{ADMIN}/tariff", json=at_venue), 201)
        assert (first["version"], first["scope"][:6]) == (1, "venue:")
        again = boss.http.post(f"{ADMIN}/tariff", json=at_venue)
        assert (again.status_code, again.json()["code"]) == (409, "tariff_overlap")
        assert done(boss.http.get(f"{ADMIN}/station/ZRH-0001/tariff"))["id"] == first["id"] != everywhere["id"]

        quoted = price_of(rider, 60)
        assert (quoted["total"]["amount_minor"], quoted["tax"]["amount_minor"]) == (300, 22)
        assert quoted["lines"][-1]["text"] == "Contains 8.1 % MWST: 0.22 EUR"
        started = rider.http.post(
            "/api/v1/rental/start", json={"station": "ZRH-0001"}, headers={"Idempotency-Key": uuid4().hex}
        )
        rental = done(started, 202)
        cabinet = Cabinet(live)
        cabinet.ejects(rental["id"])

        revised = {**TERMS, "unlock_minor": 900}
        path = f"{ADMIN}/tariff/{first['id']}/version"
        second = done(boss.http.post(path, json=revised), 201)
        assert (second["version"], second["series_id"]) == (2, first["series_id"])
        stale = boss.http.post(path, json=revised)
        assert (stale.status_code, stale.json()["code"]) == (409, "tariff_revised")
        assert price_of(rider, 60)["total"]["amount_minor"] == 1000
        running = done(rider.http.get(f"/api/v1/rental/{rental['id']}/price"))
        assert (running["total"]["amount_minor"], running["final"]) == (250, False)

        cabinet.takes_back(2, rental["power_bank"])
        final = done(rider.http.get(f"/api/v1/rental/{rental['id']}/price"))
        assert (final["total"]["amount_minor"], final["tax"]["amount_minor"], final["final"]) == (250, 19, True)
        assert [line["kind"] for line in final["lines"]] == ["unlock", "usage", "tax"]
        invoices = done(rider.http.get("/api/v1/payment/invoice", params={"rental_id": rental["id"]}))["items"]
        assert [(each["total"]["amount_minor"], each["tax"]["amount_minor"]) for each in invoices] == [(250, 19)]
        assert [line["kind"] for line in invoices[0]["lines"]] == ["unlock", "usage", "tax"]
        assert done(rider.http.get("/api/v1/payment/invoice"))["items"] == invoices
        assert done(rider.http.get(f"/api/v1/payment/invoice/{invoices[0]['id']}")) == invoices[0]
        with signed_in(live) as somebody:
            assert somebody.http.get(f"/api/v1/payment/invoice/{invoices[0]['id']}").status_code == 404
        done(boss.http.post(f"{ADMIN}/tariff/{second['id']}/end", json={}))
        assert price_of(rider, 60)["total"]["amount_minor"] == 200
        listed = done(boss.http.get(f"{ADMIN}/tariff", params={"series_id": first["series_id"]}))["items"]
        assert [(each["version"], each["terms"]["unlock_minor"]) for each in listed] == [(2, 900), (1, 200)]
    assert [act for act in acts(live) if act.startswith(("tariff", "tax", "venue"))] == [
        "venue.put", "tax_rate.set", "tariff.create", "tariff.create", "tariff.revise", "tariff.end",
    ]  # fmt: skip


def test_trying_a_configuration_changes_nothing(live: Live) -> None:
    example = {"started_at": "2026-11-23T12:00:00Z", "minutes": 3000, "terms": EXAMPLE}
    with operator(live) as boss:

        def attempt(**more: Any) -> Any:
            return done(boss.http.post(f"{ADMIN}/tariff/try", json=example | more))

        found = attempt()
        # Two hours late: four half hours cost as much again, and 0.30 per hour begun.
        assert found["late_fee"]["amount_minor"] == 260
        assert found["price"]["total"]["amount_minor"] == 100 + 100 * 50 + 260
        assert found["overdue_at"] == "2026-11-25T12:00:00.000Z"
        cheaper = attempt(late={"hourly_minor": 10})
        assert cheaper["late_fee"]["amount_minor"] == 20
        in_time = attempt(paused=[{"begins": "2026-11-23T13:00:00Z", "ends": "2026-11-23T16:00:00Z"}])
        assert in_time["late_fee"]["amount_minor"] == 0
        assert in_time["overdue_at"] == "2026-11-25T15:00:00.000Z"
        packaged = attempt(minutes=60, prepaid=[{"minutes": 120, "price_minor": 150}])
        assert packaged["price"]["total"]["amount_minor"] == 150
        for wrong in (
            {"time_zone": "Mars/Olympus"},
            {"tariff_id": str(uuid4())},
            {"terms": {**EXAMPLE, "buyout_after_minutes": 5}},
            {"minutes": -1},
        ):
            refused = boss.http.post(f"{ADMIN}/tariff/try", json=example | wrong)
            assert refused.status_code == 422, refused.text
        assert done(boss.http.get(f"{ADMIN}/tariff"))["items"] == []
    assert acts(live) == []
