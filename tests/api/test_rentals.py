import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from fleet.common.clock import utc_now
from fleet.common.models import IdempotencyKey
from fleet.db import session_scope
from fleet.devices.models import DeviceCommand
from fleet.payments.proof import prove
from fleet.rentals.models import Rental
from fleet.stations.models import Station, StationStatus
from fleet.stations.service import set_status
from tests.api.conftest import Live
from tests.api.people import Person, signed_in
from tests.api.test_stations import next_of, stream
from tests.api.world import Cabinet, add_station, add_tariff, give_money
from tests.system.waiting import until

HERE = {"station": "ZRH-0001"}
SOMEBODYS = "0197a2c4-5f1e-7c3a-9a64-0b8f7d3c2e10"


@pytest.fixture
def city(live: Live) -> Live:
    """One station with two banks, and a price."""
    add_tariff(live)
    add_station(live, charges=(90, 70))
    return live


def keyed(key: str | None = None, **more: str) -> dict[str, str]:
    return {"Idempotency-Key": key or uuid4().hex, **more}


def start(person: Person, **headers: str) -> httpx.Response:
    return person.http.post("/api/v1/rental/start", json=HERE, headers=keyed(**headers))


def when_asked(live: Live, act: Callable[[UUID], None]) -> threading.Thread:
    """A cabinet that acts as soon as there is an order for it."""

    def watch() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with session_scope(live.engine) as session:
                found = session.scalars(select(DeviceCommand.rental_id)).first()
            if found is not None:
                act(found)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_quote_tells_the_price_and_what_stands_in_the_way(city: Live) -> None:
    with signed_in(city) as person:
        poor = person.http.post("/api/v1/rental/quote", json=HERE).json()
        assert (poor["can_start"], poor["reason"], poor["charge_pct"]) == (False, "insufficient_funds", 90)
        assert poor["tariff"]["hold"] == {"amount_minor": 500, "currency": "EUR"}
        give_money(city, person)
        rich = person.http.post("/api/v1/rental/quote", json=HERE).json()
        assert (rich["can_start"], rich["reason"], rich["available"]["amount_minor"]) == (True, None, 2000)
        assert person.http.post("/api/v1/rental/quote", json={"station": "NOPE"}).status_code == 404


def test_start_answers_at_once_and_the_rental_can_be_followed(city: Live) -> None:
    with signed_in(city) as person:
        give_money(city, person)
        answer = start(person)
        assert answer.status_code == 202
        rental = answer.json()
        assert (rental["state"], rental["station_out"], rental["slot_out"]) == ("ejecting", "ZRH-0001", 1)
        assert rental["power_bank"] == "ZRH-0001-B1"
        assert "Preference-Applied" not in answer.headers
        assert person.http.get(answer.headers["Location"]).json() == rental
        assert person.http.get("/api/v1/rental/current").json()["items"] == [rental]
        wallet = person.http.get("/api/v1/payment/wallet").json()
        assert (wallet["held"]["amount_minor"], wallet["available"]["amount_minor"]) == (500, 1500)


def test_whole_rental(city: Live) -> None:
    add_station(city, "ZRH-0002", charges=())
    with signed_in(city) as person:
        give_money(city, person)
        rental = start(person).json()
        Cabinet(city).ejects(UUID(rental["id"]))
        active = person.http.get(f"/api/v1/rental/{rental['id']}").json()
        assert (active["state"], active["charge_out_pct"]) == ("active", 90)
        price = person.http.get(f"/api/v1/rental/{rental['id']}/price").json()
        assert (price["final"], price["total"]["amount_minor"]) == (False, 150)
        assert sum(line["amount"]["amount_minor"] for line in price["lines"]) == 150
        Cabinet(city, "ZRH-0002").takes_back(3, rental["power_bank"])
        done = person.http.get(f"/api/v1/rental/{rental['id']}").json()
        assert (done["state"], done["station_in"], done["slot_in"]) == ("completed", "ZRH-0002", 3)
        assert done["charged"] == done["price"] == {"amount_minor": 150, "currency": "EUR"}
        assert person.http.get(f"/api/v1/rental/{rental['id']}/price").json()["final"] is True
        assert person.http.get("/api/v1/rental/current").json()["items"] == []
        assert person.http.get("/api/v1/rental/history").json()["items"] == [done]
        wallet = person.http.get("/api/v1/payment/wallet").json()
        assert (wallet["held"]["amount_minor"], wallet["available"]["amount_minor"]) == (0, 1850)
    with session_scope(city.engine) as session:
        assert prove(session, utc_now()).ok


