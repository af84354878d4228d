"""What may happen between a rental's start and its end, with real cabinets, over HTTP alone.

Hours pass in these stories, and nobody waits for them: `_passed` moves what happened so far into the past.
"""

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import text

from simulators.faults import FaultKind
from tests.system.clients import Guest, Operator, Rider
from tests.system.system import System
from tests.system.waiting import until

_TERMS: dict[str, Any] = {
    "name": "of a story", "currency": "EUR", "unlock_minor": 100, "interval_minor": 50, "interval_minutes": 30,
    "total_cap_minor": 5000, "hold_minor": 500, "overdue_after_minutes": 60, "reservation_fee_minor": 120,
    "lost_after_minutes": 120, "lost_fee_minor": 2000, "late": {"hourly_minor": 100, "grace_seconds": 0},
}  # fmt: skip


def _tariff(operator: Operator, station: str) -> None:
    """One of the station's own: an hour, then late fees; two hours later the bank counts as lost."""
    operator.post("/admin/tariff", {**_TERMS, "scope": {"station": station}})


def _passed(system: System, time: timedelta, table: str, row_id: str, *columns: str) -> None:
    """Everything that was said is heard, and then it is so much later."""
    system.settle()
    moved = ", ".join(f"{column} = {column} - :time" for column in columns)
    with system.session() as session:
        query = text(f"UPDATE {table} SET {moved} WHERE id = CAST(:id AS uuid)")  # of this file
        session.execute(query, {"time": time, "id": row_id})


def _money(found: Any) -> int:
    amount: int = found["amount_minor"]
    return amount


def _lines(rider: Rider, rental_id: str) -> dict[str, int]:
    """What each amount of a rental is for; together they are its price."""
    price = rider.get(f"/rental/{rental_id}/price")
    amounts: Counter[str] = Counter()
    for line in price["lines"]:
        assert line["text"]
        amounts[line["kind"]] += _money(line["amount"])
    assert sum(amounts.values()) == _money(price["total"])
    return dict(amounts)


def test_a_package_and_an_extension_pay_for_the_time(
    system: System, station: str, other: str, rider: Rider, operator: Operator
) -> None:
    offer = {"name": uuid4().hex, "kind": "prepaid", "minutes": 240, "price_minor": 400, "currency": "EUR"}
    package = operator.post("/admin/package", offer)["id"]
    offered = rider.get("/rental/packages", station=station)["items"]
    assert package in {each["id"] for each in offered}
    started = rider.post("/rental/start", {"station": station, "package": package})
    rental = rider.wait_state(started["id"], "active")
    extended = rider.post(f"/rental/{rental['id']}/extend", {"package": package})
    assert extended["due_at"] > rental["due_at"]
    assert _money(rider.wallet()["held"]) == 2 * 400
    system.cabinets.fleet.insert(other, rental["power_bank"])
    done = rider.wait_state(rental["id"], "completed")
    assert (_money(done["charged"]), _lines(rider, rental["id"])) == (800, {"package": 800})
    assert _money(rider.wallet()["balance"]) == 5000 - 800
    operator.post(f"/admin/package/{package}/withdraw")


def test_a_bank_that_is_kept_is_fetched(system: System, station: str, rider: Rider) -> None:
    kept = rider.post("/rental/reservation", {"station": station})
    rental = rider.rent(station)
    assert (rental["power_bank"], rental["slot_out"]) == (kept["power_bank"], kept["slot"])
    assert rider.get("/rental/reservation")["items"] == []
    system.cabinets.fleet.insert(station, rental["power_bank"])
    rider.wait_state(rental["id"], "completed")


def test_a_bank_that_nobody_fetches_costs_the_fee_and_is_anybodys(
    system: System, station: str, rider: Rider, operator: Operator
) -> None:
    _tariff(operator, station)
    kept = rider.post("/rental/reservation", {"station": station})
    assert (_money(kept["fee"]), _money(rider.wallet()["held"])) == (120, 120)
    _passed(system, timedelta(minutes=15), "reservation", kept["id"], "expires_at")
    until(lambda: not rider.get("/rental/reservation")["items"], "nobody came")
    until(lambda: _money(rider.wallet()["balance"]) == 5000 - 120, "the fee is charged")
    assert _money(rider.wallet()["held"]) == 0
    reserved = "SELECT count(*) FROM station_slot WHERE reserved_for = CAST(:id AS uuid)"
    assert system.scalar(reserved, id=kept["id"]) == 0


def test_a_bank_of_no_use_is_exchanged(system: System, station: str, other: str, rider: Rider) -> None:
    rental = rider.rent(station)
    path = f"/rental/{rental['id']}"
    asked = rider.post(f"{path}/swap", {"station": station, "reason": "defect"})
    assert asked["swap_under_way"] is True
    system.cabinets.fleet.insert(station, rental["power_bank"])
    exchanged = until(lambda: _other_bank(rider, rental), lambda: f"another bank: {rider.get(path)}")
    assert exchanged["started_at"] == rental["started_at"]
    system.cabinets.wait_in_hands(exchanged["power_bank"])
    assert system.cabinets.moves(station) == 2
    system.cabinets.fleet.insert(other, exchanged["power_bank"])
    done = rider.wait_state(rental["id"], "completed")
    assert (_money(done["charged"]), _lines(rider, rental["id"])) == (150, {"unlock": 100, "usage": 50})
    held = "SELECT state FROM power_bank WHERE serial = :serial"
    assert system.scalar(held, serial=rental["power_bank"]) == "quarantined", "somebody looks at it first"


