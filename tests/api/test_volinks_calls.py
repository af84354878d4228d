"""What Volinks cabinets call over HTTP: who gets credentials, and how little is believed."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from firmware_protocol.dialects.volinks import codec
from firmware_protocol.dialects.volinks.boards import Board, Hole, Inventory
from firmware_protocol.dialects.volinks.signature import sign
from fleet.common.clock import utc_now
from fleet.common.models import OutboxEvent
from fleet.config import service as config
from fleet.db import session_scope
from fleet.devices.models import DeadLetter, DeviceCommand
from fleet.devices.vendor_models import DeviceCall, DeviceProfile
from fleet.stations.models import Station
from tests.api.conftest import Live, Serve
from tests.api.people import operator
from tests.api.world import add_station, add_tariff

IMEI = "864601068412899"
CONNECT = {"simUUID": "8946", "simMobile": "", "uuid": IMEI, "deviceId": "0"}
FRAME = codec.encode_up(Inventory(boards=(Board(address=1, holes=tuple(Hole(hole=n, state=0) for n in range(1, 5))),)))


@pytest.fixture
def live(serve: Serve) -> Live:
    live = serve(cabinet_secret_url="mqtt://broker.example:1885")
    add_volinks(live)
    return live


def add_volinks(live: Live) -> None:
    add_station(live, "V-1")
    with session_scope(live.engine) as session:
        station = session.scalars(select(Station).where(Station.code == "V-1")).one()
        station.dialect, station.hardware_id, station.online = "volinks", IMEI, False


def signed(parameters: dict[str, str]) -> dict[str, str]:
    return {**parameters, "sign": sign(parameters)}


def connect(live: Live, **changes: str) -> httpx.Response:
    return live.client.post(
        "/api/rentbox/client/connect", params=signed({**CONNECT, **changes}), content="hardware=V6086&software=1.2"
    )


def rows(live: Live, kind: type[Any]) -> list[Any]:
    with Session(live.engine) as session:
        return list(session.scalars(select(kind)))


def test_connect_tells_the_broker_and_the_cabinets_own_secret(live: Live) -> None:
    answer = connect(live).json()
    assert (answer["code"], answer["type"]) == (200, 0)
    client_id, product, host, port, user, password, at = answer["data"].split(",")
    assert (client_id, product, host, port, user) == (IMEI, "powerbank", "broker.example", "1885", IMEI)
    assert len(password) == 43
    assert abs(int(at) - answer["time"]) < 1000
    assert connect(live).json()["data"].split(",")[5] == password
    (profile,) = rows(live, DeviceProfile)
    assert (profile.firmware, profile.connected_from) == ("hardware=V6086&software=1.2", "127.0.0.1")
    assert [each.kind for each in rows(live, DeviceCall)] == ["connect", "connect"]
    # Older firmware.
    older = live.client.get("/api/iot/client/con", params=signed({"uuid": IMEI}))
    assert older.json()["data"].split(",")[5] == password


def test_strangers_and_wrong_signs_get_nothing_and_leave_a_trace(live: Live) -> None:
    for uuid in ("864601068412890", "864601068412891"):
        answer = connect(live, uuid=uuid)
        assert (answer.status_code, answer.json()["data"]) == (404, None)
    wrong = live.client.post("/api/rentbox/client/connect", params={**CONNECT, "sign": "0" * 32})
    assert (wrong.status_code, wrong.json()["data"]) == (403, None)
    letters = rows(live, DeadLetter)
    assert [each.error_code for each in letters] == ["unknown_cabinet", "unknown_cabinet", "wrong_sign"]
    assert "864601068412891" in letters[1].error
    with Session(live.engine) as session:
        assert session.scalar(text("SELECT count(*) FROM device_credential")) == 0
        # An unknown cabinet is nowhere: nobody makes a station of it, at 0, 0 or anywhere else.
        assert session.scalars(select(Station.code)).all() == ["V-1"]


def test_a_call_from_outside_the_cabinets_networks_gets_nothing(serve: Serve) -> None:
    live = serve(cabinet_secret_url="mqtt://broker.example", device_networks=("10.0.0.0/8",))
    add_volinks(live)
    assert connect(live).status_code == 404
    assert [each.error_code for each in rows(live, DeadLetter)] == ["foreign_network"]
    # Nor does one that names no cabinet: what it answers is where firmware comes from.
    with session_scope(live.engine) as session:
        config.put(session, "volinks.versions", {"main.1": "a,1,https://f.example"}, utc_now())
    answer = live.client.get("/api/rentbox/client/version/main", params={"id": "1"})
    assert (answer.status_code, answer.json()["data"]) == (404, None)
    assert [each.error_code for each in rows(live, DeadLetter)] == ["foreign_network"] * 2


def test_a_revoked_cabinet_gets_no_new_secret_until_it_is_readmitted(live: Live) -> None:
    before = connect(live).json()["data"].split(",")[5]
    cabinet = "/api/v1/admin/station/V-1/cabinet"
    with operator(live) as boss:
        revoked = boss.http.post("/api/v1/admin/station/V-1/credential/revoke", json={"reason": "stolen"})
        assert revoked.json() == {"revoked": 1}
        for _ in range(2):
            answer = connect(live)
            assert (answer.status_code, answer.json()["data"], answer.json()["msg"]) == (403, None, "locked_out")
        with Session(live.engine) as session:
            assert session.scalar(text("SELECT count(*) FROM device_credential WHERE state <> 'revoked'")) == 0
        assert boss.http.get(cabinet).json()["locked_out_at"] is not None
        assert boss.http.patch(cabinet, json={"readmit": True}).json()["locked_out_at"] is None
    after = connect(live).json()["data"].split(",")[5]
    assert after != before


def test_a_cabinet_revoked_before_its_first_call_gets_nothing_either(live: Live) -> None:
    with operator(live) as boss:
        boss.http.post("/api/v1/admin/station/V-1/credential/revoke", json={"reason": "lost on its way"})
    assert connect(live).status_code == 403
    assert [each.error_code for each in rows(live, DeadLetter)] == ["locked_out"]


def test_in_production_nobody_connects_while_no_network_is_named(serve: Serve) -> None:
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    secrets = {"secret_key": "x" * 40, "sandbox_webhook_secret": "y" * 40, "token_private_key": key}
    live = serve(environment="production", cabinet_secret_url="mqtt://broker.example", **secrets)
    add_volinks(live)
    answer = connect(live)
    assert (answer.status_code, answer.json()["msg"]) == (503, "VOLTBAY_DEVICE_NETWORKS is not set")
    assert rows(live, DeviceCall) == rows(live, DeviceProfile) == []


def told(live: Live) -> list[tuple[str, str]]:
    """Of calls that may be somebody else's: to those who listen, and in the calls themselves."""
    doubts = [each.payload["doubt"] for each in rows(live, OutboxEvent) if each.name == "devices.ConnectDoubted.v1"]
    return list(zip(doubts, [each.doubt for each in rows(live, DeviceCall) if each.doubt is not None], strict=True))


