import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Queue
from typing import Any

import httpx
import pytest
from sqlalchemy import event, select, update

from fleet.common.clock import utc_now
from fleet.common.notify import Channel, notify
from fleet.db import session_scope
from fleet.devices import presence
from fleet.stations.models import Station, StationSlot, StationStatus
from fleet.stations.service import set_status
from tests.api.conftest import Live
from tests.api.people import signed_in
from tests.api.world import add_station, add_tariff, statements
from tests.plain_http import NO_TLS


@contextmanager
def stream(live: Live, path: str, headers: dict[str, str] | None = None) -> Iterator["Queue[Any]"]:
    """Server-sent events as they arrive: (name, data); None when the stream has ended."""
    events: Queue[Any] = Queue()
    client = httpx.Client(base_url=live.url, timeout=30, verify=NO_TLS)
    opened = threading.Event()

    def read() -> None:
        name = ""
        with suppress(httpx.HTTPError), client.stream("GET", path, headers=headers) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            opened.set()
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    events.put((name, json.loads(line[6:])))
            events.put(None)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert opened.wait(10)
    try:
        yield events
    finally:
        client.close()


def next_of(events: "Queue[Any]") -> Any:
    return events.get(timeout=10)


def test_list_counts_banks_and_free_slots(live: Live) -> None:
    add_station(live, charges=(90, 10, 50), slots=6)
    page = live.client.get("/api/v1/station").json()
    assert page == {
        "items": [
            {
                "code": "ZRH-0001", "name": "Station ZRH-0001", "address": None, "city": "Zürich",
                "latitude": 47.3779, "longitude": 8.5402, "status": "active", "online": True, "slots": 6,
                "banks_available": 2, "slots_free": 3,
            }
        ],
        "next": None,
    }  # fmt: skip


def test_pages_hold_every_station_once_and_searches_find(live: Live) -> None:
    for number in range(5):
        add_station(live, f"ST-{number}", city="Bern" if number % 2 else "Genf")
    seen: list[str] = []
    cursor = None
    while True:
        answer = live.client.get("/api/v1/station", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        seen += [item["code"] for item in answer.json()["items"]]
        cursor = answer.json()["next"]
        if cursor is None:
            break
    assert seen == [f"ST-{number}" for number in range(5)]
    bern = live.client.get("/api/v1/station", params={"city": "Bern"}).json()["items"]
    assert [item["code"] for item in bern] == ["ST-1", "ST-3"]
    found = live.client.get("/api/v1/station", params={"q": "st-4"}).json()["items"]
    assert [item["code"] for item in found] == ["ST-4"]
    assert live.client.get("/api/v1/station", params={"q": "%"}).json()["items"] == []


def test_disabled_station_is_not_listed(live: Live) -> None:
    add_station(live)
    with session_scope(live.engine) as session:
        set_status(session, "ZRH-0001", StationStatus.DISABLED, utc_now())
    assert live.client.get("/api/v1/station").json()["items"] == []


def test_nearby_is_by_distance_within_the_radius(live: Live) -> None:
    add_station(live, "NEAR", latitude=47.3780, longitude=8.5400)
    add_station(live, "FAR", latitude=47.3900, longitude=8.5400, charges=())
    add_station(live, "AWAY", latitude=46.9480, longitude=7.4474)
    here = {"lat": 47.3779, "lon": 8.5402, "radius_m": 5000}
    items = live.client.get("/api/v1/station/nearby", params=here).json()["items"]
    assert [item["code"] for item in items] == ["NEAR", "FAR"]
    assert items[0]["distance_m"] < 30
    assert 1300 < items[1]["distance_m"] < 1400
    rentable = live.client.get("/api/v1/station/nearby", params={**here, "only": "rentable"}).json()["items"]
    assert [item["code"] for item in rentable] == ["NEAR"]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"lat": 91, "lon": 0},
        {"lat": "nan", "lon": 0},
        {"lat": 0, "lon": 0, "radius_m": 0},
        {"lat": 0, "lon": 0, "radius_m": "inf"},
        {"lat": 0, "lon": 0, "limit": 101},
        {"lat": 0, "lon": 0, "only": "pretty"},
    ],
)
def test_nearby_refuses_nonsense(live: Live, params: dict[str, Any]) -> None:
    answer = live.client.get("/api/v1/station/nearby", params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


def test_page_of_one_station(live: Live) -> None:
    add_tariff(live)
    add_station(live, charges=(90, 10), slots=3)
    page = live.client.get("/api/v1/station/ZRH-0001").json()
    slots = [(slot["number"], slot["charge_pct"], slot["rentable"], slot["returnable"]) for slot in page["slot_list"]]
    assert slots == [(1, 90, True, False), (2, 10, False, False), (3, None, False, True)]
    assert (page["banks_available"], page["slots_free"]) == (1, 1)
    assert page["tariff"]["unlock"] == {"amount_minor": 100, "currency": "EUR"}
    assert page["tariff"]["interval_minutes"] == 30
    assert page["heard_at"].endswith("Z")
    assert live.client.get("/api/v1/station/NOPE").status_code == 404
    assert live.client.get("/api/v1/station/no%20code").status_code == 422


def test_page_without_a_tariff_says_so(live: Live) -> None:
    add_station(live)
    assert live.client.get("/api/v1/station/ZRH-0001").json()["tariff"] is None


def test_entity_tags_change_with_what_is_shown_and_not_with_age(live: Live) -> None:
    add_station(live)
    for path in ("/api/v1/station", "/api/v1/station/ZRH-0001", "/api/v1/station/nearby?lat=47.37&lon=8.54"):
        tag = live.client.get(path).headers["ETag"]
        with session_scope(live.engine) as session:
            session.execute(update(Station).values(last_heard_at=utc_now()))
        same = live.client.get(path, headers={"If-None-Match": tag})
        assert (same.status_code, same.content) == (304, b"")
        with session_scope(live.engine) as session:
            session.execute(update(Station).values(name=f"Renamed for {path}"))
        assert live.client.get(path, headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/station?limit=100", "/api/v1/station/nearby?lat=47.4&lon=8.5&radius_m=50000",
                                  "/api/v1/station/ST-3"])  # fmt: skip