def _other_bank(rider: Rider, rental: Any) -> Any:
    found = rider.rental(rental["id"])
    return found if found["state"] == "active" and found["power_bank"] != rental["power_bank"] else None


def test_an_exchange_that_fails_ends_when_the_bank_was_back(system: System, station: str, rider: Rider) -> None:
    rental = rider.rent(station)
    rider.post(f"/rental/{rental['id']}/swap", {"station": station, "reason": "low_battery"})
    system.cabinets.fault(station, FaultKind.FAILED_EJECT, count=None)
    system.cabinets.fleet.insert(station, rental["power_bank"])
    done = rider.wait_state(rental["id"], "completed")
    assert (done["power_bank"], _money(done["charged"])) == (rental["power_bank"], 150)
    assert _money(rider.wallet()["held"]) == 0
    assert system.cabinets.moves(station) == 1


def test_lost_brought_back_late_disputed_and_refunded(
    system: System, station: str, other: str, rider: Rider, operator: Operator
) -> None:
    """As a new user would, over the API alone: every amount is explained, and the trace tells the story."""
    _tariff(operator, station)
    rental = rider.rent(station)
    path = f"/rental/{rental['id']}"
    _passed(system, timedelta(hours=4), "rental", rental["id"], "requested_at", "started_at", "overdue_at", "buyout_at")
    lost = rider.wait_state(rental["id"], "bought_out", timeout_s=60)
    # Three hours until it counted as lost, of which two were late.
    assert _lines(rider, rental["id"]) == {"unlock": 100, "usage": 300, "late_fee": 200, "lost_fee": 2000}
    assert (_money(lost["charged"]), _money(rider.wallet()["balance"])) == (2600, 5000 - 2600)

    system.cabinets.fleet.insert(other, rental["power_bank"])
    back = rider.wait_state(rental["id"], "completed")
    assert _lines(rider, rental["id"]) == {"unlock": 100, "usage": 300, "late_fee": 200}
    assert (back["station_in"], _money(back["charged"])) == (other, 600)
    assert _money(rider.wallet()["balance"]) == 5000 - 600

    rider.post(f"{path}/dispute", {"reason": "overcharged", "note": "the station was full"})
    decision = {"refund": "part", "amount_minor": 200, "reason": "it was full indeed"}
    operator.post(f"/admin{path}/dispute/decide", decision)
    assert _lines(rider, rental["id"]) == {"unlock": 100, "usage": 300, "late_fee": 200, "refund": -200}
    assert _money(rider.wallet()["balance"]) == 5000 - 400
    receipt = rider.get(f"{path}/receipt")
    assert (_money(receipt["total"]), _money(receipt["refunded"])) == (400, 2200)
    trace = operator.get(f"/admin{path}/trace")["entries"]
    told = [entry["detail"]["why"] for entry in trace if entry["kind"] == "state_change"]
    assert told == [
        "requested", "bank_left", "overdue", "lost", "brought_back", "disputed", "dispute_partly_refunded",
    ]  # fmt: skip


def test_a_guest_loses_a_bank_finds_it_and_signs_up(
    system: System, station: str, other: str, operator: Operator
) -> None:
    """The card pays all of it, late fees and what is not set aside too, and gets back what was too much."""
    _tariff(operator, station)
    guest = Guest(system).welcome()
    rental = guest.rent_by_card(station)
    path = f"/rental/{rental['id']}"
    _passed(system, timedelta(hours=4), "rental", rental["id"], "requested_at", "started_at", "overdue_at", "buyout_at")
    guest.wait_state(rental["id"], "bought_out", timeout_s=60)
    assert _lines(guest, rental["id"]) == {"unlock": 100, "usage": 300, "late_fee": 200, "lost_fee": 2000}
    until(lambda: _money(guest.rental(rental["id"])["due"]) == 2600 - 500, "what was set aside is taken")
    (debt,) = guest.get("/payment/debts", state="open")["items"]
    (card,) = guest.get("/payment/method")["items"]
    guest.post(f"/payment/debts/{debt['id']}/pay", {"method_id": card["id"]})
    until(lambda: _money(guest.rental(rental["id"])["charged"]) == 2600, "the card has paid all of it")

    system.cabinets.fleet.insert(other, rental["power_bank"])
    back = guest.wait_state(rental["id"], "completed")
    assert (back["station_in"], _money(back["charged"])) == (other, 600)
    until(
        lambda: [_money(each["amount"]) for each in guest.get("/payment/refund")["items"]] == [2000],
        lambda: f"the lost bank's fee goes back: {guest.get('/payment/refund')}",
    )
    until(lambda: guest.get("/payment/refund")["items"][0]["state"] == "completed", "the card has it")
    assert (_money(guest.wallet()["balance"]), _money(guest.wallet()["held"])) == (0, 0)
    receipt = guest.get(f"{path}/receipt")
    assert [(each["purse"], _money(each["amount"])) for each in receipt["paid_by"]] == [("card", 600)]

    assert operator.get(f"/admin/user/{guest.id}")["guest"] is True
    trace = operator.get(f"/admin{path}/trace")["entries"]
    moved = Counter(entry["detail"]["kind"] for entry in trace if entry["kind"] == "transfer")
    assert moved["card_payment"] == 2, "what was set aside, and the rest"
    assert moved["card_refund"], "what went back"

    before = guest.id
    guest.become_account()
    assert (guest.id, guest.tokens["user"]["guest"]) == (before, False)
    assert [each["id"] for each in guest.rentals()] == [rental["id"]]