def test_connect_for_a_connected_cabinet_is_told_to_operators(live: Live) -> None:
    connect(live)
    assert told(live) == []
    online(live)
    # What gets nothing for want of a sign is a dead letter, and no more.
    live.client.post("/api/rentbox/client/connect", params={**CONNECT, "sign": "0" * 32})
    assert told(live) == []
    connect(live)
    assert told(live) == [("connected", "connected")]


def test_connect_from_another_network_than_the_last_is_told_to_operators(live: Live) -> None:
    connect(live)
    with session_scope(live.engine) as session:
        session.execute(update(DeviceProfile).values(connected_from="127.0.0.77"))
    connect(live)
    assert told(live) == []
    with session_scope(live.engine) as session:
        session.execute(update(DeviceProfile).values(connected_from="10.7.0.1"))
    connect(live)
    assert told(live) == [("network", "network")]
    assert rows(live, DeviceProfile)[0].connected_from == "127.0.0.1"


def online(live: Live) -> None:
    with session_scope(live.engine) as session:
        session.scalars(select(Station).where(Station.code == "V-1")).one().online = True


def questions(live: Live) -> list[DeviceCommand]:
    return [each for each in rows(live, DeviceCommand) if each.kind == "query_inventory"]


@pytest.mark.parametrize("path", ["/api/rentbox/client/upload", "/api/rentbox/upload/data"])
def test_an_inventory_over_http_moves_nothing_and_has_the_cabinet_asked(live: Live, path: str) -> None:
    online(live)
    parameters = signed({"rentboxSN": IMEI, "signal": "CSQ:31"})
    for _ in range(3):
        answer = live.client.post(path, params=parameters, content=FRAME, headers={"Content-Type": "text/plain"})
        assert answer.json()["code"] == 200
    assert len(questions(live)) == 1
    kept = rows(live, DeviceCall)
    assert [(bytes(each.body), each.signed) for each in kept] == [(FRAME, True)] * 3
    with Session(live.engine) as session:
        assert session.scalar(text("SELECT count(*) FROM station_slot WHERE power_bank_id IS NOT NULL")) == 1


