"""One rental from the first code to the receipt, over the API alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from tests.system.clients import Operator, Rider, ok
from tests.system.system import System
from tests.system.waiting import until


def test_a_rental_from_sign_up_to_receipt(system: System, station: str, other: str, operator: Operator) -> None:
    rider = Rider(system).sign_up()
    rider.top_up(2000)
    quote = rider.post("/rental/quote", {"station": station})
    assert quote["can_start"]
    assert quote["tariff"]["unlock"] == {"amount_minor": 100, "currency": "EUR"}

    key = str(uuid4())
    answer = rider.start_raw(station, key=key, wait=10)
    rental = ok(answer, 200, 201)
    assert rental["state"] == "active", rental
    assert "wait=10" in answer.headers["Preference-Applied"]
    assert rental["power_bank"] in system.cabinets.in_hands()
    assert rider.wallet()["held"]["amount_minor"] == 1000

    with rider.events(rental["id"]) as events, ThreadPoolExecutor(1) as pool:
        completed = pool.submit(events.until, "completed")
        system.cabinets.fleet.insert(other, rental["power_bank"])
        completed.result(20)

    done = rider.wait_state(rental["id"], "completed")
    assert (done["station_out"], done["station_in"]) == (station, other)
    assert done["price"]["amount_minor"] == done["charged"]["amount_minor"] == 150
    assert done["due"]["amount_minor"] == 0
    wallet = rider.wallet()
    assert (wallet["balance"]["amount_minor"], wallet["held"]["amount_minor"]) == (1850, 0)
    assert rider.start(station, key=key)["id"] == rental["id"], "the key's answer is kept"
    assert [each["id"] for each in rider.rentals()] == [rental["id"]]
    _check_money(rider, rental["id"])
    _check_trace(operator, rental["id"])


def _check_money(rider: Rider, rental_id: str) -> None:
    lines = rider.get("/payment/wallet/statement")["items"]
    assert sum(line["amount"]["amount_minor"] for line in lines if line["state"] == "posted") == 1850, lines
    price = rider.get(f"/rental/{rental_id}/price")
    assert price["final"]
    assert price["total"]["amount_minor"] == 150
    assert sum(line["amount"]["amount_minor"] for line in price["lines"]) == 150


def _check_trace(operator: Operator, rental_id: str) -> None:
    entries = operator.get(f"/admin/rental/{rental_id}/trace")["entries"]
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)
    kinds = {entry["kind"] for entry in entries}
    wanted = {"request", "state_change", "command", "frame_sent", "frame_received", "movement", "transfer"}
    assert wanted <= kinds, wanted - kinds
    assert operator.get("/admin/ledger/proof")["ok"]


def test_measurements_of_a_bank_reach_its_page(system: System, station: str, rider: Rider) -> None:
    serial = next(iter(system.cabinets.banks(station).values()))
    count = (
        "SELECT count(*) FROM slot_telemetry t JOIN power_bank b ON b.id = t.power_bank_id"
        " WHERE b.serial = :serial AND t.voltage_mv > 3000"
    )
    # A full bank that rests measures the same again, which is not stored again for a while.
    until(lambda: system.scalar(count, serial=serial) >= 1, "a sample of the bank is stored")
    page = rider.get(f"/station/{station}")
    assert page["online"]
    assert page["banks_available"] == len(system.cabinets.banks(station))
    charges = {slot["number"]: slot["charge_pct"] for slot in page["slot_list"] if slot["charge_pct"] is not None}
    assert charges.keys() == system.cabinets.banks(station).keys()


def test_a_start_without_waiting_is_answered_at_once(system: System, station: str, rider: Rider) -> None:
    answer = rider.start_raw(station)
    rental = ok(answer, 202)
    assert rental["state"] in {"ejecting", "active"}
    rider.wait_state(rental["id"], "active")
    [current] = rider.get("/rental/current")["items"]
    assert current["id"] == rental["id"]


def test_a_station_shows_what_happens_to_it(system: System, station: str, unused: Iterator[str], rider: Rider) -> None:
    before = rider.get(f"/station/{station}")
    rental = rider.rent(station)
    after = rider.get(f"/station/{station}")
    assert after["banks_available"] == before["banks_available"] - 1
    assert after["slots_free"] == before["slots_free"] + 1
    back = rider.get("/station/nearby", lat=after["latitude"], lon=after["longitude"])
    assert back["items"][0]["code"] == station
    assert rental["slot_out"] not in system.cabinets.banks(station)


def test_another_riders_rental_is_not_there(system: System, station: str, rider: Rider) -> None:
    rental = rider.rent(station)
    stranger = Rider(system).sign_up()
    for path in (f"/rental/{rental['id']}", f"/rental/{rental['id']}/price", f"/rental/{rental['id']}/events"):
        assert stranger.http.get(path).status_code == 404
    assert stranger.http.get(f"/admin/rental/{rental['id']}/trace").status_code == 403


def test_no_money_no_bank(system: System, station: str) -> None:
    poor = Rider(system).sign_up()
    answer = poor.start_raw(station)
    assert answer.status_code == 402 or answer.json()["code"] == "insufficient_funds", answer.text
    assert poor.rentals() == []
    assert system.cabinets.moves(station) == 0
