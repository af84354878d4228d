"""The shell cabinet of docs/protocol.md, section 15, as printed, against a broker and the least possible backend."""

import os
import queue
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from firmware_protocol import topics
from firmware_protocol.commands import (
    Ack,
    Command,
    CommandFrame,
    EjectPowerBank,
    QueryInventory,
    Reboot,
    Resend,
    Welcome,
)
from firmware_protocol.dialect import Published
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import (
    Booted,
    CommandResult,
    Heartbeat,
    Inventory,
    JournalLost,
    JournalRange,
    Offline,
    Online,
    PowerBankEjected,
    PowerBankInserted,
    SampleMessage,
    SessionMessage,
    UpFrame,
)
from firmware_protocol.types import CommandOutcome
from simulators.conformance import plan
from simulators.conformance.bench import Patience
from simulators.conformance.verdicts import Verdict

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
CODE = "SH-0001"
_FENCE = re.compile(r"<!-- cabinet\.sh -->\n```sh\n(.*?)```", re.DOTALL)
pytestmark = pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="mosquitto's clients are not installed")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Backend:
    """Welcomes, stores nothing, acknowledges when asked to, and keeps what it heard in order."""

    def __init__(self, url: str) -> None:
        self.heard: queue.Queue[UpFrame] = queue.Queue()
        self.boot_floor = 0
        self.knows_it = True
        self.heartbeat_s = 1
        parts = urlsplit(url)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(parts.username, parts.password)
        self._client.on_message = self._on_message
        self._client.connect(parts.hostname or "", parts.port or 1883)
        self._client.subscribe(topics.ALL_UP, qos=1)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, message: Published) -> None:
        self._client.publish(message.topic, message.payload, message.qos)

    def command(self, command_id: str, command: Command, deadline_ms: int | None = None) -> None:
        deadline = now_ms() + 20_000 if deadline_ms is None else deadline_ms
        frame = CommandFrame(command_id=command_id, deadline_ms=deadline, attempt=1, command=command)
        self.send(NATIVE.encode_command(CODE, frame))

    def next(self) -> UpFrame:
        """The next message that is not a sample, decoded by the rules of the gateway."""
        while isinstance((frame := self.heard.get(timeout=20)).message, SampleMessage):
            pass
        return frame

    def event(self) -> UpFrame:
        while isinstance((frame := self.next()).message, SessionMessage):
            pass
        return frame

    def _on_message(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        content_type = getattr(message.properties, "ContentType", None)
        frame = NATIVE.decode(message.topic, bytes(message.payload), content_type)
        if isinstance(frame.message, Booted) and self.knows_it:
            welcome = Welcome(
                epoch=frame.message.epoch,
                server_ms=now_ms(),
                heartbeat_s=self.heartbeat_s,
                telemetry_s=60,
                boot_floor=self.boot_floor,
            )
            self.send(NATIVE.encode_control(CODE, welcome))
        self.heard.put(frame)


class Cabinet:
    """The script in its own folder and process group, with its keyboard."""

    def __init__(self, folder: Path, url: str) -> None:
        script = _FENCE.search(DOCUMENT.read_text(encoding="utf-8"))
        assert script is not None
        (folder / "cabinet.sh").write_text(script[1], encoding="utf-8")
        self.folder = folder
        self._address = urlsplit(url)
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        arguments = ["sh", "cabinet.sh", CODE, self._address.hostname or "", str(self._address.port)]
        self._process = subprocess.Popen(
            arguments, cwd=self.folder, stdin=subprocess.PIPE, text=True, bufsize=1, start_new_session=True
        )

    def type(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")

    def kill(self) -> None:
        """The power fails."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def journal(self) -> list[str]:
        return (self.folder / f"cabinet-{CODE}" / "journal").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def backend(mqtt_url: str) -> Iterator[Backend]:
    backend = Backend(mqtt_url)
    yield backend
    backend.close()


@pytest.fixture
def cabinet(tmp_path: Path, device_mqtt_url: str) -> Iterator[Cabinet]:
    cabinet = Cabinet(tmp_path, device_mqtt_url)
    yield cabinet
    cabinet.kill()


def start(cabinet: Cabinet, backend: Backend) -> tuple[Booted, UpFrame]:
    """Through the boot gate; returns what it said of itself and the first event."""
    cabinet.start()
    online = None
    while not isinstance(message := backend.next().message, Booted):
        online = message
    assert online == Online(epoch=message.epoch)
    return message, backend.event()


def test_a_script_is_at_most_100_lines() -> None:
    script = _FENCE.search(DOCUMENT.read_text(encoding="utf-8"))
    assert script is not None
    assert len(script[1].splitlines()) <= 100


def test_one_rental_from_the_page(cabinet: Cabinet, backend: Backend) -> None:
    booted, first = start(cabinet, backend)
    assert booted.slots == 4
    assert isinstance(first.message, Inventory)
    assert (first.boot, first.seq, first.message.complete, len(first.message.slots)) == (1, 1, True, 4)

    cabinet.type("insert 2 PB00009001 40")
    inserted = backend.event()
    assert inserted.message == PowerBankInserted(slot=2, serial="PB00009001", charge_pct=40)
    backend.send(NATIVE.encode_control(CODE, Ack(boot=1, through=inserted.seq)))

    backend.command("c-1", EjectPowerBank(slot=2, serial="PB00009001"))
    ejected, done = backend.event(), backend.event()
    assert ejected.message == PowerBankEjected(slot=2, serial="PB00009001", charge_pct=40, command_id="c-1")
    result = CommandResult(command_id="c-1", outcome=CommandOutcome.SUCCEEDED, slot=2, serial="PB00009001")
    assert (done.message, done.seq) == (result, ejected.seq + 1)
    assert [line.split()[:2] for line in cabinet.journal()] == [["1", "3"], ["1", "4"]]

    backend.command("c-1", EjectPowerBank(slot=2, serial="PB00009001"))
    assert backend.event().message == result

    cabinet.type("insert 4 PB00009001 31")
    assert backend.event().message == PowerBankInserted(slot=4, serial="PB00009001", charge_pct=31)


def test_it_boots_again_until_somebody_knows_it(cabinet: Cabinet, backend: Backend) -> None:
    """6.7: most often it is switched on before it is registered."""
    backend.knows_it = False
    cabinet.start()
    while not isinstance(backend.next().message, Booted):
        pass
    backend.knows_it = True
    assert isinstance(backend.next().message, Booted)
    assert isinstance(backend.event().message, Inventory)


def test_it_tells_what_it_no_longer_holds_and_sends_the_rest_again(cabinet: Cabinet, backend: Backend) -> None:
    _, first = start(cabinet, backend)
    for slot in (1, 2, 3):
        cabinet.type(f"insert {slot} PB{slot} 90")
        last = backend.event()
    assert (first.seq, last.seq) == (1, 4)
    backend.send(NATIVE.encode_control(CODE, Ack(boot=1, through=2)))
    until_freed(cabinet, held=2)
    backend.send(NATIVE.encode_control(CODE, Resend(ranges=(JournalRange(boot=1, first=1, last=9),))))
    assert backend.next().message == JournalLost(boot=1, first=1, last=2)
    again = [backend.next(), backend.next()]
    assert [(frame.seq, frame.replayed) for frame in again] == [(3, True), (4, True)]
    backend.send(NATIVE.encode_control(CODE, Resend(ranges=(JournalRange(boot=1, first=8, last=9),))))
    cabinet.type("insert 4 PB4 90")
    assert backend.next().seq == 5  # what it never made is not lost


def test_the_conformance_kit_finds_nothing_wrong_with_it(cabinet: Cabinet, mqtt_url: str) -> None:
    """What is printed as an example has to keep the rest of the document."""
    cabinet.start()
    cabinet.type("insert 1 PB1 80")
    cabinet.type("insert 3 PB3 70")
    patience = Patience(boot_s=60, withhold_s=0.5, silence_s=0.2)
    lines = plan.run(mqtt_url, CODE, alone=True, ejects=True, patience=patience)
    assert [(line.requirement, line.why) for line in lines if line.verdict is Verdict.FAILED] == []
    assert sum(line.verdict is Verdict.PASSED for line in lines) > 25


def until_freed(cabinet: Cabinet, *, held: int) -> None:
    deadline = time.monotonic() + 20
    while len(cabinet.journal()) != held:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_cannot_be_read_is_ignored(cabinet: Cabinet, backend: Backend) -> None:
    """8.7: it answered with a frame that nobody could read."""
    start(cabinet, backend)
    for payload in (b"", b"\xff\x00", b'{"v":1,"type":"query_inventory","data":[]}'):
        backend.send(Published(topic=f"vb/v1/{CODE}/down/command", payload=payload, qos=1))
    backend.command("q-1", QueryInventory())
    assert (backend.event().seq, backend.event().seq) == (2, 3)


def test_a_second_welcome_renews_its_period(cabinet: Cabinet, backend: Backend) -> None:
    """6.9."""
    backend.heartbeat_s = 3600
    booted, _ = start(cabinet, backend)
    welcome = Welcome(epoch=booted.epoch, server_ms=now_ms(), heartbeat_s=1, telemetry_s=60)
    backend.send(NATIVE.encode_control(CODE, welcome))
    assert isinstance(backend.heard.get(timeout=20).message, Heartbeat)


def test_what_it_cannot_do_moves_nothing(cabinet: Cabinet, backend: Backend) -> None:
    start(cabinet, backend)
    cabinet.type("insert 1 PB1 90")
    backend.event()
    refusals: list[tuple[Command, CommandOutcome, str | None]] = [
        (EjectPowerBank(slot=2), CommandOutcome.FAILED, "slot_empty"),
        (EjectPowerBank(serial="PB2"), CommandOutcome.FAILED, "bank_not_here"),
        (EjectPowerBank(slot=1, serial="PB2"), CommandOutcome.FAILED, "serial_mismatch"),
        (EjectPowerBank(slot=9), CommandOutcome.INVALID, "no_such_slot"),
        (Reboot(), CommandOutcome.UNSUPPORTED, None),
    ]
    for number, (command, outcome, code) in enumerate(refusals):
        backend.command(f"r-{number}", command)
        assert backend.event().message == CommandResult(command_id=f"r-{number}", outcome=outcome, code=code)
    backend.command("late", EjectPowerBank(serial="PB1"), deadline_ms=now_ms() - 60_000)
    late = CommandResult(command_id="late", outcome=CommandOutcome.EXPIRED, code="deadline_passed")
    assert backend.event().message == late

    backend.command("look", QueryInventory())
    inventory = backend.event().message
    assert isinstance(inventory, Inventory)
    assert inventory.command_id == "look"
    assert [slot.serial for slot in inventory.slots] == ["PB1", None, None, None]
    backend.event()
    backend.command("by-serial", EjectPowerBank(serial="PB1"))
    assert isinstance(backend.event().message, PowerBankEjected)


def test_power_cuts_lose_and_repeat_nothing(cabinet: Cabinet, backend: Backend) -> None:
    start(cabinet, backend)
    cabinet.type("insert 3 PB7 55")
    inserted = backend.event()
    backend.send(NATIVE.encode_control(CODE, Resend(ranges=(JournalRange(boot=1, first=2, last=2),))))
    again = backend.event()
    assert (again.replayed, again.seq, again.message) == (True, 2, inserted.message)

    cabinet.kill()
    gone = backend.next().message
    assert isinstance(gone, Offline)

    backend.boot_floor = 7
    booted, replayed = start(cabinet, backend)
    assert booted.epoch > gone.epoch
    assert booted.journal == (JournalRange(boot=1, first=1, last=2),)
    assert (replayed.boot, replayed.seq, replayed.replayed) == (1, 1, True)
    assert backend.event().message == inserted.message
    inventory = backend.event()
    assert (inventory.boot, inventory.seq) == (8, 1)
    assert isinstance(inventory.message, Inventory)
    assert inventory.message.slots[2].serial == "PB7"


def test_it_beats(cabinet: Cabinet, backend: Backend) -> None:
    start(cabinet, backend)
    beats = [backend.heard.get(timeout=10) for _ in range(2)]
    assert [(beat.seq, beat.message) for beat in beats] == [(1, Heartbeat(mains=True)), (2, Heartbeat(mains=True))]
