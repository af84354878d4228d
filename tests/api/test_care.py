"""What riders report of their rentals and what operators put right, over HTTP."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from firmware_protocol.messages import PowerBankEjected
from fleet.common.clock import utc_now
from tests.api.conftest import Live
from tests.api.people import Person, operator, signed_in
from tests.api.world import Cabinet, add_station, add_tariff, give_money

ADMIN = "/api/v1/admin"
RENTAL = "/api/v1/rental"


def keyed() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def rent(live: Live, rider: Person) -> tuple[str, Cabinet]:
    """The id of a rental whose bank is out of slot 1 of ZRH-0001, and that cabinet."""
    add_station(live)
    add_tariff(live)
    give_money(live, rider)
    started: dict[str, Any] = rider.http.post(f"{RENTAL}/start", json={"station": "ZRH-0001"}, headers=keyed()).json()
    cabinet = Cabinet(live)
    cabinet.ejects(UUID(started["id"]))
    return str(started["id"]), cabinet


def test_an_operator_puts_a_rental_right_once(live: Live) -> None:
    with signed_in(live) as rider, operator(live) as boss:
        rental_id, _ = rent(live, rider)
        rental = f"{ADMIN}/rental/{rental_id}"
        paused = boss.http.post(f"{rental}/pause-billing", json={"reason": "under way"}, headers=keyed())
        assert paused.status_code == 200
        assert boss.http.post(f"{rental}/resume-billing", json={"reason": "done"}, headers=keyed()).status_code == 200
        body = {"station": "ZRH-0001", "slot": 3, "reason": "seen in the slot"}
        key = keyed()
        first, again = (boss.http.post(f"{rental}/force-complete", json=body, headers=key) for _ in range(2))
        assert (first.status_code, first.json()["state"], first.json()["slot_in"]) == (200, "completed", 3)
        assert (again.json(), again.headers["Idempotency-Replayed"]) == (first.json(), "true")
        wrong = boss.http.post(f"{rental}/force-cancel", json={"reason": "wrong click"}, headers=keyed())
        assert (wrong.status_code, wrong.json()["code"]) == (409, "rental_not_open")
        half = boss.http.post(f"{rental}/force-cancel", json={"station": "X", "reason": "half"}, headers=keyed())
        assert half.status_code == 422
        slots = boss.http.get(f"{ADMIN}/station/ZRH-0001").json()["slot_list"]
        assert [slot["serial"] for slot in slots] == [None, None, "ZRH-0001-B1", None]
        entries = boss.http.get(f"{rental}/trace").json()["entries"]
        assert [entry["summary"] for entry in entries if entry["kind"] == "act"] == [
            "operator: rental.pause_billing", "operator: rental.resume_billing", "operator: rental.force_complete",
        ]  # fmt: skip


def test_a_rider_reports_a_full_station_and_a_silent_one(live: Live) -> None:
    with signed_in(live) as rider, signed_in(live) as stranger, operator(live) as boss:
        rental_id, _ = rent(live, rider)
        rental = f"{RENTAL}/{rental_id}"
        add_station(live, "NEAR", charges=(), latitude=47.378)
        body = {"station": "ZRH-0001", "kind": "full", "latitude": 47.37, "longitude": 8.54}
        problem = rider.http.post(f"{rental}/return-problem", json=body)
        assert (problem.status_code, [each["code"] for each in problem.json()["stations"]]) == (200, ["NEAR"])
        assert (problem.json()["paused_until"] is not None, problem.json()["pauses_left"]) == (True, 1)
        half = rider.http.post(f"{rental}/return-problem", json={"station": "NEAR", "kind": "full", "latitude": 1})
        assert half.status_code == 422
        word = {"station": "NEAR", "slot": 2}
        assert rider.http.get(f"{rental}/return-claim").json()["code"] == "return_claim_not_found"
        claim = rider.http.post(f"{rental}/return-claim", json=word).json()
        assert (claim["state"], claim["slot"]) == ("pending", 2)
        assert rider.http.get(f"{rental}/return-claim").json() == claim
        assert rider.http.post(f"{rental}/issue", json={"kind": "damaged", "note": "bent"}).json()["state"] == "open"
        kinds = [each["kind"] for each in rider.http.get(f"{rental}/issue").json()["items"]]
        assert kinds == ["return", "damaged"]
        for path in ("return-problem", "return-claim", "issue"):
            sent = {"return-problem": body, "return-claim": word, "issue": {"kind": "lost"}}[path]
            assert stranger.http.post(f"{rental}/{path}", json=sent).status_code == 404

        listed = boss.http.get(f"{ADMIN}/return-claim", params={"state": "pending"}).json()["items"]
        assert [each["id"] for each in listed] == [claim["id"]]
        path = f"{ADMIN}/rental/{rental_id}/return-claim/confirm"
        done = boss.http.post(path, json={"reason": "seen there"}, headers=keyed()).json()
        assert (done["state"], done["station_in"], done["slot_in"]) == ("completed", "NEAR", 2)
        assert rider.http.get(f"{rental}/return-claim").json()["state"] == "confirmed"
        again = boss.http.post(path.replace("confirm", "refute"), json={"reason": "not there"}, headers=keyed())
        assert (again.status_code, again.json()["code"]) == (409, "rental_not_open")
        first = boss.http.get(f"{ADMIN}/rental-issue", params={"state": "open", "limit": 1}).json()
        assert (first["items"][0]["kind"], first["next"] is None) == ("damaged", False)
        resolve = f"{ADMIN}/rental-issue/{first['items'][0]['id']}/resolve"
        assert boss.http.post(resolve, json={"resolution": "replaced"}).json()["state"] == "resolved"
        entries = boss.http.get(f"{ADMIN}/rental/{rental_id}/trace").json()["entries"]
        reports = [entry["summary"] for entry in entries if entry["kind"] == "report"]
        assert reports == ["rider reports: return", "rider reports: damaged", "report closed: damaged"]
        whys = [entry["detail"]["why"] for entry in entries if entry["kind"] == "state_change"]
        assert {"billing_paused", "return_claimed", "claim_confirmed", "force_completed"} <= set(whys)


def test_a_rider_disputes_and_an_operator_decides(live: Live) -> None:
    with signed_in(live) as rider, signed_in(live) as stranger, operator(live) as boss:
        rental_id, cabinet = rent(live, rider)
        cabinet.takes_back(3, "ZRH-0001-B1")
        dispute = f"{RENTAL}/{rental_id}/dispute"
        assert rider.http.get(dispute).json()["code"] == "dispute_not_found"
        sent = {"reason": "broken", "note": "it gave no power"}
        opened = rider.http.post(dispute, json=sent).json()
        assert (opened["state"], opened["refund"]) == ("open", None)
        assert rider.http.post(dispute, json=sent).json() == opened
        assert stranger.http.post(dispute, json=sent).status_code == 404
        assert rider.http.get(f"{RENTAL}/{rental_id}").json()["state"] == "disputed"

        assert [each["id"] for each in boss.http.get(f"{ADMIN}/dispute").json()["items"]] == [opened["id"]]
        path = f"{ADMIN}/rental/{rental_id}/dispute/decide"
        odd = boss.http.post(path, json={"refund": "full", "amount_minor": 1, "reason": "odd"}, headers=keyed())
        assert odd.status_code == 422
        much = {"refund": "part", "amount_minor": 10_000, "reason": "too much"}
        refused = boss.http.post(path, json=much, headers=keyed())
        assert (refused.status_code, refused.json()["field"]) == (422, "amount_minor")
        key = keyed()
        body = {"refund": "full", "reason": "the bank was broken"}
        first, again = (boss.http.post(path, json=body, headers=key).json() for _ in range(2))
        assert (first["state"], first["charged"]["amount_minor"]) == ("completed", 0)
        assert again == first
        late = boss.http.post(path, json=body, headers=keyed())
        assert (late.status_code, late.json()["code"]) == (409, "dispute_decided")
        found = rider.http.get(dispute).json()
        assert (found["state"], found["refund"]["amount_minor"], found["decision"]) == (
            "refunded", 150, "the bank was broken",
        )  # fmt: skip
        price = rider.http.get(f"{RENTAL}/{rental_id}/price").json()
        assert (price["total"]["amount_minor"], "refund" in [line["kind"] for line in price["lines"]]) == (0, True)
        assert rider.http.get("/api/v1/payment/wallet").json()["balance"]["amount_minor"] == 2000
        receipt = rider.http.get(f"{RENTAL}/{rental_id}/receipt").json()
        assert (receipt["total"]["amount_minor"], receipt["refunded"]["amount_minor"]) == (0, 150)
        assert len(receipt["invoice_numbers"]) == 2
        page = rider.http.get(f"{RENTAL}/{rental_id}/receipt.pdf")
        assert (page.headers["Content-Type"], page.content[:5]) == ("application/pdf", b"%PDF-")
        assert stranger.http.get(f"{RENTAL}/{rental_id}/receipt.pdf").status_code == 404


def test_operators_work_off_cases(live: Live) -> None:
    with operator(live) as boss:
        add_station(live, charges=(90, 80))
        cabinet = Cabinet(live)
        for slot in (1, 2):
            cabinet.says(PowerBankEjected(slot=slot, serial=f"ZRH-0001-B{slot}", charge_pct=90))
        listed = boss.http.get(f"{ADMIN}/orphan-case", params={"state": "open"}).json()["items"]
        ids = {case["power_bank"]: case["id"] for case in listed}
        path = f"{ADMIN}/orphan-case/{ids['ZRH-0001-B1']}"
        found = boss.http.post(f"{path}/found", json={"station": "ZRH-0001", "slot": 4, "reason": "seen there"})
        assert (found.status_code, found.json()["state"]) == (200, "resolved")
        again = boss.http.post(f"{path}/lost", json={"reason": "wrong click"})
        assert (again.status_code, again.json()["code"]) == (409, "orphan_case_closed")
        path = f"{ADMIN}/orphan-case/{ids['ZRH-0001-B2']}"
        nobodys = {"rental_id": str(uuid4()), "reason": "nobody's"}
        assert boss.http.post(f"{path}/assign", json=nobodys, headers=keyed()).status_code == 404
        assert boss.http.post(f"{path}/foreign", json={"reason": "another fleet's"}).json()["state"] == "resolved"
        banks = boss.http.get(f"{ADMIN}/bank").json()["items"]
        assert {bank["serial"]: (bank["state"], bank["known"]) for bank in banks} == {
            "ZRH-0001-B1": ("available", True), "ZRH-0001-B2": ("missing", False),
        }  # fmt: skip


def test_figures_filters_and_positions(live: Live) -> None:
    with signed_in(live) as rider, signed_in(live) as stranger:
        rental_id, cabinet = rent(live, rider)
        rental = f"{RENTAL}/{rental_id}"
        sent = {"positions": [{"latitude": 47.37, "longitude": 8.54, "at": utc_now().isoformat()}]}
        refused = rider.http.post(f"{rental}/location", json=sent)
        assert (refused.status_code, refused.json()["code"]) == (409, "location_not_shared")
        assert rider.http.put(f"{rental}/location-sharing", json={"shared": True}).json() == {"shared": True}
        sent["positions"][0]["at"] = utc_now().isoformat()
        assert len(rider.http.post(f"{rental}/location", json=sent).json()["items"]) == 1
        assert stranger.http.get(f"{rental}/location").status_code == 404
        assert len(rider.http.get(f"{rental}/location").json()["items"]) == 1
        cabinet.takes_back(3, "ZRH-0001-B1")
        figures = rider.http.get(f"{RENTAL}/statistics").json()
        assert (figures["rentals"], figures["in_time"], figures["paid"]) == (
            1, 1, [{"amount_minor": 150, "currency": "EUR"}],
        )  # fmt: skip
        done = rider.http.get(f"{RENTAL}/history", params={"state": "completed"}).json()["items"]
        assert [each["id"] for each in done] == [rental_id]
        later = {"since": (utc_now() + timedelta(minutes=1)).isoformat()}
        assert rider.http.get(f"{RENTAL}/history", params=later).json()["items"] == []
