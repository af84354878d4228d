"""The conformance kit: what keeps the protocol passes, what does not is named, and the exit status says so."""

import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from msgspec.structs import replace
from paho.mqtt.enums import CallbackAPIVersion
from typer.testing import CliRunner

from cli.main import app
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import Booted, Heartbeat, Online, UpFrame, UpMessage
from firmware_protocol.types import ResetCause
from simulators.broker import Broker
from simulators.conformance import plan
from simulators.conformance.bench import Patience
from simulators.conformance.connecting import must_keep_its_cause
from simulators.conformance.verdicts import BrokenRequirement, Line, Verdict
from simulators.faults import Fault, FaultKind
from simulators.spec import default_fleet
from simulators.testing import FleetThread
from simulators.tuning import Tuning, Wire
from tests.simulators.backend import MiniBackend

#: Answers may take long on a busy machine; where nothing may come, a short look is enough.
PATIENCE = Patience(boot_s=60, withhold_s=0.5, silence_s=0.2)
#: For cabinets that are known to be silent.
LITTLE = Patience(answer_s=0.1, boot_s=0.1, withhold_s=0.1, silence_s=0.1)
QUICK = Tuning(encoding=Wire.MIXED, eject_ms=(0, 0), reboot_ms=(10, 50), backoff_base_s=0.05)


@contextmanager
def cabinet(code: str, mqtt_url: str, device_url: str) -> Iterator[FleetThread]:
    """One that a backend has welcomed, and left alone: it obeys when it is told to restart."""
    spec = default_fleet(1, seed=3)
    fleet = FleetThread(replace(spec, stations=(replace(spec.stations[0], code=code),)), device_url, tuning=QUICK)
    with contextlib.ExitStack() as backend:
        backend.enter_context(MiniBackend(mqtt_url))
        with fleet:
            fleet.wait_welcomed(60)
            backend.close()
            yield fleet


def failed(lines: list[Line]) -> set[str]:
    return {line.requirement for line in lines if line.verdict is Verdict.FAILED}


def test_a_simulated_cabinet_keeps_the_protocol(mqtt_url: str, device_mqtt_url: str) -> None:
    with cabinet("CONF-1", mqtt_url, device_mqtt_url) as fleet:
        lines = plan.run(mqtt_url, "CONF-1", alone=True, ejects=True, patience=PATIENCE)
        assert [(line.requirement, line.why) for line in lines if line.verdict is Verdict.FAILED] == []
        assert len(fleet.banks_out()) == 2
    tried = [line for line in lines if line.title in {check.title for check in plan.CHECKS}]
    left_out = {line.requirement for line in tried if line.verdict is not Verdict.PASSED}
    # 6.7 takes 20 s, 10.6.1 a root of trust, and the second 6.8 is for those beside another backend.
    assert left_out == {"6.7", "10.6.1", "6.8"}
    (query,) = [line for line in lines if line.requirement == "10.2"]
    ways = {tuple(frame.split()[:2]) for frame in query.evidence}
    assert {(">", "vb/v1/CONF-1/down/command"), ("<", "vb/v1/CONF-1/up/event")} <= ways


def test_a_cabinet_that_answers_nothing_fails(mqtt_url: str, device_mqtt_url: str) -> None:
    with cabinet("CONF-2", mqtt_url, device_mqtt_url) as fleet:
        fleet.add_fault("CONF-2", Fault(kind=FaultKind.NO_ANSWER))
        fleet.reboot("CONF-2")
        lines = plan.run(mqtt_url, "CONF-2", alone=True, patience=replace(LITTLE, boot_s=60))
    assert {"10.2", "8.2.1", "10.4"} <= failed(lines)
    (query,) = [line for line in lines if line.requirement == "10.2"]
    assert query.why == "command_result: not within 0.1 s"
    assert any("query_inventory" in frame for frame in query.evidence)


class Talker:
    """Boots, and does not wait for its welcome."""

    def __init__(self, code: str, device_url: str) -> None:
        self.code = code
        self._subscribed = threading.Event()
        broker = Broker.from_url(device_url)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=code, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(code)
        self._client.on_message = self._boot_again
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect(broker.host, broker.port)
        self._client.subscribe(f"vb/v1/{code}/down/+", qos=1)
        self._client.loop_start()
        assert self._subscribed.wait(15)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _boot_again(self, *_: Any) -> None:
        self._say(Online(epoch=1), 0)
        self._say(Booted(epoch=1, firmware="1", hardware="talker", slots=4), 0)
        self._say(Heartbeat(mains=True), 1)

    def _say(self, message: UpMessage, seq: int) -> None:
        said = NATIVE.publish_up(UpFrame(station=self.code, boot=1, seq=seq, at_ms=None, message=message))
        self._client.publish(said.topic, said.payload, said.qos)


@pytest.fixture
def talker(device_mqtt_url: str) -> Iterator[Talker]:
    talker = Talker("CONF-3", device_mqtt_url)
    yield talker
    talker.close()


def test_a_cabinet_that_does_not_wait_for_its_welcome_fails(talker: Talker, mqtt_url: str) -> None:
    lines = plan.run(mqtt_url, talker.code, alone=True, patience=replace(LITTLE, boot_s=60, withhold_s=60))
    gate = next(line for line in lines if line.requirement == "6.5")
    assert gate.verdict is Verdict.FAILED
    assert "heartbeat" in gate.why


class Settled(Talker):
    """Online since before the run: only its `booted` comes again, until it is welcomed."""

    def _boot_again(self, *_: Any) -> None:
        self._say(Booted(epoch=1, firmware="1", hardware="settled", slots=4), 0)


def test_what_a_cabinet_said_before_the_run_is_not_missed(mqtt_url: str, device_mqtt_url: str) -> None:
    with contextlib.closing(Settled("CONF-4", device_mqtt_url)) as settled:
        lines = plan.run(mqtt_url, settled.code, alone=True, patience=replace(LITTLE, boot_s=60))
    (online,) = [line for line in lines if line.requirement == "6.4"]
    assert (online.verdict, online.why) == (Verdict.NOT_RUN, "it did not restart, and was there before this run")


def test_a_cabinet_that_forgets_why_it_started_before_anybody_heard_of_it_fails() -> None:
    must_keep_its_cause(ResetCause.BROWNOUT, ResetCause.BROWNOUT)
    with pytest.raises(BrokenRequirement, match="expected power_on, as no welcome came since the start, got reconnect"):
        must_keep_its_cause(ResetCause.POWER_ON, ResetCause.RECONNECT)


def test_nobody_there_is_one_failure_and_the_exit_status(mqtt_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "QUICK", LITTLE)
    ran = CliRunner().invoke(app, ["conformance", "--station", "CONF-NOBODY", "--mqtt", mqtt_url, "--quick", "--json"])
    assert ran.exit_code == 1
    verdicts = [line["verdict"] for line in json.loads(ran.stdout)]
    assert verdicts.count("failed") == 1
    assert verdicts[0] == "failed"
    assert verdicts.count("passed") == 0


def test_no_broker_is_one_line() -> None:
    ran = CliRunner().invoke(app, ["conformance", "--station", "VB-1", "--mqtt", "mqtt://127.0.0.1:1"])
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr.count("\n") == 1
