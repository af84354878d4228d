"""Simulated cabinets over a real broker."""

from collections.abc import Iterator

import httpx
import pytest

from firmware_protocol.commands import EjectPowerBank
from firmware_protocol.messages import (
    Booted,
    CommandResult,
    Heartbeat,
    Inventory,
    JournalRange,
    Offline,
    PowerBankEjected,
    PowerBankInserted,
    SlotTelemetry,
)
from firmware_protocol.types import CommandOutcome, OfflineCause
from simulators.errors import NotReady
from simulators.faults import Fault, FaultKind
from simulators.spec import default_fleet
from simulators.testing import FleetThread
from simulators.tuning import Tuning, Wire
from tests.simulators.backend import MiniBackend

AT_ONCE = Tuning(eject_ms=(0, 0), encoding=Wire.MIXED, heartbeat_s=1, telemetry_s=1, reboot_ms=(50, 100))
FIRST, SECOND = "VB-0001", "VB-0002"


@pytest.fixture
def backend(mqtt_url: str) -> Iterator[MiniBackend]:
    with MiniBackend(mqtt_url) as backend:
        yield backend


@pytest.fixture
def fleet(backend: MiniBackend, device_mqtt_url: str) -> Iterator[FleetThread]:
    with FleetThread(default_fleet(3), device_mqtt_url, tuning=AT_ONCE) as fleet:
        fleet.wait_welcomed()
        yield fleet


def test_a_bank_goes_out_of_one_cabinet_and_into_another(backend: MiniBackend, fleet: FleetThread) -> None:
    bank = fleet.spec.stations[0].banks[0]
    result = backend.command(FIRST, EjectPowerBank(slot=bank.slot, serial=bank.serial))
    assert (result.outcome, result.slot, result.serial) == (CommandOutcome.SUCCEEDED, bank.slot, bank.serial)
    assert fleet.banks_out() == [bank.serial]
    slot = fleet.insert(SECOND, bank.serial, charge_pct=20)
    backend.wait_for(lambda: len(backend.of(SECOND, PowerBankInserted)) == 1)
    inserted = backend.of(SECOND, PowerBankInserted)[0].message
    assert inserted == PowerBankInserted(slot=slot, serial=bank.serial, charge_pct=20)
    assert fleet.banks_out() == []


def test_acknowledged_events_leave_the_journal(backend: MiniBackend, fleet: FleetThread) -> None:
    backend.wait_for(lambda: len(backend.of(FIRST, Inventory)) == 1)
    backend.acknowledges = False
    fleet.remove(FIRST, fleet.spec.stations[0].banks[0].slot)
    backend.wait_for(lambda: len(backend.of(FIRST, PowerBankEjected)) == 1)
    assert fleet.station(FIRST).journal >= 1
    backend.acknowledges = True
    fleet.remove(FIRST, fleet.spec.stations[0].banks[1].slot)
    # The acknowledgement is cumulative only over what this backend stored: the gap keeps both.
    backend.resend(FIRST, JournalRange(boot=1, first=1, last=10))
    backend.wait_for(lambda: fleet.station(FIRST).journal == 0 or bool(backend.of(FIRST, Heartbeat)[8:]))
    assert fleet.station(FIRST).journal == 0


def test_heartbeats_and_telemetry_flow(backend: MiniBackend, fleet: FleetThread) -> None:
    backend.wait_for(lambda: len(backend.of(FIRST, Heartbeat)) > 1 and len(backend.of(SECOND, SlotTelemetry)) > 1)


def test_a_cut_wire_publishes_the_will_and_the_journal_catches_up(backend: MiniBackend, fleet: FleetThread) -> None:
    bank = fleet.spec.stations[0].banks[0]
    epoch = fleet.station(FIRST).epoch
    fleet.disconnect(FIRST)
    backend.wait_for(lambda: bool(backend.of(FIRST, Offline)))
    assert backend.of(FIRST, Offline)[0].message == Offline(epoch=epoch, cause=OfflineCause.NETWORK)
    fleet.remove(FIRST, bank.slot)
    fleet.connect(FIRST)
    backend.wait_for(lambda: bool(backend.of(FIRST, PowerBankEjected)))
    (left,) = backend.of(FIRST, PowerBankEjected)
    assert left.replayed
    boots = [frame.message for frame in backend.of(FIRST, Booted)]
    assert isinstance(boots[-1], Booted)
    assert boots[-1].epoch > epoch
    assert boots[-1].journal


def test_a_reboot_comes_back_under_the_next_boot(backend: MiniBackend, fleet: FleetThread) -> None:
    fleet.reboot(FIRST)
    backend.wait_for(lambda: backend.of(FIRST, Booted)[-1].boot == 2)
    backend.wait_for(lambda: backend.of(FIRST, Inventory)[-1].boot == 2)


