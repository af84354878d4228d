"""Operators' side of configuration, logs and firmware, over HTTP; and the image as cabinets fetch it."""

import base64
import gzip
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from msgspec.structs import replace
from sqlalchemy import select

from firmware_protocol.firmware.trust import digest
from firmware_protocol.messages import LogChunk
from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.devices.facts import DeviceFact
from fleet.devices.firmware import releases
from fleet.devices.logs import collect
from fleet.devices.models import DeviceCommand, DeviceSession
from fleet.stations.models import Station
from fleet.users.models import UserAuditLog
from tests.api.conftest import Live, Serve
from tests.api.people import Person, operator
from tests.api.world import add_station
from tests.fleet.devices.firmware.world import HARDWARE, IMAGE, ROOT, A, a_release, signed
from tests.system.waiting import until

ADMIN = "/api/v1/admin"


@pytest.fixture
def boss(live: Live) -> Iterator[Person]:
    with operator(live) as person:
        yield person


def ok(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def station_id(live: Live) -> int:
    with session_scope(live.engine) as session:
        return session.scalars(select(Station.id)).one()


def test_configuration_is_set_shown_and_guarded(live: Live, boss: Person) -> None:
    add_station(live)
    assert {key["name"] for key in ok(boss.http.get(f"{ADMIN}/device-config/key"))["items"]} >= {"volume_pct"}
    assert ok(boss.http.get(f"{ADMIN}/station/ZRH-0001/config"))["standing"] == "unset"
    layer = f"{ADMIN}/device-config/layer/dialect/native"
    assert ok(boss.http.put(layer, json={"values": {"volume_pct": 10}, "expected_version": 0}))["version"] == 1
    conflict = boss.http.put(layer, json={"values": {}, "expected_version": 0})
    assert (conflict.status_code, conflict.json()["code"]) == (409, "config_changed")
    wrong = boss.http.put(layer, json={"values": {"volume_pct": 500}})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "values.volume_pct")
    ok(boss.http.put(f"{ADMIN}/device-group/airport", json={"rank": 3}))
    members = f"{ADMIN}/device-group/airport/station"
    assert ok(boss.http.post(members, json={"add": ["ZRH-0001"]}))["items"] == ["ZRH-0001"]
    assert boss.http.post(members, json={"add": ["NOBODY"]}).status_code == 404
    ok(boss.http.put(f"{ADMIN}/device-config/layer/group/airport", json={"values": {"language": "de"}}))
    assert boss.http.delete(f"{ADMIN}/device-group/airport").status_code == 409
    told = ok(boss.http.put(f"{ADMIN}/station/ZRH-0001/config", json={"values": {"night_mode": True}}))
    assert told["desired"] == {"volume_pct": 10, "language": "de", "night_mode": True}
    assert told["standing"] == "pending"
    with session_scope(live.engine) as session:
        assert session.scalars(select(DeviceCommand.kind)).all() == ["set_config"]
    pending = ok(boss.http.get(f"{ADMIN}/device-config/station", params={"standing": "pending"}))
    assert [row["station"] for row in pending["items"]] == ["ZRH-0001"]
    for standing in ("drifted", "refused", "in_sync", "unset"):
        assert ok(boss.http.get(f"{ADMIN}/device-config/station", params={"standing": standing}))["items"] == []
    ok(boss.http.delete(f"{ADMIN}/device-config/layer/group/airport"), 204)
    ok(boss.http.delete(f"{ADMIN}/device-group/airport"), 204)
    assert ok(boss.http.get(f"{ADMIN}/device-group"))["items"] == []
    assert [each["name"] for each in ok(boss.http.get(f"{ADMIN}/device-config/layer"))["items"]] == ["native"]
    with session_scope(live.engine) as session:
        actions = session.scalars(select(UserAuditLog.action).order_by(UserAuditLog.id)).all()
    assert actions == [
        "device_config.put", "device_group.put", "device_group.change", "device_config.put", "device_config.put",
        "device_config.delete", "device_group.delete",
    ]  # fmt: skip


