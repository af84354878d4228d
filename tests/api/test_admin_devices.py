"""The operators' side of the device plane over HTTP: orders, banks, histories, presence, exports."""

import csv
import io
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
from sqlalchemy import select, update

from firmware_protocol.messages import PowerBankEjected
from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.devices import presence
from fleet.devices.models import CommandState, DeviceCommand
from fleet.stations.models import Station
from tests.api.conftest import Live
from tests.api.people import operator
from tests.api.world import Cabinet, add_station

ADMIN = "/api/v1/admin"
CODE = "ZRH-0001"


def keyed(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or uuid4().hex}


def post(boss: httpx.Client, path: str, body: dict[str, Any], key: str | None = None) -> httpx.Response:
    return boss.post(f"{ADMIN}/{path}", json=body, headers=keyed(key))


def log(boss: httpx.Client) -> list[tuple[str, str]]:
    return [(entry["action"], entry["target"]) for entry in boss.get(f"{ADMIN}/audit").json()["items"]][::-1]


def test_an_eject_is_ordered_once_and_its_bank_is_accounted_for(live: Live) -> None:
    add_station(live, charges=(90, 80))
    with operator(live) as boss:
        body = {"serial": f"{CODE}-B2", "reason": "bank is swollen"}
        first = post(boss.http, f"station/{CODE}/eject", body, "one")
        assert (first.status_code, first.json()["args"]) == (202, {"slot": 2, "serial": f"{CODE}-B2"})
        assert post(boss.http, f"station/{CODE}/eject", body, "one").json() == first.json()
        with session_scope(live.engine) as session:
            session.execute(update(DeviceCommand).values(state=CommandState.SENT, sent_at=utc_now()))

        Cabinet(live).says(PowerBankEjected(slot=2, serial=f"{CODE}-B2", command_id=first.json()["id"]))
        [case] = boss.http.get(f"{ADMIN}/orphan-case").json()["items"]
        assert (case["reason"], case["power_bank"]) == ("operator_eject", f"{CODE}-B2")
        assert boss.http.get(f"{ADMIN}/command/{first.json()['id']}").json()["state"] == "succeeded"
        nothing = post(boss.http, f"station/{CODE}/eject", {"reason": "what"})
        assert (nothing.status_code, nothing.json()["field"]) == (422, "body.slot")
        elsewhere = post(boss.http, f"station/{CODE}/eject", {"serial": "NOPE", "reason": "who"})
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (409, "bank_not_there")
        assert log(boss.http) == [("command.eject_power_bank", CODE)]


def test_what_the_cabinet_cannot_do_is_a_clear_refusal(live: Live) -> None:
    add_station(live)
    with session_scope(live.engine) as session:
        session.execute(update(Station).values(dialect="volinks"))
    with operator(live) as boss:
        able = boss.http.get(f"{ADMIN}/station/{CODE}/commands").json()
        assert (able["dialect"], "lock_slot" in able["commands"]) == ("volinks", False)
        refused = post(boss.http, f"station/{CODE}/command", {"type": "lock_slot", "args": {"slot": 1}})
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (409, "command_not_supported")
        assert problem["supported"] == able["commands"]
        assert able["vendor_commands"]["set_wifi"] == ["wifi_ssid", "wifi_password"]
        order = {"type": "vendor_command", "args": {"name": "load_ad"}}
        silent = post(boss.http, f"station/{CODE}/command", order)
        assert (silent.status_code, log(boss.http)) == (422, [])  # without a reason
        made = post(boss.http, f"station/{CODE}/command", {**order, "reason": "new adverts"})
        assert (made.status_code, made.json()["args"]) == (202, {"name": "load_ad"})
        unknown = post(boss.http, f"station/{CODE}/command", {**order, "args": {"name": "explode"}, "reason": "x"})
        assert (unknown.status_code, unknown.json()["code"]) == (409, "command_not_supported")
        assert "upload_all" in unknown.json()["supported"]


def test_a_password_in_an_order_is_told_to_nobody(live: Live) -> None:
    add_station(live)
    with operator(live) as boss:
        body = {"type": "set_network", "args": {"wifi_ssid": "lobby", "wifi_password": "hunter2-hunter2"}}
        made = post(boss.http, f"station/{CODE}/command", body)
        assert (made.status_code, made.json()["args"]["wifi_password"]) == (202, "***")
        for path in (f"station/{CODE}/command", f"station/{CODE}/history", "audit", f"command/{made.json()['id']}"):
            assert "hunter2" not in boss.http.get(f"{ADMIN}/{path}").text