def test_wait_ends_with_the_eject_and_not_with_the_clock(city: Live) -> None:
    cabinet = Cabinet(city)
    with signed_in(city) as person:
        give_money(city, person)
        thread = when_asked(city, cabinet.ejects)
        began = time.monotonic()
        answer = start(person, Prefer="wait=20")
        took = time.monotonic() - began
        thread.join()
        assert (answer.status_code, answer.json()["state"]) == (201, "active")
        assert answer.headers["Preference-Applied"] == "wait=20"
        assert took < 10


def test_wait_is_told_when_the_eject_failed(city: Live) -> None:
    cabinet = Cabinet(city)

    def refuse_both(rental_id: UUID) -> None:
        cabinet.refuses(rental_id)
        cabinet.refuses(rental_id)  # the next best slot is tried once

    with signed_in(city) as person:
        give_money(city, person)
        thread = when_asked(city, refuse_both)
        answer = start(person, Prefer="wait=20")
        thread.join()
        assert (answer.status_code, answer.json()["state"]) == (200, "eject_failed")
        assert answer.json()["failure_code"] == "motor_stalled"
        assert person.http.get("/api/v1/payment/wallet").json()["available"]["amount_minor"] == 2000


def test_wait_has_its_end_and_holds_nothing_meanwhile(city: Live) -> None:
    pool = city.server.runtime.engine.pool
    with signed_in(city) as person, ThreadPoolExecutor(1) as background:
        give_money(city, person)
        began = time.monotonic()
        waiting = background.submit(start, person, Prefer="wait=4")

        def holds_nothing() -> bool:
            """The rental has begun, the phone still waits, and the API has neither a connection nor a transaction."""
            with session_scope(city.engine) as session:
                begun = session.scalar(select(func.count()).select_from(Rental))
                idle = session.scalar(
                    text("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
                         " AND datname = current_database()")
                )  # fmt: skip
            free = pool.checkedout() == 0  # type: ignore[attr-defined]  # QueuePool
            return bool(begun and not idle and free and not waiting.done())

        until(holds_nothing, "the start holds nothing while it waits")
        answer = waiting.result(30)
        assert time.monotonic() - began > 3.9
        assert (answer.status_code, answer.json()["state"]) == (202, "ejecting")


def test_same_key_moves_nothing_again_and_gets_the_final_answer(city: Live) -> None:
    with signed_in(city) as person:
        give_money(city, person)
        headers = keyed()

        def again(**more: str) -> httpx.Response:
            return person.http.post("/api/v1/rental/start", json=HERE, headers={**headers, **more})

        first = again()
        same = again()
        assert (same.status_code, same.json()) == (first.status_code, first.json())
        assert same.headers["Idempotency-Replayed"] == "true"
        Cabinet(city).ejects(UUID(first.json()["id"]))
        final = again(Prefer="wait=5")
        assert (final.status_code, final.json()["state"]) == (201, "active")
        # Soon that is the answer, with or without waiting.
        until(lambda: again().json() == final.json(), "the final answer is kept")
        other = person.http.post("/api/v1/rental/start", json={**HERE, "slot": 2}, headers=headers)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    with session_scope(city.engine) as session:
        assert session.scalar(select(func.count()).select_from(DeviceCommand)) == 1


