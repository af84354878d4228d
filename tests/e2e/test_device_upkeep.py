"""Configuration across a restart, a log with a lost piece, and a rollout with one bad cabinet that halts."""

import base64
import gzip
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from firmware_protocol.firmware.documents import Image, Release
from firmware_protocol.firmware.trust import Trust, digest
from fleet.common.clock import utc_now
from simulators.driver import Driver
from simulators.faults import FaultKind
from tests.fleet.devices.firmware.world import ROOT, signed
from tests.system.clients import Operator, Rider, ok
from tests.system.system import System
from tests.system.waiting import until

IMAGE = b"firmware of the end-to-end tests\n" * 20_000
NEW = "1.1.0"
_DAY_MS = 86_400_000


def test_a_change_of_configuration_survives_a_restart_in_the_middle(
    system: System, station: str, operator: Operator
) -> None:
    where = f"/admin/station/{station}/config"
    ok(operator.http.put(where, json={"values": {"volume_pct": 40, "language": "de"}}))

    def at(standing: str) -> Any:
        found = operator.get(where)
        return found if found["standing"] == standing else None

    until(lambda: at("in_sync"), lambda: f"the cabinet has it: {operator.get(where)}")
    system.cabinets.fleet.disconnect(station)
    ok(operator.http.put(where, json={"values": {"volume_pct": 55}}))
    system.cabinets.fleet.on(station, Driver.reboot)
    system.cabinets.fleet.connect(station)
    found = until(lambda: at("in_sync"), lambda: f"the cabinet has it: {operator.get(where)}")
    assert found["reported"] == {"volume_pct": 55}
    assert system.cabinets.fleet.on(station, lambda d: dict(d.cabinet.board.config)) == {"volume_pct": 55}
    system.cabinets.fault(station, FaultKind.CONFIG_REFUSED)
    ok(operator.http.put(where, json={"values": {"volume_pct": 60}}))
    refused = until(lambda: at("refused"), lambda: f"the cabinet refuses: {operator.get(where)}")
    assert refused["refused_code"] == "bad_value"


def test_a_log_comes_whole_although_a_piece_was_lost(system: System, station: str, operator: Operator) -> None:
    def many_lines(driver: Driver) -> None:
        board = driver.cabinet.board
        board.tuning = replace(board.tuning, log_chunk_bytes=200)
        for number in range(20):
            board.note(f"line {number} of a log that is long enough", 1)

    system.cabinets.fleet.on(station, many_lines)
    system.cabinets.fault(station, FaultKind.LOST_LOG_CHUNK)
    asked = operator.post(f"/admin/station/{station}/log", {"reason": "a test"})

    def complete() -> Any:
        found = operator.get(f"/admin/device-log/{asked['id']}")
        return found if found["state"] == "complete" else None

    log = until(complete, lambda: f"the log: {operator.get('/admin/device-log/' + asked['id'])}")
    assert log["asked"] == 2
    file = operator.http.get(f"/admin/device-log/{asked['id']}/content")
    lines = gzip.decompress(file.content).decode().splitlines()
    assert [line for line in lines if "line 19" in line]
    assert len(file.content) > 0
    assert log["chunks"] > 3


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _release(operator: Operator, now_ms: int) -> Any:
    root = replace(ROOT, expires_ms=now_ms + 900 * _DAY_MS)
    operator.post("/admin/firmware/root", {"envelope": _b64(signed(root))})
    release = Release(
        version=NEW, counter=2, hardware=("sim-8",), issued_ms=now_ms - 1000, expires_ms=now_ms + _DAY_MS,
        image=Image(size=len(IMAGE), sha256=digest(IMAGE)), min_version="1.0",
    )  # fmt: skip
    added = operator.post("/admin/firmware/release", {"envelope": _b64(signed(release))})
    return ok(operator.http.put(f"/admin/firmware/release/{added['id']}/image", content=IMAGE))


def test_a_rollout_over_six_stations_with_one_bad_halts(
    system: System, unused: Iterator[str], operator: Operator, rider: Rider
) -> None:
    stations = [next(unused) for _ in range(6)]
    bad = stations[1]
    now_ms = round(utc_now().timestamp() * 1000)
    release = _release(operator, now_ms)
    factory = Trust(root=replace(ROOT, expires_ms=now_ms + 900 * _DAY_MS))

    def install(driver: Driver) -> None:
        driver.cabinet.board.trust = factory

    for code in stations:
        system.cabinets.fleet.on(code, install)
    system.cabinets.fault(bad, FaultKind.CORRUPT_IMAGE)
    plan = {
        "release_id": release["id"], "name": "e2e", "failure_pct": 10, "per_minute": 6000, "device_deadline_s": 60,
        "groups": [{"name": "canary", "stations": stations[:2]}, {"name": "rest", "stations": stations[2:]}],
    }  # fmt: skip
    made = operator.post("/admin/firmware/rollout", plan)
    where = f"/admin/firmware/rollout/{made['id']}"
    operator.post(f"{where}/approve", {})

    def state(wanted: str) -> Any:
        found = operator.get(where)
        return found if found["state"] == wanted else None

    halted = until(lambda: state("halted"), lambda: f"it halts: {operator.get(where)}", 60)
    assert halted["reason"] == "group 1 (canary): 1 of 2 failed"
    failed = operator.get(f"{where}/target", state="failed")["items"]
    assert [(target["station"], target["code"]) for target in failed] == [(bad, "wrong_image")]
    assert halted["groups"][1]["counts"] == {"waiting": 4}
    # Somebody has looked at it: that one gets another turn, and then the others theirs.
    operator.post(f"{where}/resume", {"retry_failed": True})
    until(lambda: state("waiting"), lambda: f"the canaries are through: {operator.get(where)}", 60)
    operator.post(f"{where}/next_group", {})
    done = until(lambda: state("completed"), lambda: f"all are through: {operator.get(where)}", 60)
    assert [group["counts"] for group in done["groups"]] == [{"updated": 2}, {"updated": 4}]
    for code in stations:
        assert operator.get(f"/admin/station/{code}")["firmware_version"] == NEW
        assert system.cabinets.fleet.on(code, lambda d: d.cabinet.board.trust and d.cabinet.board.trust.counter) == 2
    assert rider.rent(stations[0])["state"] == "active"
