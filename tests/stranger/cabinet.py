"""A cabinet written from docs/protocol.md alone, by somebody who had not seen the code: paho and the standard library.

Usage: cabinet.py CODE HOST PORT FOLDER. FOLDER/flash.json is the memory that survives a power cut; FOLDER/slots/N is
the metal: a file with serial and charge while slot N holds a bank. Standard input is the street: `insert 2 PB1 40`,
`pull 2`, and `lose` or `find` the network; EJECT_S is how long the motor takes. Numbers in brackets are the document's.
"""

import json
import os
import queue
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

Data = dict[str, Any]
SLOTS = range(1, 5)
EJECT_S = float(os.environ.get("EJECT_S", "0.5"))
JOURNAL_LIMIT = 1000
REMEMBERED = 64
REPEAT_AFTER_S = 60


@dataclass
class Flash:
    """What survives; every save is on the disk before it returns (7.1)."""

    path: str
    boot: int = 0
    epoch: int = 0
    seq: int = 0
    journal: list[Data] = field(default_factory=list)
    lost: list[Data] = field(default_factory=list)
    commands: dict[str, Data] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Flash":
        return cls(**json.loads(path.read_text())) if path.exists() else cls(str(path))

    def save(self) -> None:
        new = Path(self.path + ".new")
        with new.open("w") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)


def ranges(frames: list[Data]) -> list[Data]:
    """Journaled events as ranges, oldest first (6.5)."""
    found: list[Data] = []
    for frame in frames:
        if found and found[-1]["boot"] == frame["boot"] and found[-1]["last"] == frame["seq"] - 1:
            found[-1]["last"] = frame["seq"]
        else:
            found.append({"boot": frame["boot"], "first": frame["seq"], "last": frame["seq"]})
    return found


def missing(wanted: Data, held: list[int]) -> Iterator[Data]:
    """The parts of a range that are not held any more (7.4)."""
    first = wanted["first"]
    for seq in [*held, wanted["last"] + 1]:
        if first < seq:
            yield {"boot": wanted["boot"], "first": first, "last": seq - 1}
        first = seq + 1


def is_json(packet: int) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]  # paho's own
    properties.ContentType = "application/json"
    return properties