def test_until_the_final_answer_is_kept_the_first_one_is_given_again(city: Live) -> None:
    """It is sent before it is kept, so what keeps it may take its time or fail."""
    key = keyed()
    cabinet, held = Cabinet(city), Session(city.engine)

    def act(rental_id: UUID) -> None:
        held.scalars(select(IdempotencyKey.id).with_for_update()).one()  # nobody replaces what is kept
        cabinet.ejects(rental_id)

    with signed_in(city) as person, held:
        give_money(city, person)

        def again(**more: str) -> httpx.Response:
            return person.http.post("/api/v1/rental/start", json=HERE, headers={**key, **more})

        thread = when_asked(city, act)
        final = again(Prefer="wait=20")
        thread.join()
        assert (final.status_code, final.json()["state"]) == (201, "active")
        at_once = again()
        assert (at_once.status_code, at_once.json()["state"], at_once.json()["id"]) == (
            202, "ejecting", final.json()["id"],
        )  # fmt: skip
        waited = again(Prefer="wait=20")
        assert (waited.status_code, waited.json()) == (201, final.json())
        held.rollback()

        def is_kept() -> bool:
            """What keeps it may have given up waiting meanwhile; who waits again has it kept."""
            return (again(Prefer="wait=20").json(), again().json()) == (final.json(),) * 2

        until(is_kept, "the final answer is kept")
    with session_scope(city.engine) as session:
        assert session.scalar(select(func.count()).select_from(DeviceCommand)) == 1


def test_thirty_starts_under_one_key_are_one(city: Live) -> None:
    with signed_in(city) as person, ThreadPoolExecutor(30) as pool:
        give_money(city, person)
        headers = keyed()
        answers = list(
            pool.map(lambda _: person.http.post("/api/v1/rental/start", json=HERE, headers=headers), range(30))
        )
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == 1
    with session_scope(city.engine) as session:
        assert session.scalar(select(func.count()).select_from(DeviceCommand)) == 1


def test_thirty_starts_of_one_rider_under_different_keys_give_one_bank(city: Live) -> None:
    with signed_in(city) as person, ThreadPoolExecutor(30) as pool:
        give_money(city, person)
        answers = list(pool.map(lambda _: start(person), range(30)))
        codes = sorted(answer.json().get("code", "") for answer in answers)
        assert codes == [""] + ["too_many_open_rentals"] * 29
        assert sorted(answer.status_code for answer in answers) == [202] + [409] * 29
    with session_scope(city.engine) as session:
        assert session.scalar(select(func.count()).select_from(DeviceCommand)) == 1


def offline(live: Live) -> None:
    with session_scope(live.engine) as session:
        session.execute(update(Station).values(online=False))


def closed(live: Live) -> None:
    with session_scope(live.engine) as session:
        set_status(session, "ZRH-0001", StationStatus.MAINTENANCE, utc_now())


def empty(live: Live) -> None:
    with session_scope(live.engine) as session:
        session.execute(text("UPDATE power_bank SET charge_pct = 5"))


def no_tariff(live: Live) -> None:
    with session_scope(live.engine) as session:
        session.execute(text("UPDATE tariff SET valid_to = valid_from"))


@pytest.mark.parametrize(
    ("spoil", "status", "code"),
    [
        (offline, 409, "station_offline"),
        (closed, 409, "station_not_renting"),
        (empty, 409, "no_bank_available"),
        (no_tariff, 409, "no_tariff"),
    ],
)
def test_start_is_refused_with_its_reason_and_nothing_is_held(
    city: Live, spoil: Callable[[Live], None], status: int, code: str
) -> None:
    with signed_in(city) as person:
        give_money(city, person)
        spoil(city)
        answer = start(person)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert person.http.get("/api/v1/payment/wallet").json()["held"]["amount_minor"] == 0


