"""The connection to the broker: one thread, paho driven through its external-loop calls. Whoever publishes writes to
the socket itself where that is possible (decision 0340).

Callbacks append and return; nothing in them waits or raises. Messages are acknowledged by whoever stored them, through
`acknowledge`. The receive maximum asks the broker to bound what is on its way in between; what holds, whatever the
broker does, is that nothing is read while `is_full` says so (decision 0200).
"""

import select
import socket
from collections.abc import Callable, Iterable
from datetime import datetime
from threading import Event, Thread, get_ident
from time import monotonic, time
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from device_gateway.backoff import Backoff
from device_gateway.metrics import Metrics
from device_gateway.paho_client import FleetClient, Plain
from device_gateway.received import Received
from firmware_protocol.dialect import Published
from fleet.common.clock import utc_now

_LOG: Final = structlog.get_logger(__name__)
KEEPALIVE_S: Final = 30
#: What the broker keeps for a gateway that is away: long enough for a restart, short enough that a gateway that never
#: comes back does not swallow its share of the messages for long. What is lost with it is in the cabinets' journals.
SESSION_EXPIRY_S: Final = 120
#: A welcome tells the time: one that comes late sets a cabinet's clock back, which then obeys orders that are over. A
#: cabinet that hears none asks again after 10 s (protocol 6.7), and what it is asked to resend comes by itself (7.7).
CONTROL_EXPIRY_S: Final = 10
#: Packets read in a row before acknowledgements get their turn to be written.
READ_BURST: Final = 256
_SELECT_S: Final = 1.0
#: Sets of properties that are kept: a few content types, each with the seconds that commands usually have left.
_PROPERTIES_MOST: Final = 256
#: How soon a link that reads nothing looks again.
_HOLD_S: Final = 0.05
#: Without what is retained: MQTT 5 (4.8.2) sends none of it to a shared subscription, Mosquitto 2.0 does, each time.
#: The states of a whole fleet would come with every connection, and an old `online` would pass for a sign of life.
_AS_IT_HAPPENS: Final = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)


