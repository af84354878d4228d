"""Debts and points over HTTP: a rider is told what they owe, pays it, and rents again; operators give one up."""

from uuid import UUID, uuid4

from tests.api.conftest import Live, Serve
from tests.api.people import operator, signed_in
from tests.api.test_payment_methods import save
from tests.api.test_payments import SOMEBODYS, keyed
from tests.api.test_rentals import owe, start
from tests.api.world import Cabinet, add_station, add_tariff, give_money

PATH = "/api/v1/payment/debts"


def test_a_rider_owes_pays_and_rents_again(live: Live) -> None:
    add_station(live)
    add_tariff(live)
    with signed_in(live) as person, signed_in(live) as other:
        owe(live, person)
        refused = start(person)
        told = refused.json()
        assert (refused.status_code, told["code"], told["due_minor"], told["pay_at"]) == (409, "money_owed", 100, PATH)
        (debt,) = person.http.get(PATH, params={"state": "open"}).json()["items"]
        assert (debt["open"], debt["state"]) == ({"amount_minor": 100, "currency": "EUR"}, "open")
        assert debt["try_at"] is not None
        assert 'voltbay_debts_open_minor{currency="EUR"} 100.0' in live.client.get("/metrics").text
        path = f"{PATH}/{debt['id']}"
        assert other.http.get(PATH).json()["items"] == []
        for answer in (other.http.get(path), other.http.post(f"{path}/pay", json={}, headers=keyed())):
            assert (answer.status_code, answer.json()["code"]) == (404, "debt_not_found")
        empty = person.http.post(f"{path}/pay", json={}, headers=keyed())
        assert (empty.status_code, empty.json()["code"]) == (402, "insufficient_funds")
        give_money(live, person, 30)
        part = person.http.post(f"{path}/pay", json={}, headers=keyed()).json()
        assert (part["debt"]["open"]["amount_minor"], part["intent"]) == (70, None)
        both = {"card": "4242424242424242", "method_id": SOMEBODYS}
        assert person.http.post(f"{path}/pay", json=both, headers=keyed()).status_code == 422
        body, key = {"method_id": save(person).json()["id"]}, uuid4().hex
        paid, again = (person.http.post(f"{path}/pay", json=body, headers=keyed(key)) for _ in range(2))
        assert (paid.status_code, again.json()) == (200, paid.json())
        assert (paid.json()["debt"]["state"], paid.json()["intent"]["state"]) == ("paid", "succeeded")
        assert paid.json()["intent"]["purpose"] == "debt"
        (tried,) = person.http.get(path).json()["tries"]
        assert (tried["outcome"], tried["by_rider"], tried["amount"]["amount_minor"]) == ("succeeded", True, 70)
        give_money(live, person, 500)
        assert start(person).status_code == 202


def test_two_operators_give_a_large_debt_up(serve: Serve) -> None:
    live = serve(adjustment_limits={"EUR": 99})
    add_station(live)
    add_tariff(live)
    with signed_in(live) as person, operator(live) as boss, operator(live) as other:
        owe(live, person)
        (debt,) = boss.http.get("/api/v1/admin/debt", params={"user_id": str(person.user.id)}).json()["items"]
        path, body = f"/api/v1/admin/debt/{debt['id']}/write-off", {"reason": "not to be had"}
        assert person.http.post(path, json=body, headers=keyed()).status_code == 403
        asked = boss.http.post(path, json=body, headers=keyed()).json()
        assert (asked["state"], asked["amount"]["amount_minor"]) == ("pending", 100)
        agree = f"/api/v1/admin/debt-write-off/{asked['id']}/approve"
        own = boss.http.post(agree, json={}, headers=keyed())
        assert (own.status_code, own.json()["code"]) == (403, "second_person_needed")
        assert other.http.post(agree, json={}, headers=keyed()).json()["state"] == "applied"
        shown = boss.http.get(f"/api/v1/admin/debt/{debt['id']}").json()["debt"]
        assert (shown["state"], shown["written_off"]["amount_minor"]) == ("written_off", 100)
        listed = boss.http.get("/api/v1/admin/debt-write-off", params={"state": "applied"}).json()["items"]
        assert [row["id"] for row in listed] == [asked["id"]]
        give_money(live, person, 500)
        assert start(person).status_code == 202


def test_a_write_off_is_refused(serve: Serve) -> None:
    live = serve(adjustment_limits={"EUR": 99})
    add_station(live)
    add_tariff(live)
    with signed_in(live) as person, operator(live) as boss:
        owe(live, person)
        (debt,) = boss.http.get("/api/v1/admin/debt").json()["items"]
        asked = boss.http.post(
            f"/api/v1/admin/debt/{debt['id']}/write-off", json={"reason": "not to be had"}, headers=keyed()
        ).json()
        refused = boss.http.post(f"/api/v1/admin/debt-write-off/{asked['id']}/reject", json={"note": "they can pay"})
        assert (refused.status_code, refused.json()["state"]) == (200, "rejected")
        assert start(person).json()["code"] == "money_owed"


def test_points_and_wallet_pay_a_rental_together(live: Live) -> None:
    add_station(live)
    add_tariff(live)
    with signed_in(live) as person, operator(live) as boss:
        give_money(live, person, 500)
        gift = {"amount_minor": 120, "currency": "EUR", "reason": "goodwill", "account": "bonus"}
        adjust = f"/api/v1/admin/user/{person.user.id}/wallet/adjust"
        assert boss.http.post(adjust, json=gift, headers=keyed()).json()["adjustment"]["state"] == "applied"
        have = person.http.get("/api/v1/payment/points").json()
        assert (have["available"]["amount_minor"], have["points"]) == (120, 12)
        body = {"station": "ZRH-0001", "pay": "split", "points_minor": 110}
        quote = person.http.post("/api/v1/rental/quote", json=body).json()
        held = {purse: money["amount_minor"] for purse, money in quote["holds"].items()}
        assert (held, quote["can_start"]) == ({"points": 110, "wallet": 390, "card": 0}, True)
        odd = {"station": "ZRH-0001", "pay": "wallet", "points_minor": 110}
        assert person.http.post("/api/v1/rental/start", json=odd, headers=keyed()).status_code == 422
        rental = person.http.post("/api/v1/rental/start", json=body, headers=keyed()).json()
        assert rental["pay"] == "split"
        cabinet = Cabinet(live)
        cabinet.ejects(UUID(rental["id"]))
        cabinet.takes_back(4, rental["power_bank"])
        path = f"/api/v1/rental/{rental['id']}"
        done = person.http.get(path).json()
        assert (done["state"], done["charged"]["amount_minor"], done["billing_paused"]) == ("completed", 150, False)
        paid = person.http.get(f"{path}/receipt").json()["paid_by"]
        assert [(each["purse"], each["amount"]["amount_minor"]) for each in paid] == [("points", 110), ("wallet", 40)]
        left = person.http.get("/api/v1/payment/points").json()
        assert (left["available"]["amount_minor"], left["held"]["amount_minor"], left["points"]) == (10, 0, 1)
        assert person.http.get("/api/v1/payment/wallet").json()["available"]["amount_minor"] == 460