def test_start_without_money_is_402(city: Live) -> None:
    with signed_in(city) as person:
        answer = start(person)
        assert (answer.status_code, answer.json()["code"]) == (402, "insufficient_funds")
        assert (answer.json()["needed_minor"], answer.json()["available_minor"]) == (500, 0)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"station": "NOPE"}, 404, "station_not_found"),
        ({"station": "ZRH-0001", "slot": 4}, 409, "slot_not_available"),
        ({"station": "ZRH-0001", "slot": 0}, 422, "validation_failed"),
        ({"station": "no code"}, 422, "validation_failed"),
        ({"station": "ZRH-0001", "price": 0}, 422, "validation_failed"),
    ],
)
def test_start_of_nonsense(city: Live, body: dict[str, Any], status: int, code: str) -> None:
    with signed_in(city) as person:
        give_money(city, person)
        answer = person.http.post("/api/v1/rental/start", json=body, headers=keyed())
        assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_chosen_slot_is_the_one(city: Live) -> None:
    with signed_in(city) as person:
        give_money(city, person)
        answer = person.http.post("/api/v1/rental/start", json={**HERE, "slot": 2}, headers=keyed())
        assert (answer.status_code, answer.json()["slot_out"]) == (202, 2)


def test_cancel_only_while_nobody_has_the_order(city: Live) -> None:
    with signed_in(city) as person:
        give_money(city, person)
        rental = start(person).json()["id"]
        for _ in range(2):
            cancelled = person.http.post(f"/api/v1/rental/{rental}/cancel")
            assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
        assert person.http.get("/api/v1/payment/wallet").json()["available"]["amount_minor"] == 2000
        second = start(person).json()["id"]
        Cabinet(city).take_order(UUID(second))
        refused = person.http.post(f"/api/v1/rental/{second}/cancel")
        assert (refused.status_code, refused.json()["code"]) == (409, "rental_not_cancellable")


def owe(live: Live, person: Person) -> dict[str, Any]:
    """A rental of 6.00 by a rider who had 5.00: 1.00 is owed."""
    give_money(live, person, 500)
    rental: dict[str, Any] = start(person).json()
    cabinet = Cabinet(live)
    cabinet.ejects(UUID(rental["id"]))
    with session_scope(live.engine) as session:
        session.execute(text("UPDATE rental SET started_at = started_at - interval '4 hours 45 minutes'"))
    cabinet.takes_back(4, rental["power_bank"])
    found: dict[str, Any] = person.http.get(f"/api/v1/rental/{rental['id']}").json()
    assert (found["state"], found["charged"]["amount_minor"], found["due"]["amount_minor"]) == ("completed", 500, 100)
    return found


def pay(person: Person, rental: dict[str, Any], key: str | None = None) -> httpx.Response:
    return person.http.post(f"/api/v1/rental/{rental['id']}/pay-due", headers=keyed(key))


def test_who_owes_pays_and_rents_again(city: Live) -> None:
    with signed_in(city) as person:
        rental = owe(city, person)
        refused = start(person)
        assert (refused.status_code, refused.json()["code"]) == (409, "money_owed")
        give_money(city, person, 1000)
        first = pay(person, rental, key="pay")
        assert (first.status_code, first.json()["charged"]["amount_minor"], first.json()["due"]["amount_minor"]) == (
            200, 600, 0,
        )  # fmt: skip
        again = pay(person, rental, key="pay")
        assert (again.json(), again.headers["Idempotency-Replayed"]) == (first.json(), "true")
        assert pay(person, rental).json() == first.json()
        assert person.http.get("/api/v1/payment/wallet").json()["available"]["amount_minor"] == 900
        assert start(person).status_code == 202
    with session_scope(city.engine) as session:
        assert prove(session, utc_now()).ok


def test_too_little_pays_no_part_of_a_debt(city: Live) -> None:
    with signed_in(city) as person:
        rental = owe(city, person)
        give_money(city, person, 60)
        refused = pay(person, rental, key="pay")
        assert (refused.status_code, refused.json()["code"], refused.json()["available_minor"]) == (
            402, "insufficient_funds", 60,
        )  # fmt: skip
        assert person.http.get("/api/v1/payment/wallet").json()["available"]["amount_minor"] == 60
        give_money(city, person, 40)
        assert pay(person, rental, key="pay").json()["due"]["amount_minor"] == 0