def test_a_log_is_asked_for_watched_and_read(live: Live, boss: Person) -> None:
    add_station(live)
    log = ok(boss.http.post(f"{ADMIN}/station/ZRH-0001/log", json={"reason": "jams"}), 202)
    assert log["state"] == "requested"
    empty = boss.http.get(f"{ADMIN}/device-log/{log['id']}/content")
    assert (empty.status_code, empty.json()["code"]) == (409, "device_log_empty")
    now = utc_now()
    with session_scope(live.engine) as session:
        for index, content in ((1, b"two\n"), (0, b"one\n")):
            chunk = LogChunk(request_id=log["id"], index=index, last=index == 1, content=content)
            fact = DeviceFact(
                station_id=station_id(live), station_code="ZRH-0001", boot=1, seq=1, occurred_at=now, received_at=now,
                replayed=False, message=chunk,
            )  # fmt: skip
            collect.take_chunk(session, fact, chunk, now)
    assert ok(boss.http.get(f"{ADMIN}/device-log/{log['id']}"))["state"] == "complete"
    file = boss.http.get(f"{ADMIN}/device-log/{log['id']}/content")
    assert gzip.decompress(file.content) == b"one\ntwo\n"
    listed = ok(boss.http.get(f"{ADMIN}/device-log", params={"station": "ZRH-0001"}))
    assert [row["id"] for row in listed["items"]] == [log["id"]]
    assert boss.http.get(f"{ADMIN}/device-log/{uuid4()}").status_code == 404


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture
def release(live: Live, boss: Person) -> Any:
    """Signed, added, its image brought."""
    now = utc_now()
    root = replace(ROOT, expires_ms=round(now.timestamp() * 1000) + 10**10)
    ok(boss.http.post(f"{ADMIN}/firmware/root", json={"envelope": b64(signed(root))}), 201)
    added = ok(boss.http.post(f"{ADMIN}/firmware/release", json={"envelope": b64(signed(a_release(now)))}), 201)
    assert added["state"] == "no_image"
    return ok(boss.http.put(f"{ADMIN}/firmware/release/{added['id']}/image", content=IMAGE))


def link(live: Live, release_id: int, *, station: str = "A", seconds: int = 60) -> str:
    secret = live.settings.secret_bytes("firmware-links")
    return releases.link(secret, live.url, release_id, station, utc_now() + timedelta(seconds=seconds))


def test_a_release_is_what_was_signed(live: Live, boss: Person, release: Any) -> None:
    assert (release["state"], release["size"]) == ("ready", len(IMAGE))
    other = b64(signed(a_release(utc_now(), counter=8), A))
    refused = boss.http.post(f"{ADMIN}/firmware/release", json={"envelope": other})
    assert (refused.status_code, refused.json()["reason"]) == (422, "bad_signature")
    image = f"{ADMIN}/firmware/release/{release['id']}/image"
    for wrong in (IMAGE + b"!", IMAGE[1:], b"x" * (len(IMAGE) + 3_000_000)):
        answer = boss.http.put(image, content=wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "wrong_content")
    ok(boss.http.put(image, content=IMAGE))
    assert live.client.put(image, content=IMAGE).status_code == 401
    assert [row["version"] for row in ok(boss.http.get(f"{ADMIN}/firmware/root"))["items"]] == [1]
    assert len(ok(boss.http.get(f"{ADMIN}/firmware/release"))["items"]) == 1