def test_a_return_over_http_closes_nothing_and_has_the_cabinet_asked(live: Live) -> None:
    online(live)
    parameters = signed({"rentboxSN": IMEI, "singleSN": "10001001", "hole": "3"})
    for _ in range(2):
        assert live.client.get("/api/rentbox/order/return", params=parameters).json()["code"] == 200
    (question,) = questions(live)
    assert question.not_before is not None
    assert question.not_before - question.created_at == timedelta(seconds=5)
    bad = live.client.get("/api/rentbox/order/return", params=signed({"rentboxSN": IMEI, "hole": "-1"}))
    assert (bad.status_code, rows(live, DeadLetter)[0].error_code) == (400, "invalid_field")


def test_what_else_cabinets_ask_for(live: Live) -> None:
    add_tariff(live)
    with session_scope(live.engine) as session:
        versions = {"main.1": "QUEC.bin,1024,https://f.example/QUEC.bin"}
        config.put(session, "volinks.versions", versions, utc_now())  # type: ignore[arg-type]  # JSON of strings
    get = live.client.get
    assert get("/api/rentbox/client/version/main", params={"id": "1"}).json()["data"].startswith("QUEC.bin,")
    assert get("/api/rentbox/client/version/control", params={"id": "1"}).json()["data"] is None
    uuid = signed({"uuid": IMEI, "position": "screen"})
    assert get("/api/advert/rentbox/distribute/list", params=uuid).json()["data"] == []
    assert get("/api/common/config/pre_auth_amount", params={"uuid": IMEI}).json()["data"] == "5.00"
    configuration = get("/api/rentbox/config/data", params=signed({"rentboxSN": IMEI})).json()["data"]
    assert '"dRotationRefer": 15' in configuration
    older = get("/api/iot/app/version/publish/mcu", params=signed({"appUuid": "0", "deviceUuid": IMEI}))
    assert older.json()["code"] == 200


def test_calls_are_limited_per_cabinet(serve: Serve) -> None:
    live = serve(cabinet_secret_url="mqtt://broker.example", rate_limit_scale=0.1)
    add_volinks(live)
    answers = [connect(live).status_code for _ in range(8)]
    assert answers == [200] * 6 + [429] * 2
    assert connect(live, uuid="1").status_code == 404


def test_another_name_in_a_call_does_not_get_round_the_limit(serve: Serve) -> None:
    live = serve(rate_limit_scale=0.1)
    upload = "/api/rentbox/client/upload"
    names = ({"rentboxSN": "another-name", "uuid": str(number)} for number in range(8))
    answers = [live.client.post(upload, params=signed(each), content=FRAME).status_code for each in names]
    assert answers == [404] * 6 + [429] * 2


def test_little_is_kept_of_what_strangers_send_and_not_much_of_anybody(live: Live) -> None:
    body = b"x" * 100_000
    for sn in ("1", IMEI):
        live.client.post("/api/rentbox/client/upload", params=signed({"rentboxSN": sn}), content=body)
    strangers, known = (bytes(each.payload).partition(b"\n\n")[2] for each in rows(live, DeadLetter))
    assert (len(strangers), len(known)) == (1024, 64 * 1024)
    assert [len(each.body) for each in rows(live, DeviceCall)] == [64 * 1024]