class Cabinet:
    def __init__(self, code: str, host: str, port: int, folder: Path) -> None:
        self.code, self.host, self.port = code, host, port
        self.metal = folder / "slots"
        self.metal.mkdir(parents=True, exist_ok=True)
        self.flash = Flash.load(folder / "flash.json")
        self.flash.boot, self.flash.seq = self.flash.boot + 1, 0
        self.flash.save()
        self.street: queue.Queue[str] = queue.Queue()
        self.client: mqtt.Client | None = None
        self.tries, self.next_try, self.network = 0, 0.0, True
        self.reset_cause, self.gate_open, self.boot_again_at = "power_on", False, 0.0
        self.server_ms, self.beat_every, self.next_beat, self.samples = 0.0, 30.0, 0.0, 0
        self.next_loss = 0.0
        self.ejecting: tuple[str, int, float] | None = None
        self.sent: dict[tuple[int, int], float] = {}
        self._finish_interrupted()

    def run(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            self._network()
            while not self.street.empty():
                self._happen(*self.street.get().split())
            if self.ejecting and time.monotonic() >= self.ejecting[2]:
                self._left(*self.ejecting[:2])
            if self.gate_open:
                self._repeat_and_beat()

    def _listen(self) -> None:
        for line in sys.stdin:
            self.street.put(line)

    # Connecting (6).

    def _network(self) -> None:
        if self.client and self.network and self.client.loop(0.05) == mqtt.MQTT_ERR_SUCCESS:
            if not self.gate_open and time.monotonic() >= self.boot_again_at:
                self._booted()
            return
        if self.client or not self.tries:
            self.client, self.gate_open = None, False
            self.tries += 1
            self.next_try = time.monotonic() + random.uniform(0, min(60, 2**self.tries))
        if self.network and time.monotonic() >= self.next_try:
            self._connect()
        time.sleep(0.02)

    def _connect(self) -> None:
        self.flash.epoch += 1
        self.flash.save()
        self.boot_again_at = time.monotonic() + 20
        # A new client each time: a library that keeps unfinished messages would send them before `booted`.
        client = mqtt.Client(CallbackAPIVersion.VERSION2, self.code, protocol=mqtt.MQTTv5)
        client.username_pw_set(self.code)
        will = self._frame("offline", {"epoch": self.flash.epoch, "cause": "network"}) | {"at": None}
        client.will_set(self._topic("state"), json.dumps(will), 1, True, is_json(PacketTypes.WILLMESSAGE))
        client.on_connect = self._subscribe
        client.on_subscribe = lambda *_: self._booted()
        client.on_message = lambda _client, _data, message: self._hear(message.topic, bytes(message.payload))
        try:
            client.connect(self.host, self.port, keepalive=30, clean_start=True)
        except OSError:
            self.tries += 1
            self.next_try = time.monotonic() + random.uniform(0, min(60, 2**self.tries))
        else:
            self.client = client

    def _subscribe(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe(f"vb/v1/{self.code}/down/+", qos=1)

    def _booted(self) -> None:
        self._publish("state", self._frame("online", {"epoch": self.flash.epoch}), retain=True)
        about = {"firmware": "stranger-1", "hardware": "py", "slots": len(SLOTS), "reset_cause": self.reset_cause}
        held = ranges(self.flash.journal)[:32]
        self._publish("boot", self._frame("booted", {"epoch": self.flash.epoch, "journal": held, **about}))
        self.boot_again_at = time.monotonic() + random.uniform(10, 20)

    def _hear(self, topic: str, payload: bytes) -> None:
        frame = json.loads(payload)
        {"welcome": self._welcome, "ack": self._ack, "resend": self._resend, "command": self._obey}[
            topic.rpartition("/")[2]
        ](frame if "id" in frame else frame["data"])

    def _welcome(self, data: Data) -> None:
        if data["epoch"] != self.flash.epoch:
            return
        if data.get("epoch_floor", 0) >= self.flash.epoch and self.client:
            self.flash.epoch = data["epoch_floor"]
            self.flash.save()
            self.client.disconnect()
            return
        if (wait := data.get("retry_after_s")) is not None:
            self.boot_again_at = time.monotonic() + wait * random.uniform(1, 1.5)
            return
        if data.get("boot_floor", 0) >= self.flash.boot and self.reset_cause != "reconnect":
            self._rise_above(data["boot_floor"])
            return
        self.server_ms = data["server_ms"] - time.monotonic() * 1000
        self.beat_every = data["heartbeat_s"]
        if not self.gate_open:
            self._open_gate()

    def _rise_above(self, floor: int) -> None:
        for frame in self.flash.journal:
            if frame["boot"] == self.flash.boot:
                frame["boot"] = floor + 1
        self.flash.boot = floor + 1
        self.flash.save()
        self._booted()

    def _open_gate(self) -> None:
        self.gate_open, self.tries, restarted = True, 0, self.reset_cause != "reconnect"
        self.reset_cause = "reconnect"
        self.next_beat = time.monotonic() + random.uniform(0, self.beat_every)
        lost = self._tell_lost()
        for frame in self.flash.journal:
            self._send(frame | {"replayed": True})
        if restarted or lost:
            self._inventory({})

    # The journal (7).

    def _event(self, *facts: tuple[str, Data]) -> None:
        """Journal all of them at once, then send them if the gate is open."""
        new = []
        for kind, data in facts:
            self.flash.seq += 1
            new.append(self._frame(kind, data) | {"seq": self.flash.seq})
        self.flash.journal += new
        while len(self.flash.journal) > JOURNAL_LIMIT:
            gone = self.flash.journal.pop(0)
            self.flash.lost.append({"boot": gone["boot"], "seq": gone["seq"]})
        self.flash.save()
        for frame in new if self.gate_open else ():
            self._send(frame)

    def _tell_lost(self) -> bool:
        """Joined ranges of what was given up since the last time (7.6)."""
        lost, self.flash.lost = ranges(self.flash.lost), []
        for part in lost:
            self._publish("boot", self._frame("journal_lost", part))
        return bool(lost)

    def _ack(self, data: Data) -> None:
        for frame in [f for f in self.flash.journal if f["boot"] == data["boot"] and f["seq"] <= data["through"]]:
            self.flash.journal.remove(frame)
            self.sent.pop((frame["boot"], frame["seq"]), None)
        self.flash.save()

    def _resend(self, data: Data) -> None:
        if not self.gate_open:
            return
        for wanted in data["ranges"]:
            if wanted["boot"] >= self.flash.boot:
                wanted["last"] = min(wanted["last"], self.flash.seq if wanted["boot"] == self.flash.boot else 0)
            held = [f for f in self.flash.journal if f["boot"] == wanted["boot"]]
            held = [f for f in held if wanted["first"] <= f["seq"] <= wanted["last"]]
            for frame in held:
                self._send(frame | {"replayed": True})
            for part in missing(wanted, [frame["seq"] for frame in held]):
                self._publish("boot", self._frame("journal_lost", part))

    def _repeat_and_beat(self) -> None:
        now = time.monotonic()
        if self.flash.lost and now >= self.next_loss:
            self.next_loss = now + 1
            self._tell_lost()
        for frame in self.flash.journal:
            if now - self.sent.get((frame["boot"], frame["seq"]), now) > REPEAT_AFTER_S:
                self._send(frame | {"replayed": True})
        if now >= self.next_beat:
            self.next_beat = now + self.beat_every
            self.samples += 1
            self._publish("telemetry", self._frame("heartbeat", {"mains": True}) | {"seq": self.samples}, qos=0)

    # Commands (8, 9) and what happens to the metal.

    def _obey(self, command: Data) -> None:
        command_id, data = command["id"], command["data"]
        if not self.gate_open:
            return
        if known := self.flash.commands.get(command_id):
            if "outcome" in known:
                self._event(("command_result", known))
        elif self.server_ms + time.monotonic() * 1000 > command["deadline"]:
            self._result(command_id, "expired", code="deadline_passed")
        elif command["type"] == "eject_power_bank":
            self._eject(command_id, data.get("slot"), data.get("serial"))
        elif command["type"] == "query_inventory":
            self._inventory({"command_id": command_id})
            self._result(command_id, "succeeded")
        else:
            self._result(command_id, "unsupported")

    def _eject(self, command_id: str, slot: int | None, serial: str | None) -> None:
        banks = {number: bank for number in SLOTS if (bank := self._bank(number))}
        slot = slot or next((number for number, bank in banks.items() if bank["serial"] == serial), None)
        if self.ejecting:
            self._result(command_id, "busy", code="eject_in_flight")
        elif slot is None:
            self._result(command_id, "failed", code="bank_not_here")
        elif slot not in SLOTS:
            self._result(command_id, "invalid", code="no_such_slot")
        elif slot not in banks:
            self._result(command_id, "failed", code="slot_empty")
        elif serial and banks[slot]["serial"] != serial:
            self._result(command_id, "failed", code="serial_mismatch")
        else:
            self._remember(command_id, {"slot": slot, **banks[slot]})
            self.flash.save()
            self.ejecting = (command_id, slot, time.monotonic() + EJECT_S)

    def _left(self, command_id: str, slot: int) -> None:
        """The motor has turned: the bank is out."""
        (self.metal / str(slot)).unlink(missing_ok=True)
        self.ejecting = None
        self._succeeded(command_id)

    def _succeeded(self, command_id: str) -> None:
        gone = self.flash.commands[command_id]
        moved = {"slot": gone["slot"], "serial": gone["serial"]}
        self._result(command_id, "succeeded", ("power_bank_ejected", gone | {"command_id": command_id}), **moved)

    def _finish_interrupted(self) -> None:
        """A power cut in the middle of an eject: the slot tells how it ended (8.2.3)."""
        for command_id, begun in list(self.flash.commands.items()):
            if "outcome" not in begun:
                bank = self._bank(begun["slot"])
                if bank and bank["serial"] == begun["serial"]:
                    self._result(command_id, "failed", code="interrupted")
                else:
                    self._succeeded(command_id)

    def _result(self, command_id: str, outcome: str, *before: tuple[str, Data], **more: Any) -> None:
        result = {"command_id": command_id, "outcome": outcome, **more}
        self._remember(command_id, result)
        self._event(*before, ("command_result", result))

    def _remember(self, command_id: str, what: Data) -> None:
        self.flash.commands[command_id] = what
        while len(self.flash.commands) > REMEMBERED:
            del self.flash.commands[next(iter(self.flash.commands))]

    def _bank(self, slot: int) -> Data | None:
        path = self.metal / str(slot)
        if not path.exists():
            return None
        serial, charge = path.read_text().split()
        return {"serial": serial, "charge_pct": int(charge)}

    def _inventory(self, more: Data) -> None:
        slots: list[Data] = []
        for number in SLOTS:
            bank = self._bank(number)
            slots.append({"slot": number, "state": "occupied" if bank else "empty", **(bank or {})})
        self._event(("inventory", {"slots": slots, "complete": True, **more}))

    def _happen(self, what: str, *arguments: str) -> None:
        if what == "insert":
            slot, serial, charge = arguments
            (self.metal / slot).write_text(f"{serial} {charge}")
            self._event(("power_bank_inserted", {"slot": int(slot), "serial": serial, "charge_pct": int(charge)}))
        elif what == "pull":
            gone = self._bank(int(arguments[0]))
            (self.metal / arguments[0]).unlink()
            self._event(("power_bank_ejected", {"slot": int(arguments[0]), **(gone or {})}))
        elif what in {"lose", "find"}:
            self.network = what == "find"
            if self.client and not self.network and (socket := self.client.socket()):
                socket.close()

    # Frames (4).

    def _frame(self, kind: str, data: Data) -> Data:
        at = int(time.time() * 1000)
        return {"v": 1, "boot": self.flash.boot, "seq": 0, "at": at, "type": kind, "data": data}

    def _topic(self, kind: str) -> str:
        return f"vb/v1/{self.code}/up/{kind}"

    def _send(self, frame: Data) -> None:
        self.sent[frame["boot"], frame["seq"]] = time.monotonic()
        self._publish("event", frame)

    def _publish(self, kind: str, frame: Data, qos: int = 1, retain: bool = False) -> None:
        if self.client:
            packet = is_json(PacketTypes.PUBLISH)
            self.client.publish(self._topic(kind), json.dumps(frame), qos, retain, packet)


if __name__ == "__main__":
    Cabinet(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])).run()