def test_every_message_twice_and_noise_beside_it(backend: MiniBackend, fleet: FleetThread) -> None:
    fleet.add_fault(FIRST, Fault(kind=FaultKind.DUPLICATE))
    fleet.add_fault(FIRST, Fault(kind=FaultKind.GARBAGE))
    bank = fleet.spec.stations[0].banks[0]
    backend.command(FIRST, EjectPowerBank(slot=bank.slot))
    backend.wait_for(lambda: len(backend.of(FIRST, CommandResult)) == 2)
    assert len(backend.of(FIRST, PowerBankEjected)) == 2
    assert backend.garbage >= 1


def test_a_planned_end_is_said_and_retained(backend: MiniBackend, device_mqtt_url: str, mqtt_url: str) -> None:
    with FleetThread(default_fleet(2), device_mqtt_url, tuning=AT_ONCE) as fleet:
        fleet.wait_welcomed()
    backend.wait_for(lambda: len({f.station for f in backend.frames if isinstance(f.message, Offline)}) == 2)
    causes = {frame.message.cause for frame in backend.frames if isinstance(frame.message, Offline)}
    assert causes == {OfflineCause.SHUTDOWN}


def test_nobody_answers(device_mqtt_url: str) -> None:
    fleet = FleetThread(default_fleet(1), device_mqtt_url, tuning=AT_ONCE)
    with fleet, pytest.raises(NotReady, match="0 of 1"):
        fleet.wait_welcomed(timeout_s=0.5)


def test_no_broker_is_no_reason_to_give_up() -> None:
    with FleetThread(default_fleet(1), "mqtt://127.0.0.1:1", tuning=AT_ONCE) as fleet:
        with pytest.raises(NotReady):
            fleet.wait_welcomed(timeout_s=0.5)
        assert fleet.station(FIRST).boot == 1


def test_the_control_api_shows_and_changes_the_fleet(backend: MiniBackend, fleet: FleetThread) -> None:
    bank = fleet.spec.stations[0].banks[0]
    with httpx.Client(base_url=fleet.control_url) as http:
        assert http.get("/health").json()["welcomed"] == 3
        assert {"GET /stations", "POST /stations/{code}/insert"} < set(http.get("/").json())
        assert [row["code"] for row in http.get("/stations").json()] == [FIRST, SECOND, "VB-0003"]
        removed = http.post(f"/stations/{FIRST}/remove", json={"slot": bank.slot})
        assert removed.json()["slots"][bank.slot - 1]["bank"] is None
        assert [row["serial"] for row in http.get("/banks").json()] == [bank.serial]
        inserted = http.post(f"/stations/{SECOND}/insert", json={"serial": bank.serial, "charge_pct": 12})
        assert (inserted.status_code, inserted.json()["serial"]) == (201, bank.serial)
        assert http.get("/banks").json() == []
        again = http.post(f"/stations/{SECOND}/insert", json={"serial": bank.serial})
        assert (again.status_code, again.headers["content-type"]) == (409, "application/problem+json")
        assert bank.serial in again.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/stations/VB-9999/reboot", {}, 404),
        (f"/stations/{FIRST}/insert", {"serial": "PB-nobody-knows"}, 404),
        (f"/stations/{FIRST}/insert", {"serial": "no spaces"}, 422),
        (f"/stations/{FIRST}/insert", {}, 422),
        (f"/stations/{FIRST}/remove", {"slot": 99}, 409),
        (f"/stations/{FIRST}/faults", {"kind": "earthquake"}, 422),
        (f"/stations/{FIRST}/faults", {"kind": "no_answer", "typo": 1}, 422),
    ],
)
def test_the_control_api_refuses_with_a_reason(
    fleet: FleetThread, path: str, body: dict[str, object], status: int
) -> None:
    answer = httpx.post(fleet.control_url + path, json=body)
    assert answer.status_code == status
    assert answer.json()["detail"]


def test_faults_by_http(backend: MiniBackend, fleet: FleetThread) -> None:
    here = f"/stations/{FIRST}"
    bank = fleet.spec.stations[0].banks[0]
    with httpx.Client(base_url=fleet.control_url) as http:
        set_on = http.post(f"{here}/faults", json={"kind": "failed_eject", "count": 1, "code": "bank_stuck"})
        assert set_on.status_code == 201
        assert [fault["kind"] for fault in set_on.json()["faults"]] == ["failed_eject"]
        result = backend.command(FIRST, EjectPowerBank(slot=bank.slot))
        assert (result.outcome, result.code) == (CommandOutcome.FAILED, "bank_stuck")
        assert http.get(here).json()["faults"] == []
        http.post(f"{here}/clock", json={"drift_ms": 5000})
        assert http.get(here).json()["clock_drift_ms"] == 5000
        http.post(f"{here}/faults", json={"kind": "lost_ack"})
        assert http.delete(f"{here}/faults").json()["faults"] == []
        assert http.post(f"{here}/disconnect", json={}).status_code == 202
        assert http.get(here).json()["connection"] == "idle"
        assert http.post(f"{here}/connect").status_code == 202
    fleet.wait_welcomed()
