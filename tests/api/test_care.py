"""What riders report of their rentals and what operators put right, over HTTP."""

from typing import Any
from uuid import UUID, uuid4

from tests.api.conftest import Live
from tests.api.people import Person, operator, signed_in
from tests.api.world import Cabinet, add_station, add_tariff, give_money

ADMIN = "/api/v1/admin"
RENTAL = "/api/v1/rental"


def keyed() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def rent(live: Live, rider: Person) -> str:
    """The id of a rental whose bank is out of slot 1 of ZRH-0001."""
    add_station(live)
    add_tariff(live)
    give_money(live, rider)
    started: dict[str, Any] = rider.http.post(f"{RENTAL}/start", json={"station": "ZRH-0001"}, headers=keyed()).json()
    Cabinet(live).ejects(UUID(started["id"]))
    return str(started["id"])


def test_an_operator_puts_a_rental_right_once(live: Live) -> None:
    with signed_in(live) as rider, operator(live) as boss:
        rental = f"{ADMIN}/rental/{rent(live, rider)}"
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