def test_an_image_is_served_whole_and_in_ranges(live: Live, release: Any) -> None:
    url = link(live, release["id"])
    whole = live.client.get(url)
    assert (whole.status_code, whole.content, whole.headers["Accept-Ranges"]) == (200, IMAGE, "bytes")
    etag = whole.headers["ETag"]
    part = live.client.get(url, headers={"Range": "bytes=100-199", "If-Range": etag})
    assert (part.status_code, part.content) == (206, IMAGE[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(IMAGE)}"
    assert live.client.get(url, headers={"Range": "bytes=-5"}).content == IMAGE[-5:]
    changed = live.client.get(url, headers={"Range": "bytes=100-", "If-Range": '"another"'})
    assert (changed.status_code, len(changed.content)) == (200, len(IMAGE))
    beyond = live.client.get(url, headers={"Range": f"bytes={len(IMAGE)}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(IMAGE)}")


def test_only_the_address_that_was_given_works(live: Live, boss: Person, release: Any) -> None:
    good = link(live, release["id"])
    for url in (
        link(live, release["id"], seconds=-1),
        good.replace("/A?", "/B?"),
        good.replace(f"/{release['id']}/", f"/{release['id'] + 1}/"),
        good[:-1] + ("0" if good[-1] != "0" else "1"),
    ):
        answer = live.client.get(url)
        assert (answer.status_code, answer.json()["code"]) == (403, "link_refused")
    ok(boss.http.post(f"{ADMIN}/firmware/release/{release['id']}/withdraw"))
    assert live.client.get(good).json()["code"] == "firmware_release_not_ready"


def test_downloads_are_polite(serve: Serve) -> None:
    live = serve(firmware_downloads_max=1, firmware_download_bps=5_000)
    image = b"x" * 200_000
    with operator(live) as boss:
        now = utc_now()
        root = replace(ROOT, expires_ms=round(now.timestamp() * 1000) + 10**10)
        ok(boss.http.post(f"{ADMIN}/firmware/root", json={"envelope": b64(signed(root))}), 201)
        wanted = a_release(now)
        wanted = replace(wanted, image=replace(wanted.image, size=len(image), sha256=digest(image)))
        added = ok(boss.http.post(f"{ADMIN}/firmware/release", json={"envelope": b64(signed(wanted))}), 201)
        ok(boss.http.put(f"{ADMIN}/firmware/release/{added['id']}/image", content=image))
    url = link(live, added["id"])
    with httpx.stream("GET", url, timeout=30) as slow:
        parts = slow.iter_raw(1000)  # kept: an iterator that is dropped hangs up
        assert next(parts) == image[:1000]  # what follows takes half a minute
        busy = live.client.get(url)
        assert (busy.status_code, busy.headers["Retry-After"]) == (503, "10")
        assert busy.json()["code"] == "too_many_downloads"
    # Who hangs up makes room.
    tail = {"Range": "bytes=-10"}
    assert until(lambda: live.client.get(url, headers=tail).content == image[-10:], "there is room again")


def test_a_rollout_is_planned_approved_and_steered(live: Live, boss: Person, release: Any) -> None:
    add_station(live)
    body = {"release_id": release["id"], "name": "all", "groups": [{"name": "all", "percent": 100}]}
    nobody = boss.http.post(f"{ADMIN}/firmware/rollout", json=body)
    assert (nobody.status_code, nobody.json()["code"]) == (422, "no_rollout_targets")
    now = utc_now()
    with session_scope(live.engine) as session:
        session.add(
            DeviceSession(
                station_id=session.scalars(select(Station.id)).one(), epoch=1, boot=1, firmware="1.0.0",
                hardware=HARDWARE, reset_cause="power_on", connected_at=now, last_seen_at=now,
            )
        )  # fmt: skip
    made = ok(boss.http.post(f"{ADMIN}/firmware/rollout", json=body), 201)
    assert (made["state"], made["groups"][0]["counts"]) == ("draft", {"waiting": 1})
    where = f"{ADMIN}/firmware/rollout/{made['id']}"
    assert boss.http.post(f"{where}/pause", json={}).json()["code"] == "illegal_transition"
    assert ok(boss.http.post(f"{where}/approve", json={"reason": "tested"}))["state"] == "running"
    assert ok(boss.http.post(f"{where}/pause", json={}))["state"] == "paused"
    assert ok(boss.http.post(f"{where}/resume", json={}))["state"] == "running"
    assert boss.http.post(f"{where}/next_group", json={}).status_code == 422
    assert ok(boss.http.post(f"{where}/abort", json={}))["state"] == "aborted"
    assert ok(boss.http.get(where))["version"] == "1.1.0"
    targets = ok(boss.http.get(f"{where}/target", params={"state": "skipped"}))["items"]
    assert [target["station"] for target in targets] == ["ZRH-0001"]
    events = ok(boss.http.get(f"{where}/event"))["items"]
    assert [(event["before"], event["after"]) for event in events][-4:] == [
        ("running", "aborted"), ("paused", "running"), ("running", "paused"), ("draft", "running"),
    ]  # fmt: skip
    assert len(ok(boss.http.get(f"{ADMIN}/firmware/rollout"))["items"]) == 1
    two = {**body, "groups": [{"name": "all", "percent": 100, "group": "x"}]}
    assert boss.http.post(f"{ADMIN}/firmware/rollout", json=two).status_code == 422
