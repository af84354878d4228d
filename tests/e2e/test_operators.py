"""What operators do with cabinets, with frames that nobody could read, and with wallets."""

import subprocess
import sys
from typing import Any

import httpx

from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import SlotLocked, UpFrame
from tests.system.clients import Operator, Rider
from tests.system.publishing import publisher
from tests.system.system import System
from tests.system.waiting import until

_LOCKED = (
    "SELECT s.locked FROM station_slot s JOIN station t ON t.id = s.station_id"
    " WHERE t.code = :code AND s.number = :slot"
)


def _command(operator: Operator, station: str, kind: str, **args: Any) -> Any:
    queued = operator.post(f"/admin/station/{station}/command", {"type": kind, "args": args, "reason": "a test"})

    def settled() -> Any:
        found = operator.get(f"/admin/command/{queued['id']}")
        return found if found["state"] not in {"queued", "sent"} else None

    return until(settled, f"{kind} is settled")


def test_commands_reach_the_cabinet(system: System, station: str, operator: Operator) -> None:
    assert _command(operator, station, "lock_slot", slot=2)["outcome"] == "succeeded"
    assert system.cabinets.fleet.station(station).slots[1].locked
    until(lambda: system.scalar(_LOCKED, code=station, slot=2), "the lock is known")
    assert _command(operator, station, "unlock_slot", slot=2)["outcome"] == "succeeded"
    assert _command(operator, station, "query_inventory")["outcome"] == "succeeded"
    assert _command(operator, station, "set_volume", volume_pct=30)["outcome"] == "succeeded"
    empty = system.cabinets.free_slot(station)
    assert _command(operator, station, "eject_power_bank", slot=empty)["code"] == "slot_empty"


def test_an_operators_eject_is_accounted_for(system: System, station: str, operator: Operator) -> None:
    slot, serial = next(iter(system.cabinets.banks(station).items()))
    assert _command(operator, station, "eject_power_bank", slot=slot)["serial"] == serial
    assert serial in system.cabinets.in_hands()
    system.cabinets.fleet.insert(station, serial, slot=slot)


def test_a_reboot_comes_back(system: System, station: str, operator: Operator, rider: Rider) -> None:
    boot = system.cabinets.fleet.station(station).boot
    assert _command(operator, station, "reboot")["outcome"] == "succeeded"
    until(lambda: system.cabinets.fleet.station(station).boot > boot, "it started again")
    system.settle()
    assert rider.rent(station)["state"] == "active"


def test_a_frame_of_an_unknown_station_counts_once_it_is_known(system: System, operator: Operator) -> None:
    code = "NEW-0001"
    frame = NATIVE.publish_up(UpFrame(station=code, boot=1, seq=1, at_ms=None, message=SlotLocked(slot=1)))
    with publisher(system.stack.device_mqtt_url, code) as client:
        client.publish(frame.topic, frame.payload, qos=1).wait_for_publish(10)

    def letter() -> Any:
        letters = operator.get("/admin/dead-letter", station=code)["items"]
        return letters[0] if letters else None

    found = until(letter, "the dead letter")
    assert found["error_code"] == "unknown_station"
    assert operator.get(f"/admin/dead-letter/{found['id']}")["payload_hex"] == frame.payload.hex()
    assert system.scalar("SELECT count(*) FROM station WHERE code = :code", code=code) == 0

    operator.post("/admin/station", {"code": code, "name": "New", "latitude": 38.7, "longitude": -9.1, "slots": 2})
    replay = [sys.executable, "-m", "cli.main", "dead-letters", "replay", str(found["id"])]
    done = subprocess.run(replay, env=system.process_environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert operator.get(f"/admin/dead-letter/{found['id']}")["state"] == "replayed"
    assert system.scalar(_LOCKED, code=code, slot=1) is True


def test_a_dead_letter_is_discarded(system: System, station: str, operator: Operator) -> None:
    with publisher(system.stack.device_mqtt_url, station) as client:
        client.publish(f"vb/v1/{station}/up/event", b"\x00 not a frame", qos=1).wait_for_publish(10)

    def letter() -> Any:
        letters = operator.get("/admin/dead-letter", station=station)["items"]
        return letters[0] if letters else None

    found = until(letter, "the dead letter")
    discarded = operator.post(f"/admin/dead-letter/{found['id']}/discard")
    assert (discarded["state"], bytes.fromhex(discarded["payload_hex"])) == ("discarded", b"\x00 not a frame")
    assert letter() is None


def test_a_wallet_is_adjusted_once(system: System, operator: Operator, rider: Rider) -> None:
    body = {"amount_minor": 700, "currency": "EUR", "reason": "goodwill"}
    for _ in range(2):
        operator.post(f"/admin/user/{rider.id}/wallet/adjust", body, key=f"adjust-{rider.id}")
    assert rider.wallet()["balance"]["amount_minor"] == 5700
    other_body = operator.post_raw(
        f"/admin/user/{rider.id}/wallet/adjust", {**body, "amount_minor": 1}, key=f"adjust-{rider.id}"
    )
    assert other_body.status_code == 422


def test_a_station_under_maintenance_gives_nothing(
    system: System, station: str, operator: Operator, rider: Rider
) -> None:
    operator_patch = operator.http.patch(f"/admin/station/{station}", json={"status": "maintenance", "reason": "test"})
    assert operator_patch.is_success, operator_patch.text
    refused = rider.start_raw(station)
    assert refused.status_code == 409, refused.text
    assert system.cabinets.moves(station) == 0
    assert rider.wallet()["held"]["amount_minor"] == 0


def _slot_fault(system: System, station: str, slot: int, kind: str) -> None:
    answer = httpx.post(
        f"{system.cabinets.fleet.control_url}/stations/{station}/slot-fault", json={"slot": slot, "kind": kind}
    )
    assert answer.is_success, answer.text


def test_a_jam_becomes_an_alert_and_a_short_circuit_takes_a_slot_out_of_use(
    system: System, station: str, operator: Operator
) -> None:
    body = {
        "name": f"jams of {station}",
        "kind": "jam_rate",
        "severity": "critical",
        "threshold": 1,
        "station": station,
    }
    rule = operator.post("/admin/alert-rule", body)
    _slot_fault(system, station, 1, "jam")
    (alert,) = until(lambda: operator.get("/admin/alert", station=station, kind="jam_rate")["items"], "an alert")
    assert (alert["rule"], alert["value"], alert["state"]) == (rule["name"], 1, "open")
    looked_after = operator.post(f"/admin/alert/{alert['id']}/acknowledge", {"note": "spring replaced"})
    assert [each["what"] for each in looked_after["history"]] == ["opened", "acknowledged"]

    def disabled() -> str | None:
        reason: str | None = operator.get(f"/admin/station/{station}")["slot_list"][1]["disabled_reason"]
        return reason

    _slot_fault(system, station, 2, "short")
    assert until(disabled, "the slot is out of use") == "health: short circuit"
    _command(operator, station, "query_inventory")
    assert disabled() is not None
    assert operator.http.patch(f"/admin/station/{station}/slot/2", json={"disabled_reason": None}).is_success
    assert disabled() is None
    assert operator.http.delete(f"/admin/alert-rule/{rule['id']}").is_success