def test_twenty_payments_of_one_debt_at_once_pay_it_once(city: Live) -> None:
    with signed_in(city) as person, ThreadPoolExecutor(20) as pool:
        rental = owe(city, person)
        give_money(city, person, 1000)
        answers = list(pool.map(lambda _: pay(person, rental), range(20)))
        assert {(answer.status_code, answer.json()["due"]["amount_minor"]) for answer in answers} == {(200, 0)}
        assert person.http.get("/api/v1/payment/wallet").json()["available"]["amount_minor"] == 900


def test_another_riders_rental_is_not_there(city: Live) -> None:
    with signed_in(city) as ada, signed_in(city) as bob:
        give_money(city, ada)
        path = f"/api/v1/rental/{start(ada).json()['id']}"
        for method, where in (("GET", path), ("GET", f"{path}/price"), ("GET", f"{path}/events"),
                              ("POST", f"{path}/cancel"), ("POST", f"{path}/pay-due")):  # fmt: skip
            answer = bob.http.request(method, where, headers=keyed())
            assert (answer.status_code, answer.json()["code"]) == (404, "rental_not_found"), where
        assert bob.http.get("/api/v1/rental/history").json()["items"] == []
        assert ada.http.get(path).json()["state"] == "ejecting"


def test_history_pages_hold_every_rental_once(city: Live) -> None:
    with signed_in(city) as person:
        give_money(city, person)
        started = []
        for _ in range(5):
            started.append(start(person).json()["id"])
            person.http.post(f"/api/v1/rental/{started[-1]}/cancel")
        seen, cursor = [], None
        while True:
            params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
            page = person.http.get("/api/v1/rental/history", params=params).json()
            seen += [item["id"] for item in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert seen == started[::-1]


@contextmanager
def _followed(city: Live) -> Iterator[tuple[Any, Any, Any]]:
    """A rider, a rental that was just asked for, and its live events after the first."""
    with signed_in(city) as person:
        give_money(city, person)
        rental = start(person).json()
        headers = {"Authorization": f"Bearer {person.tokens.access_token}"}
        with stream(city, f"/api/v1/rental/{rental['id']}/events", headers) as events:
            assert next_of(events) == ("rental", rental)
            yield person, rental, events


def test_events_follow_the_rental_to_its_end(city: Live) -> None:
    cabinet = Cabinet(city)
    with _followed(city) as (_, rental, events):
        cabinet.ejects(UUID(rental["id"]))
        assert next_of(events)[1]["state"] == "active"
        cabinet.takes_back(4, rental["power_bank"])
        last = next_of(events)
        while last[1]["state"] == "active":  # the command's own result may come in between
            last = next_of(events)
        assert last[1]["state"] == "completed"
        assert events.get(timeout=10) is None


def test_events_end_for_who_is_signed_out(city: Live) -> None:
    with _followed(city) as (person, rental, events):
        assert person.http.post("/api/v1/user/auth/sign-out").status_code == 204
        Cabinet(city).ejects(UUID(rental["id"]))
        assert next_of(events) is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "quote"),
        ("POST", "start"),
        ("GET", "current"),
        ("GET", "history"),
        ("GET", SOMEBODYS),
        ("GET", f"{SOMEBODYS}/price"),
        ("GET", f"{SOMEBODYS}/events"),
        ("POST", f"{SOMEBODYS}/cancel"),
        ("POST", f"{SOMEBODYS}/pay-due"),
    ],
)
def test_nothing_without_a_token(live: Live, method: str, path: str) -> None:
    answer = live.client.request(method, f"/api/v1/rental/{path}", headers=keyed())
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


def test_state_survives_in_the_database(city: Live) -> None:
    with signed_in(city) as person:
        give_money(city, person)
        rental = start(person, Prefer="wait=0").json()
    with session_scope(city.engine) as session:
        assert session.get_one(Rental, UUID(rental["id"])).request_id is not None
