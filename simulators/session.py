"""One MQTT session of one cabinet: a paho client without a thread, driven by the asyncio loop.

Each connection is a new client: with a clean start nothing of an old session may follow into a new one (paho would send
unacknowledged messages again before the boot gate opens; the cabinet's own journal does that in its own time).
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from firmware_protocol.dialect import Published
from firmware_protocol.topics import all_down
from simulators.broker import Broker
from simulators.outputs import ConnectVendor
from simulators.spec import StationSpec

KEEPALIVE_S: Final = 60
#: From the first byte to the subscription's answer.
OPEN_TIMEOUT_S: Final = 15.0


class Listener(Protocol):
    """Who is told. Every method runs on the loop; none is called after `close` or `cut`."""

    def opened(self) -> None: ...

    def closed(self) -> None: ...

    def received(self, topic: str, payload: bytes, content_type: str | None) -> None: ...


class Link(Protocol):
    """A connection that is opened once. The loop owns it from `attach` on."""

    def dial(self) -> None: ...

    def attach(self, listener: Listener) -> None: ...

    def publish(self, message: Published) -> None: ...

    def close(self) -> None: ...

    def cut(self) -> None: ...

    @property
    def gone(self) -> bool: ...

    def tick(self) -> None: ...


def native_session(loop: asyncio.AbstractEventLoop, broker: Broker, station: StationSpec, will: Published) -> "Session":
    """MQTT 5, a clean start, the will of a presence topic."""
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id=station.code, protocol=mqtt.MQTTv5, reconnect_on_failure=False
    )
    client.username_pw_set(station.code, station.secret or broker.password)
    client.will_set(will.topic, will.payload, will.qos, will.retain, properties=_properties(will, will_message=True))
    client.connect_async(broker.host, broker.port, KEEPALIVE_S, clean_start=True)
    return Session(loop, client, broker, (all_down(station.code),))


def vendor_session(loop: asyncio.AbstractEventLoop, broker: Broker, wish: ConnectVendor) -> "Session":
    """MQTT 3.1.1, a session that the broker keeps, and acknowledgements that may never leave."""
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=wish.client_id,
        protocol=mqtt.MQTTv311,
        clean_session=False,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.username_pw_set(wish.username, wish.password or broker.password)
    client.connect_async(wish.host or broker.host, wish.port or broker.port, KEEPALIVE_S)
    return Session(loop, client, broker, wish.topics, manual_ack=True)


class Session:
    """Opened once. The loop owns it from `attach` on."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: mqtt.Client,
        broker: Broker,
        topics: Sequence[str],
        *,
        manual_ack: bool = False,
    ) -> None:
        self._loop = loop
        self._topics = topics
        self._manual_ack = manual_ack
        self._listener: Listener | None = None
        self._sock: socket.socket | None = None
        self._writing = False
        self.client = client
        if broker.tls is not None:
            client.tls_set_context(broker.tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_register_write = self._on_want_write
        client.on_socket_unregister_write = self._on_written
        client.on_socket_close = self._on_socket_close

    def dial(self) -> None:
        """TCP, TLS and the first packet; blocks, so it belongs on a worker thread. Raises OSError."""
        self.client.reconnect()
        sock = self.client.socket()
        if isinstance(sock, socket.socket):
            # An event behind a PUBACK is not to wait for the broker's kernel to acknowledge that (Nagle).
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def attach(self, listener: Listener) -> None:
        """On the loop, after `dial`: from now on `listener` hears of everything."""
        self._listener = listener
        sock = self.client.socket()
        if not isinstance(sock, socket.socket):
            self._loop.call_soon(self._lost)
            return
        self._sock = sock
        self._loop.add_reader(sock, self._readable)
        if self.client.want_write():
            self._on_want_write(self.client, None, sock)

    def publish(self, message: Published) -> None:
        properties = _properties(message)
        self.client.publish(message.topic, message.payload, message.qos, message.retain, properties=properties)

    def close(self) -> None:
        """End it properly: what was published goes out first, and the broker drops the will."""
        self._listener = None
        self.client.disconnect()

    def cut(self) -> None:
        """End it as a broken wire does: the broker publishes the will."""
        self._listener = None
        if self._sock is not None:
            with contextlib.suppress(OSError):  # the other side may have been faster
                self._sock.shutdown(socket.SHUT_RDWR)

    @property
    def gone(self) -> bool:
        """The socket is closed."""
        return self._sock is None

    def tick(self) -> None:
        """Keep-alive; every few seconds."""
        self.client.loop_misc()

    def _readable(self) -> None:
        sock = self._sock
        self.client.loop_read()
        # TLS decrypts whole records: what is left of one does not make the socket readable again.
        while isinstance(sock, ssl.SSLSocket) and self._sock is sock and sock.pending():
            self.client.loop_read()

    def _on_want_write(self, _client: mqtt.Client, _userdata: Any, sock: Any) -> None:
        # Before `attach` this runs on the worker thread that dials; `attach` looks for itself.
        if self._sock is not None and not self._writing:
            self._writing = True
            self._loop.add_writer(sock, self.client.loop_write)

    def _on_written(self, _client: mqtt.Client, _userdata: Any, sock: Any) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(sock)

    def _on_socket_close(self, _client: mqtt.Client, _userdata: Any, sock: Any) -> None:
        if self._sock is None:
            return
        self._loop.remove_reader(sock)
        if self._writing:
            self._writing = False
            self._loop.remove_writer(sock)
        self._sock = None

    def _on_connect(
        self, client: mqtt.Client, _userdata: Any, _flags: Any, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._loop.call_soon(self._lost)
        else:
            client.subscribe([(topic, 1) for topic in self._topics])

    def _on_subscribe(self, _client: Any, _userdata: Any, _mid: int, reasons: list[ReasonCode], _props: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._loop.call_soon(self._lost)
        elif self._listener is not None:
            self._listener.opened()

    def _on_disconnect(self, *_: Any) -> None:
        # Later: paho holds a lock here that a new connection would wait for.
        self._loop.call_soon(self._lost)

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        if self._listener is not None:
            content_type = getattr(message.properties, "ContentType", None)
            self._listener.received(message.topic, bytes(message.payload), content_type)
        if self._manual_ack and message.qos:
            # Later: a cabinet that hangs up on this message takes its acknowledgement with it.
            self._loop.call_soon(self._acknowledge, message.mid, message.qos)

    def _acknowledge(self, mid: int, qos: int) -> None:
        if self._listener is not None:
            self.client.ack(mid, qos)

    def _lost(self) -> None:
        listener, self._listener = self._listener, None
        if self._sock is not None:
            self.cut()
        if listener is not None:
            listener.closed()


def _properties(message: Published, *, will_message: bool = False) -> Properties | None:
    if message.content_type is None:
        return None
    return _content_type(message.content_type, PacketTypes.WILLMESSAGE if will_message else PacketTypes.PUBLISH)


@cache
def _content_type(content_type: str, packet: int) -> Properties:
    """Shared: paho only reads it, and making one costs more than packing it."""
    properties = Properties(packet)  # type: ignore[no-untyped-call]  # paho left this one out
    properties.ContentType = content_type
    return properties
