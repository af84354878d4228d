"""What waits to be sent to the broker, over a reconnect and until it has its turn: it expires here as well."""

import re
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from paho.mqtt.enums import CallbackAPIVersion, MessageType, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from device_gateway.paho_client import FleetClient
from tests.device_gateway.cabinet import eventually

CONNACK = b"\x20\x03\x00\x00\x00"


@contextmanager
def _reconnecting() -> Iterator[tuple[FleetClient, socket.socket]]:
    """A client that is not connected yet, and where it will connect."""
    with socket.create_server(("127.0.0.1", 0)) as broker:
        client = FleetClient(
            CallbackAPIVersion.VERSION2, client_id="c", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
        )
        client.on_socket_register_write = lambda *_: None
        client.connect_async(*broker.getsockname())
        yield client, broker
        client._sock_close()


def _connected(client: FleetClient, broker: socket.socket) -> socket.socket:
    """The broker's end of a new connection, on which it has answered CONNECT."""
    client.reconnect()
    theirs, _ = broker.accept()
    theirs.settimeout(10)
    client.loop_write()
    assert theirs.recv(1000)[:1] == b"\x10"
    theirs.sendall(CONNACK)
    eventually(lambda: client.loop_read() is MQTTErrorCode.MQTT_ERR_SUCCESS and client.is_connected())
    client.loop_write()
    return theirs


def _expires_in(seconds: int) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = seconds
    return properties


def test_over_a_reconnect_a_message_keeps_its_expiry_and_is_not_sent_after_it() -> None:
    with _reconnecting() as (client, broker):
        dropped: list[int] = []
        client.on_connect = lambda *_: dropped.append(client.forget_outlived())
        first = _connected(client, broker)
        shared = _expires_in(30)
        aged = {"gone": 40.0, "late": 20.0, "kept": 20.0}
        for topic, age_s in aged.items():
            info = client.publish(topic, b"x", 1, properties=None if topic == "kept" else shared)
            client._out_messages[info.mid].timestamp -= age_s
        client.loop_write()
        first.close()
        eventually(lambda: client.loop_read() and client.socket() is None)
        client.publish("new", b"x", 1, properties=shared)
        for _ in range(2):  # the second time nothing is known of the first any more but what remains
            again = _connected(client, broker)
            sent = again.recv(10_000)
            assert b"gone" not in sent
            assert b"kept" in sent
            left = {
                topic: int.from_bytes(re.search(topic + rb"..\x05\x02(....)", sent, re.DOTALL).group(1))  # type: ignore[union-attr]
                for topic in (b"late", b"new")
            }
            assert left[b"late"] < 10 < left[b"new"] <= 30
            again.close()
            eventually(lambda: client.loop_read() and client.socket() is None)
        assert dropped == [0, 1, 0]


def test_what_waits_for_its_turn_keeps_its_expiry_too() -> None:
    """A gateway that does not read does not hear either that the broker has taken what is under way."""
    with _reconnecting() as (client, broker):
        client._max_inflight_messages = 1
        theirs, shared = _connected(client, broker), _expires_in(30)
        aged = {"first": 0.0, "gone": 40.0, "late": 20.0, "last": 20.0}
        mids = {}
        for topic, age_s in aged.items():
            mids[topic] = client.publish(topic, b"x", 1, properties=shared).mid
            client._out_messages[mids[topic]].timestamp -= age_s
        for topic, left in (("first", 30), ("late", 9), ("last", 9)):
            client.loop_write()
            sent = theirs.recv(10_000)
            assert re.findall(b"first|gone|late|last", sent) == [topic.encode()]
            assert int.from_bytes(sent[-5:-1]) <= left, "the expiry, before one byte of payload"
            theirs.sendall(b"\x40\x02" + mids[topic].to_bytes(2, "big"))
            eventually(lambda mid=mids[topic]: client.loop_read() or mid not in client._out_messages)  # type: ignore[misc]
        assert client.settled()


def test_who_publishes_while_the_connection_is_made_anew_breaks_nothing() -> None:
    class OfAnotherThread(deque[Any]):
        """Somebody appends while it is gone through."""

        def __iter__(self) -> Iterator[Any]:
            for each in super().__iter__():
                self.append(each)
                yield each

    with _reconnecting() as (client, broker):
        _connected(client, broker)
        client._out_packet = OfAnotherThread()
        client._packet_queue(MessageType.PUBLISH, b"x", 1, 0)
        _connected(client, broker)
