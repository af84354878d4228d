"""What riders say of their rentals, and what becomes of it."""

from tests.system.clients import Operator, Rider
from tests.system.system import System
from tests.system.waiting import until


def test_the_cabinet_bears_the_rider_out_and_a_dispute_gives_the_money_back(
    system: System, station: str, other: str, rider: Rider, operator: Operator
) -> None:
    rental = rider.rent(station)
    path = f"/rental/{rental['id']}"
    system.cabinets.fleet.disconnect(other)
    offline = "SELECT NOT online FROM station WHERE code = :code"
    until(lambda: system.scalar(offline, code=other), "the backend knows that the station is away")
    problem = rider.post(f"{path}/return-problem", {"station": other, "kind": "offline"})
    assert problem["paused_until"] is not None
    assert other not in {each["code"] for each in problem["stations"]}
    slot = system.cabinets.free_slot(other)
    system.cabinets.fleet.insert(other, rental["power_bank"], slot=slot)
    claim = rider.post(f"{path}/return-claim", {"station": other, "slot": slot})
    assert claim["state"] == "pending"
    system.cabinets.fleet.connect(other)
    done = rider.wait_state(rental["id"], "completed")
    assert (done["station_in"], done["slot_in"], done["charged"]["amount_minor"]) == (other, slot, 150)
    assert rider.get(f"{path}/return-claim")["state"] == "confirmed"

    assert rider.post(f"{path}/dispute", {"reason": "broken", "note": "it gave no power"})["state"] == "open"
    decided = operator.post(
        f"/admin/rental/{rental['id']}/dispute/decide", {"refund": "full", "reason": "the bank was broken"}
    )
    assert (decided["state"], decided["charged"]["amount_minor"]) == ("completed", 0)
    assert rider.wallet()["balance"]["amount_minor"] == 5000
    receipt = rider.get(f"{path}/receipt")
    assert (receipt["total"]["amount_minor"], receipt["refunded"]["amount_minor"]) == (0, 150)
    trace = operator.get(f"/admin/rental/{rental['id']}/trace")["entries"]
    told = [entry["detail"]["why"] for entry in trace if entry["kind"] == "state_change"]
    assert [why for why in told if why in {"return_claimed", "claim_confirmed", "returned", "disputed"}] == [
        "return_claimed", "claim_confirmed", "returned", "disputed",
    ]  # fmt: skip
    assert [entry["at"] for entry in trace] == sorted(entry["at"] for entry in trace)
