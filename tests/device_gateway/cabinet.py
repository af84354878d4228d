"""A cabinet as thin as it can be: publishes frames over MQTT, keeps what it is told."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import Self, TypeVar
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from device_gateway.received import Received
from firmware_protocol import topics
from firmware_protocol.commands import Ack, CommandFrame, Control
from firmware_protocol.dialects.native import NATIVE

T = TypeVar("T")


def eventually(look: Callable[[], T], within_s: float = 40.0) -> T:
    """The first true answer; AssertionError when there is none in time."""
    give_up = monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        assert monotonic() < give_up, "did not happen in time"
        sleep(0.02)


class Cabinet:
    def __init__(self, code: str, url: str) -> None:
        self.code = code
        self.told: list[tuple[str, CommandFrame | Control]] = []
        self.expiries: list[int | None] = []
        parts = urlsplit(url)
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=code, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.username_pw_set(code)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe(topics.all_down(code), 1)
        self._subscribed = False
        self._client.on_subscribe = self._on_subscribe
        self._client.connect(parts.hostname or "", parts.port or 1883)
        self._client.loop_start()

    def __enter__(self) -> Self:
        eventually(lambda: self._subscribed)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, *messages: Received, retain: bool = False) -> None:
        """As QoS 1, until the broker has them."""
        infos = []
        for message in messages:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ContentType = message.content_type
            infos.append(self._client.publish(message.topic, message.payload, message.qos, retain, properties))
        for info in infos:
            info.wait_for_publish(10)

    def acked(self, boot: int = 1) -> int:
        """The highest `through` it was told."""
        return max((each.through for _, each in self.told if isinstance(each, Ack) and each.boot == boot), default=0)

    def heard(self, kind: type[T]) -> list[T]:
        return [each for _, each in self.told if isinstance(each, kind)]

    def commands(self) -> list[CommandFrame]:
        return self.heard(CommandFrame)

    def _on_subscribe(self, *_: object) -> None:
        self._subscribed = True

    def _on_message(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        del client, userdata
        self.told.append((message.topic, NATIVE.decode_down(message.topic, bytes(message.payload))))
        self.expiries.append(getattr(message.properties, "MessageExpiryInterval", None))
