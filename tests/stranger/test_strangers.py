"""Cabinets that share no code with the backend: what docs/protocol.md says is enough, and is what the backend does."""

import json
import re
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.stranger.power import SHELL_SCRIPT, Powered, Python, Shell
from tests.system.clients import Rider
from tests.system.system import System
from tests.system.waiting import until

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
_FENCE = re.compile(r"<!-- cabinet\.sh -->\n```sh\n(.*?)```", re.DOTALL)
pytestmark = pytest.mark.e2e
needs_mosquitto_clients = pytest.mark.skipif(
    shutil.which("mosquitto_pub") is None, reason="mosquitto's clients are not installed"
)


class Wire:
    """What goes over one station's topics: `down` as the station may read it, `up` as the gateway may."""

    def __init__(self, code: str, device_url: str, gateway_url: str) -> None:
        self.frames: list[dict[str, Any]] = []
        self._code = code
        self._clients = (self._listen(device_url, code, "down"), self._listen(gateway_url, None, "up"))

    def _listen(self, url: str, user: str | None, way: str) -> mqtt.Client:
        address = urlsplit(url)
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.username_pw_set(user or address.username, address.password)
        subscribed = Event()
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = lambda _client, _data, message: self.frames.append(json.loads(message.payload))
        client.connect(address.hostname or "", address.port or 1883)
        client.subscribe(f"vb/v1/{self._code}/{way}/#", qos=1)
        client.loop_start()
        assert subscribed.wait(10)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.disconnect()
            client.loop_stop()

    def heard(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == kind]

    def results_of(self, command: dict[str, Any]) -> list[dict[str, Any]]:
        return [frame for frame in self.heard("command_result") if frame["data"]["command_id"] == command["id"]]

    def send_again(self, command: dict[str, Any]) -> None:
        again = json.dumps(command | {"attempt": command["attempt"] + 1})
        self._clients[1].publish(f"vb/v1/{self._code}/down/command", again, qos=1)


@pytest.fixture
def wire(system: System, code: str) -> Iterator[Wire]:
    wire = Wire(code, system.stack.device_mqtt_url, system.stack.environment["MQTT_URL"])
    yield wire
    wire.close()


def test_one_rental_with_the_python_cabinet(python: Python, rider: Rider, bank: str) -> None:
    _rent_and_return(python, rider, bank)
    until(lambda: not python.flash()["journal"], "everything is acknowledged")


@needs_mosquitto_clients
def test_one_rental_with_the_shell_cabinet(shell: Shell, rider: Rider, bank: str) -> None:
    _rent_and_return(shell, rider, bank)


def test_the_shell_cabinet_is_the_one_that_the_document_prints() -> None:
    printed = _FENCE.search(DOCUMENT.read_text(encoding="utf-8"))
    assert printed is not None
    assert printed[1] == SHELL_SCRIPT.read_text(encoding="utf-8")


def test_a_return_without_network_counts_from_its_own_time(python: Python, rider: Rider, bank: str) -> None:
    rental = rider.start(python.code, wait=20)
    python.type("lose")
    until(lambda: not rider.get(f"/station/{python.code}")["online"], "the will is heard")
    python.type(f"insert 3 {bank} 35")
    held = until(lambda: python.flash()["journal"], "the return is journaled")[0]
    assert rider.rental(rental["id"])["state"] == "active"

    python.type("find")
    done = rider.wait_state(rental["id"], "completed")
    assert _milliseconds(done["ended_at"]) == pytest.approx(held["at"], abs=500)
    until(lambda: not python.flash()["journal"], "everything is acknowledged")
    assert python.flash()["epoch"] == 2


def test_a_command_that_comes_again_moves_nothing(python: Python, rider: Rider, bank: str, wire: Wire) -> None:
    rental = rider.start(python.code, wait=20)
    (eject,) = until(lambda: wire.heard("eject_power_bank"), "the command is heard")
    python.type(f"insert 4 {bank} 38")
    ended = rider.wait_state(rental["id"], "completed")

    wire.send_again(eject)
    until(lambda: len(wire.results_of(eject)) == 2, "the result is told again")
    first, second = wire.results_of(eject)
    assert first["data"] == second["data"]
    assert first["data"]["outcome"] == "succeeded"
    assert first["seq"] < second["seq"]
    until(lambda: not python.flash()["journal"], "the second result is stored")
    assert len(wire.heard("power_bank_ejected")) == 1
    assert rider.rental(rental["id"]) == ended
    assert rider.get(f"/station/{python.code}")["banks_available"] == 1


def test_power_fails_before_the_bank_has_left(python: Python, rider: Rider) -> None:
    rental_id = _cut_off_eject(python, rider)
    python.start()
    failed = rider.wait_state(rental_id, "eject_failed")
    assert failed["failure_code"] == "interrupted"
    wallet = rider.wallet()
    assert (wallet["balance"]["amount_minor"], wallet["held"]["amount_minor"]) == (5000, 0)


def test_power_fails_after_the_bank_has_left(python: Python, rider: Rider, bank: str) -> None:
    rental_id = _cut_off_eject(python, rider)
    python.pull_by_hand(2)
    python.start()
    assert rider.wait_state(rental_id, "active")["power_bank"] == bank
    python.type(f"insert 1 {bank} 30")
    rider.wait_state(rental_id, "completed")


def test_a_cabinet_that_lost_its_memory_is_lifted_above_its_past(python: Python, rider: Rider) -> None:
    python.cut_power()
    python.start()
    until(lambda: python.settled(2), "the second start is over")
    python.cut_power()
    (python.folder / "flash.json").unlink()
    python.start()
    until(lambda: python.settled(3), "it starts at 1 and goes on above 2")
    until(lambda: rider.get(f"/station/{python.code}")["online"], "its epochs start over too, and it is online")
    assert rider.start(python.code, wait=20)["state"] == "active"


def _rent_and_return(cabinet: Powered, rider: Rider, bank: str) -> None:
    rental = rider.start(cabinet.code, wait=20)
    assert (rental["state"], rental["slot_out"], rental["power_bank"]) == ("active", 2, bank)
    cabinet.type(f"insert 4 {bank} 31")
    done = rider.wait_state(rental["id"], "completed")
    assert (done["station_in"], done["slot_in"], done["charge_in_pct"]) == (cabinet.code, 4, 31)
    assert done["charged"] == done["price"]
    assert rider.wallet()["held"]["amount_minor"] == 0


def _cut_off_eject(python: Python, rider: Rider) -> str:
    """The power fails while the motor turns; returns the rental."""
    python.cut_power()
    python.start(eject_s=60)
    until(lambda: python.settled(2), "the restarted cabinet is known")
    until(lambda: rider.get(f"/station/{python.code}")["online"], "the restarted cabinet is online")
    rental_id: str = rider.start(python.code)["id"]
    python.wait_for_motor()
    python.cut_power()
    return rental_id


def _milliseconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp() * 1000