class Link(Thread):
    """Connects, stays connected, subscribes after every connect, hands over what comes."""

    def __init__(
        self,
        *,
        url: str,
        client_id: str,
        subscriptions: Iterable[str],
        receive_maximum: int,
        deliver: Callable[[Received], bool],
        metrics: Metrics,
        ca_file: str | None = None,
        seal: Callable[[Published], Published] | None = None,
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(name="mqtt", daemon=True)
        self._is_full = is_full
        self._subscriptions = list(subscriptions)
        self._deliver = deliver
        self._seal = seal
        self._metrics = metrics
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        self._receive_maximum = max(1, min(receive_maximum, 65_535))
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._ending = Event()
        self._messages = 0
        self.generation = 0
        #: Since when we hear what the cabinets say: connected and subscribed.
        self.connected_since: datetime | None = None
        #: Nothing is read for now: too much waits to be stored.
        self.held = False
        #: Read by the watchdog.
        self.beat = monotonic()
        self._properties: dict[tuple[str | None, int | None], Properties | None] = {(None, None): None}
        self._client = self._make_client(client_id, parts.username, parts.password)
        #: Only this thread writes: OpenSSL must not be read and written by two at once, and goodbye closes the socket.
        self._one_writer = parts.scheme == "mqtts"
        if parts.scheme == "mqtts":
            self._client.tls_set(ca_certs=ca_file)

    def _make_client(self, client_id: str, username: str | None, password: str | None) -> FleetClient:
        client = FleetClient(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
        )
        if username is not None:
            client.username_pw_set(unquote(username), unquote(password or ""))
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_plain = self._on_plain
        client.burst = READ_BURST
        # Without it paho would have two threads write at once.
        client.on_socket_register_write = self._on_want_write
        return client

    # --- for other threads ---

    def acknowledge(self, batch: Iterable[Received]) -> None:
        """PUBACK what came with QoS 1 over the connection that still stands; the broker repeats the rest."""
        generation = self.generation
        self._client.acknowledge(
            [received.mid for received in batch if received.qos and received.generation == generation]
        )

    def publish(self, message: Published, expiry_s: int | None = None) -> None:
        """Hand over for sending. QoS 1 is kept over a reconnect until it expires, QoS 0 is not kept."""
        if self._seal is not None:
            message = self._seal(message)
        if message.qos and expiry_s is None:
            expiry_s = CONTROL_EXPIRY_S
        properties = self._publish_properties(message.content_type, expiry_s)
        self._client.publish(message.topic, message.payload, message.qos, message.retain, properties)

    def stop_reading(self) -> None:
        """Leave the shared subscription: the broker gives new messages to the other gateways."""
        if self._client.is_connected():
            self._client.unsubscribe(self._subscriptions)

    def stop(self, timeout_s: float) -> None:
        """Send what is waiting, until the broker has it, say goodbye, and end the thread."""
        give_up = monotonic() + timeout_s
        while self._client.is_connected() and not self._client.settled() and monotonic() < give_up:
            self._ending.wait(0.01)
        self._one_writer = True
        self._client.disconnect()
        self._ending.set()
        self._wake()
        self.join(max(0.1, give_up - monotonic()))

    # --- the thread ---

    def run(self) -> None:
        backoff = Backoff()
        while not self._ending.is_set():
            self.beat = monotonic()
            if self._connect():
                self._serve(backoff)
            if not self._ending.is_set():
                self._ending.wait(backoff.next_s())

    def _connect(self) -> bool:
        properties = _make(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = self._receive_maximum
        try:
            self._client.connect(self._host, self._port, KEEPALIVE_S, clean_start=False, properties=properties)
        except (OSError, ValueError) as error:
            _LOG.warning("broker not reachable", host=self._host, port=self._port, error=str(error))
            return False
        return True

    def _serve(self, backoff: Backoff) -> None:
        """Until the connection ends."""
        client = self._client
        while (sock := client.socket()) is not None:
            self.beat = monotonic()
            writers = [sock] if client.want_write() else []
            held = self._held()
            pending = not held and client.pending()
            wait_s = _HOLD_S if held else 0 if pending else _SELECT_S
            try:
                readable, _, _ = select.select([self._wake_r] if held else [sock, self._wake_r], writers, [], wait_s)
            except (OSError, ValueError):  # closed in between
                return
            if self._wake_r in readable:
                self._wake_r.recv(4096)
            if pending or sock in readable:
                self._read(client)
            if client.want_write():
                client.loop_write()
            if client.loop_misc() is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
            if client.is_connected():
                backoff.reset()

    def _held(self) -> bool:
        """Whether nothing is to be read now. The broker's answer to CONNECT is read in any case."""
        held = self._client.is_connected() and self._is_full()
        if held:
            self._client.not_reading()
        if held is not self.held:
            self._metrics.held.set(held)
            self.held = held
            _LOG.warning("reading stopped, events wait to be stored" if held else "reading again")
        return held

    def _read(self, client: Client) -> None:
        """Read on while whole messages come: one `select` then serves many of them."""
        first = self._messages
        while self._messages - first < READ_BURST:
            before = self._messages
            if client.loop_read() is not MQTTErrorCode.MQTT_ERR_SUCCESS or self._messages == before:
                return

    def _publish_properties(self, content_type: str | None, expiry_s: int | None) -> Properties | None:
        key = content_type, expiry_s
        if key in self._properties:
            return self._properties[key]
        properties = _make(PacketTypes.PUBLISH)
        if content_type is not None:
            properties.ContentType = content_type
        if expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        if len(self._properties) < _PROPERTIES_MOST:
            self._properties[key] = properties
        return properties

    def _wake(self) -> None:
        try:
            self._wake_w.send(b"\0")
        except OSError:  # full: the thread is awake already
            return

    # --- callbacks, all in the thread but `_on_want_write` ---

    def _on_want_write(self, client: Client, userdata: Any, sock: Any) -> None:
        del client, userdata, sock
        if get_ident() != self.ident and (self._one_writer or not self._client.write_through()):
            self._wake()

    def _on_connect(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        del userdata, properties
        if reason.is_failure:
            _LOG.error("broker refused the connection", reason=str(reason))
            return
        self.generation += 1
        outlived = self._client.forget_outlived()
        if outlived:
            _LOG.warning("not sent any more, too late", messages=outlived)
        # Every time: a broker that lost its sessions, or a new one, knows nothing of us.
        client.subscribe([(each, _AS_IT_HAPPENS) for each in self._subscriptions])
        _LOG.info("connected to the broker", host=self._host, port=self._port, session_present=flags.session_present)

    def _on_subscribe(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        del client, userdata, mid, properties
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            _LOG.error("broker refused the subscription", reasons=refused)
            return
        self.connected_since = utc_now()
        self._metrics.connected.set(1)

    def _on_disconnect(
        self, client: Client, userdata: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        del client, userdata, flags, properties
        self.connected_since = None
        self._metrics.connected.set(0)
        if not self._ending.is_set():
            self._metrics.reconnects.inc()
            _LOG.warning("connection to the broker lost", reason=str(reason))

    def _on_plain(self, found: list[Plain]) -> None:
        self._messages += len(found)
        generation, now = self.generation, time()
        for topic, payload, content_type, qos, mid in found:
            self._hand_over(Received(topic, payload, content_type, qos, mid, generation, now))

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        del client, userdata
        self._messages += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:  # a broker should not let it through; the frame goes to the dead letters
            topic = "(not UTF-8)"
        content_type = vars(message.properties).get("ContentType") if message.properties is not None else None
        self._hand_over(
            Received(topic, bytes(message.payload), content_type, message.qos, message.mid, self.generation, time())
        )

    def _hand_over(self, received: Received) -> None:
        if not self._deliver(received) and received.qos:
            # Samples come with QoS 0; one that does not, and is dropped, must not use up what the broker may send us.
            self.acknowledge([received])


def _make(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho has no annotation there
