"""The smallest backend that a cabinet can live with: welcomes, stores, acknowledges, commands. Over real MQTT."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from firmware_protocol.commands import Ack, Command, CommandFrame, Control, Resend, Welcome
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.errors import ProtocolError
from firmware_protocol.messages import Booted, CommandResult, JournalRange, UpFrame
from firmware_protocol.topics import shared_subscription

WAIT_S = 15.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class MiniBackend:
    """Keeps everything it hears. `acknowledges` False: stores and says nothing."""

    def __init__(self, mqtt_url: str, *, heartbeat_s: int = 60, telemetry_s: int = 60) -> None:
        parts = urlsplit(mqtt_url)
        self.periods = {"heartbeat_s": heartbeat_s, "telemetry_s": telemetry_s}
        self.acknowledges = True
        self.frames: list[UpFrame] = []
        self.garbage = 0
        self._stored: dict[tuple[str, int], set[int]] = defaultdict(set)
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        if parts.username:
            self.client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._on_message
        self.client.connect(parts.hostname or "127.0.0.1", parts.port or 1883)

    def __enter__(self) -> Self:
        self.client.loop_start()
        assert self._subscribed.wait(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        """Asked again at every frame that arrives."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout_s), [type(f.message).__name__ for f in self.frames[-20:]]

    def of(self, code: str, kind: type[Any]) -> list[UpFrame]:
        return [frame for frame in self.frames if frame.station == code and isinstance(frame.message, kind)]

    def command(self, code: str, command: Command, *, deadline_s: float = 30) -> CommandResult:
        """Send it and wait for the result."""
        frame = CommandFrame(
            command_id=str(uuid4()), deadline_ms=now_ms() + int(deadline_s * 1000), attempt=1, command=command
        )
        sent = NATIVE.encode_command(code, frame)
        self.client.publish(sent.topic, sent.payload, sent.qos)

        def result() -> CommandResult | None:
            messages = (frame.message for frame in self.of(code, CommandResult))
            found = (m for m in messages if isinstance(m, CommandResult) and m.command_id == frame.command_id)
            return next(found, None)

        self.wait_for(lambda: result() is not None)
        answer = result()
        assert answer is not None
        return answer

    def resend(self, code: str, *ranges: JournalRange) -> None:
        self._control(code, Resend(ranges=ranges))

    def _control(self, code: str, control: Control) -> None:
        sent = NATIVE.encode_control(code, control)
        self.client.publish(sent.topic, sent.payload, sent.qos)

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(shared_subscription("mini"), qos=1)

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        if message.retain:  # presence that an earlier test left behind; some brokers send it to shared subscriptions
            return
        try:
            content_type = getattr(message.properties, "ContentType", None)
            frame = NATIVE.decode(message.topic, bytes(message.payload), content_type)
        except ProtocolError:
            self.garbage += 1
            return
        with self._changed:
            self.frames.append(frame)
            self._changed.notify_all()
        self._answer(frame)

    def _answer(self, frame: UpFrame) -> None:
        if isinstance(frame.message, Booted):
            self._control(frame.station, Welcome(epoch=frame.message.epoch, server_ms=now_ms(), **self.periods))
        elif frame.seq and frame.message.stream == "event" and self.acknowledges:
            stored = self._stored[frame.station, frame.boot]
            stored.add(frame.seq)
            through = 0
            while through + 1 in stored:
                through += 1
            self._control(frame.station, Ack(boot=frame.boot, through=through))