def test_maintenance_on_and_off_with_its_history(live: Live) -> None:
    add_station(live)
    with operator(live) as boss:
        for on in (True, True, False):
            answer = post(boss.http, f"station/{CODE}/maintenance", {"on": on, "reason": "screen broken"})
            assert (answer.status_code, answer.json()["status"]) == (200, "maintenance" if on else "active")
        spells = boss.http.get(f"{ADMIN}/station/{CODE}/status-history").json()["items"]
        assert [(each["status"], each["cause"], each["until"] is None) for each in spells] == [
            ("active", "operator", True),
            ("maintenance", "operator", False),
        ]
        assert post(boss.http, f"station/{CODE}/maintenance", {"on": True}).status_code == 422
        boss.http.patch(f"{ADMIN}/station/{CODE}", json={"status": "disabled"})
        refused = post(boss.http, f"station/{CODE}/maintenance", {"on": False, "reason": "back"})
        assert (refused.status_code, refused.json()["code"]) == (409, "station_is_disabled")


def test_banks_are_held_released_and_adopted(live: Live) -> None:
    add_station(live, charges=(90, 80))
    serial = f"{CODE}-B1"
    with operator(live) as boss:
        held = post(boss.http, f"bank/{serial}/hold", {"reason": "swollen"}).json()
        assert (held["state"], held["reason"], held["state_set_by"]) == ("quarantined", "swollen", "operator")
        assert boss.http.get(f"{ADMIN}/station/{CODE}").json()["banks_available"] == 1
        found = boss.http.get(f"{ADMIN}/bank", params={"state": "quarantined"}).json()["items"]
        assert [bank["serial"] for bank in found] == [serial]
        lost = post(boss.http, f"bank/{serial}/hold", {"state": "lost", "reason": "gone"})
        assert (lost.status_code, lost.json()["code"], lost.json()["place"]) == (409, "bank_is_here", f"{CODE}/1")
        assert post(boss.http, f"bank/{serial}/release", {"reason": "fine"}).json()["state"] == "available"
        again = post(boss.http, f"bank/{serial}/release", {"reason": "fine"})
        assert (again.status_code, again.json()["code"]) == (409, "bank_not_held")
        assert post(boss.http, f"bank/{serial}/adopt", {"reason": "ours"}).json()["known"] is True
        assert boss.http.get(f"{ADMIN}/bank/NOPE").json()["code"] == "bank_not_found"
        assert post(boss.http, f"bank/{serial}/hold", {"state": "rented", "reason": "what"}).status_code == 422
        history = boss.http.get(f"{ADMIN}/bank/{serial}/history").json()["items"]
        assert [entry["summary"] for entry in history] == ["bank.adopt", "bank.release", "bank.quarantined"]
        assert history[1]["detail"]["by"] == str(boss.user.id)


def test_lists_and_histories_go_on_where_they_ended(live: Live) -> None:
    add_station(live, charges=(90, 80, 70))
    with operator(live) as boss:
        for number in (1, 2, 3):
            boss.http.patch(f"{ADMIN}/station/{CODE}/slot/1", json={"disabled_reason": f"bent {number}"})
        for path in ("bank", f"station/{CODE}/slot/1/history"):
            first = boss.http.get(f"{ADMIN}/{path}", params={"limit": 2}).json()
            rest = boss.http.get(f"{ADMIN}/{path}", params={"limit": 2, "cursor": first["next"]}).json()
            assert (len(first["items"]), len(rest["items"]), rest["next"]) == (2, 1, None)
        assert boss.http.get(f"{ADMIN}/station/{CODE}/slot/9/history").json()["code"] == "slot_not_found"


def test_availability_of_a_station_and_of_the_fleet(live: Live) -> None:
    add_station(live, online=False)
    now = utc_now()
    with session_scope(live.engine) as session:
        [station_id] = session.scalars(select(Station.id))
        for hours, online, cause in ((4, True, "booted"), (2, False, "power"), (1, True, "booted")):
            at = now - timedelta(hours=hours)
            presence.change(session, [station_id], online=online, cause=cause, trigger="test", now=at)
    period = {"since": (now - timedelta(hours=5)).isoformat(), "until": now.isoformat()}
    with operator(live) as boss:
        found = boss.http.get(f"{ADMIN}/station/{CODE}/availability", params=period).json()
        assert (found["unknown_s"], found["online_s"], found["offline_s"]) == (3600, 3 * 3600, 3600)
        assert (found["availability"], found["by_cause"]) == (0.75, [{"cause": "power", "offline_s": 3600}])
        fleet = boss.http.get(f"{ADMIN}/offline-time", params=period).json()
        assert fleet["items"] == [{"cause": "power", "stations": 1, "losses": 1, "offline_s": 3600}]
        wrong = boss.http.get(f"{ADMIN}/offline-time", params={"since": now.isoformat(), "until": period["since"]})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "since")


def test_exports_are_csv_and_noted(live: Live) -> None:
    add_station(live, charges=(90,))
    with operator(live) as boss:
        for what, count in (("stations", 1), ("slots", 4), ("banks", 1)):
            answer = boss.http.get(f"{ADMIN}/export/{what}.csv")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
            assert len(list(csv.DictReader(io.StringIO(answer.text)))) == count
        assert boss.http.get(f"{ADMIN}/export/riders.csv").status_code == 422
        assert [action for action, _ in log(boss.http)] == ["export.stations", "export.slots", "export.banks"]
