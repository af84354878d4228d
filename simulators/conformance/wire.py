"""One station's topics as a backend sees them: what it is told, what it tells, in one row."""

import threading
import time
from collections.abc import Callable
from typing import Any, Final, Self, TypeVar
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from msgspec import Struct
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from firmware_protocol import topics
from firmware_protocol.dialect import Published
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.errors import ProtocolError
from firmware_protocol.messages import UpFrame
from simulators.broker import Broker
from simulators.conformance.verdicts import BrokenRequirement

T = TypeVar("T")
_SUBSCRIBE_WITHIN_S: Final = 10.0
#: Of a frame in the report: an inventory of 24 slots fits.
_MOST_SHOWN: Final = 2000


class Passed(Struct, frozen=True, kw_only=True):
    """One frame. `frame` None: to the cabinet, or broken (`error` says how)."""

    #: Monotonic seconds.
    at: float
    topic: str
    payload: bytes
    retained: bool = False
    qos: int = 0
    frame: UpFrame | None = None
    error: str | None = None
    to_cabinet: bool = False

    def shown(self) -> str:
        text = self.payload[:1] == b"{"
        body = self.payload.decode(errors="backslashreplace") if text else self.payload.hex()
        return f"{'>' if self.to_cabinet else '<'} {self.topic} {body[:_MOST_SHOWN]}"


class Wire:
    """`with Wire(url, code) as wire:`; OSError when the broker is not there. May be read from any thread."""

    def __init__(self, mqtt_url: str, code: str) -> None:
        self.code = code
        #: Everything so far, in the order in which it passed here.
        self.row: list[Passed] = []
        #: Told of every frame of the cabinet, on the network's thread, before those who wait.
        self.on_frame: Callable[[Passed], None] = lambda _passed: None
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._refused = ""
        broker, parts = Broker.from_url(mqtt_url), urlsplit(mqtt_url)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), broker.password)
        if broker.tls is not None:
            self._client.tls_set_context(broker.tls)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.connect(broker.host, broker.port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        if not self._subscribed.wait(_SUBSCRIBE_WITHIN_S) or self._refused:
            self.__exit__()
            raise ConnectionError(self._refused or "the broker does not answer")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, message: Published) -> None:
        with self._changed:
            self.row.append(Passed(at=time.monotonic(), topic=message.topic, payload=message.payload, to_cabinet=True))
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho left this one out
        if message.content_type is not None:
            properties.ContentType = message.content_type
        self._client.publish(message.topic, message.payload, message.qos, properties=properties)

    def wait(self, found: Callable[[], T | None], timeout_s: float, what: str) -> T:
        """What `found` returns, asked again at every frame; BrokenRequirement when it stays None."""
        with self._changed:
            result: T | None = self._changed.wait_for(found, timeout_s)
        if result is None:
            raise BrokenRequirement(f"{what}: not within {timeout_s:g} s")
        return result

    def listen(
        self, unwanted: Callable[[Passed], bool], seconds: float, what: str, *, since: int | None = None
    ) -> None:
        """For so long; BrokenRequirement when a frame is `unwanted`, from `since` in the row or from now on."""
        begin = len(self.row) if since is None else since

        def heard() -> Passed | None:
            return next((each for each in self.row[begin:] if not each.to_cabinet and unwanted(each)), None)

        with self._changed:
            each = self._changed.wait_for(heard, seconds)
        if each is not None:
            raise BrokenRequirement(f"{what}: {each.shown()[:300]}")

    def _on_connect(self, client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refused = f"the broker refuses: {reason}"
            self._subscribed.set()
            return
        # What a cabinet retains is shown as it was published, and not what an earlier session left behind.
        options = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        client.subscribe(f"{topics.PREFIX}/{self.code}/up/#", options=options)

    def _on_subscribe(self, _client: Any, _userdata: Any, _mid: int, reasons: list[Any], _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._refused = f"the broker does not let us hear the cabinet: {reasons[0]}"
        self._subscribed.set()

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        passed = _read(message)
        with self._changed:
            self.row.append(passed)
        self.on_frame(passed)
        with self._changed:
            self._changed.notify_all()


def _read(message: mqtt.MQTTMessage) -> Passed:
    payload, frame, error = bytes(message.payload), None, None
    try:
        frame = NATIVE.decode(message.topic, payload, getattr(message.properties, "ContentType", None))
    except ProtocolError as problem:
        error = f"{problem.code}: {problem}"
    return Passed(
        at=time.monotonic(),
        topic=message.topic,
        payload=payload,
        retained=message.retain,
        qos=message.qos,
        frame=frame,
        error=error,
    )