def test_at_most_two_statements(live: Live, path: str) -> None:
    add_tariff(live)
    for number in range(20):
        add_station(live, f"ST-{number}", charges=(90, 50, 40))
    live.client.get(path)
    with statements(live) as seen:
        assert live.client.get(path).status_code == 200
    assert 1 <= len(seen) <= 2, seen


@pytest.mark.parametrize(
    "path", ["/api/v1/station", "/api/v1/station/ST-1", "/api/v1/user/me", "/api/v1/rental/current"]
)
def test_what_only_reads_asks_the_database_nothing_more(live: Live, path: str) -> None:
    """No BEGIN, and no COMMIT to wait for."""
    add_station(live, "ST-1")
    with signed_in(live) as person:
        person.http.get(path)
        taken: list[tuple[Any, int]] = []
        event.listen(
            live.server.runtime.engine, "checkout", lambda driver, *_: taken.append((driver, driver.round_trips))
        )
        with statements(live) as seen:
            assert person.http.get(path).status_code == 200
    ((driver, before),) = taken
    assert driver.round_trips - before == len(seen)


def test_live_events_tell_the_state_and_then_what_changes(live: Live) -> None:
    add_station(live, "ONE")
    add_station(live, "TWO", online=False)
    with stream(live, "/api/v1/station/events?code=ONE&code=TWO&code=ONE") as events:
        assert [next_of(events) for _ in range(2)] == [
            ("station", {"code": "ONE", "status": "active", "online": True, "banks_available": 1, "slots_free": 3}),
            ("station", {"code": "TWO", "status": "active", "online": False, "banks_available": 0, "slots_free": 3}),
        ]
        with session_scope(live.engine) as session:
            two = session.scalars(select(Station.id).where(Station.code == "TWO")).one()
            presence.change(session, [two], online=True, cause="test", trigger="test", now=utc_now())
        name, data = next_of(events)
        assert (name, data["code"], data["online"], data["banks_available"]) == ("station", "TWO", True, 1)
        # What nobody sees a difference in is not told.
        with session_scope(live.engine) as session:
            notify(session, Channel.STATION, str(two))
        with pytest.raises(Empty):
            events.get(timeout=0.5)


def test_lost_notification_costs_time_only(live: Live) -> None:
    add_station(live, "ONE")
    with stream(live, "/api/v1/station/events?code=ONE") as events:
        next_of(events)
        with live.engine.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'voltbay-api-listen' AND datname = current_database()"
            )
        with session_scope(live.engine) as session:  # no notification at all
            session.execute(update(StationSlot).values(disabled_reason="bent"))
        assert next_of(events)[1]["banks_available"] == 0


def test_watching_an_unknown_station_or_too_many_is_refused(live: Live) -> None:
    assert live.client.get("/api/v1/station/events", params={"code": "NOPE"}).status_code == 404
    assert live.client.get("/api/v1/station/events").status_code == 422
    many = {"code": [f"ST-{number}" for number in range(51)]}
    assert live.client.get("/api/v1/station/events", params=many).status_code == 422


def test_streams_hold_no_connection_and_end_with_the_server(live: Live) -> None:
    add_station(live, "ONE")
    pool = live.server.runtime.engine.pool
    with stream(live, "/api/v1/station/events?code=ONE") as events:
        next_of(events)
        assert pool.checkedout() == 0  # type: ignore[attr-defined]  # QueuePool
        assert "voltbay_waiters 1.0" in live.client.get("/metrics").text
        live.server.handle_exit(15, None)
        assert events.get(timeout=5) is None
