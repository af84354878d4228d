"""The connection to the broker: while what it brings cannot be stored, and with many who publish."""

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic

import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion, _ConnectionState
from prometheus_client import CollectorRegistry

from device_gateway.metrics import Metrics
from device_gateway.mqtt import CONTROL_EXPIRY_S, READ_BURST, Link
from device_gateway.paho_client import BufferedSocket, FleetClient, plain_at
from device_gateway.reception import Reception
from firmware_protocol import topics
from firmware_protocol.commands import Welcome
from firmware_protocol.dialect import Published
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.topics import UpKind
from tests.device_gateway.cabinet import Cabinet, eventually
from tests.device_gateway.support import lock

LIMIT = 300
SENT = 2_500
PINGREQ = b"\xc0\x00"


def test_a_full_gateway_reads_nothing_and_loses_nothing(mqtt_url: str, device_mqtt_url: str, group: str) -> None:
    """The broker is told of no bound here: what holds it back is that nobody reads."""
    reception, registry = Reception(LIMIT), CollectorRegistry()
    events = reception.events
    link = Link(
        url=mqtt_url,
        client_id=f"{group}-gateway",
        subscriptions=[f"$share/{group}/{topics.up(group, UpKind.EVENT)}"],
        receive_maximum=65_535,
        deliver=reception.deliver,
        metrics=Metrics(registry),
        is_full=reception.is_full,
    )
    link.start()
    try:
        eventually(lambda: link.connected_since)
        with Cabinet(group, device_mqtt_url) as cabinet:
            cabinet.send(*(lock(group, seq) for seq in range(1, SENT + 1)))
        eventually(lambda: link.held)
        assert registry.get_sample_value("voltbay_gateway_held") == 1
        assert LIMIT <= len(events) < LIMIT + 2 * READ_BURST
        got: dict[bytes, int] = {}

        def all_there() -> bool:
            batch = events.take(100, 0)
            assert len(events) < LIMIT + 2 * READ_BURST
            for each in batch:
                got[each.payload] = got.get(each.payload, 0) + 1
            link.acknowledge(batch)
            return len(got) == SENT

        eventually(all_there, 60)
        eventually(lambda: not link.held)
    finally:
        link.stop(5)


def test_samples_that_are_dropped_keep_no_event_waiting(mqtt_url: str, device_mqtt_url: str, group: str) -> None:
    """A cabinet that sends its telemetry with QoS 1, more than fits and than the broker may send unacknowledged."""
    reception, fits, may_be_under_way = Reception(2), 2, 5
    link = Link(
        url=mqtt_url,
        client_id=f"{group}-gateway",
        subscriptions=[f"$share/{group}/{topics.up(group, kind)}" for kind in (UpKind.TELEMETRY, UpKind.EVENT)],
        receive_maximum=may_be_under_way,
        deliver=reception.deliver,
        metrics=Metrics(CollectorRegistry()),
    )
    link.start()
    try:
        eventually(lambda: link.connected_since)
        with Cabinet(group, device_mqtt_url) as cabinet:
            samples = [
                lock(group, seq)._replace(topic=topics.up(group, UpKind.TELEMETRY))
                for seq in range(fits + 4 * may_be_under_way)
            ]
            cabinet.send(*samples, lock(group, 1))
            eventually(lambda: len(reception.events))
        assert len(reception.samples) == fits
    finally:
        link.stop(5)


@contextmanager
def _wired() -> Iterator[tuple[FleetClient, socket.socket]]:
    """A client that is connected, and the broker's end."""
    ours, theirs = socket.socketpair()
    client = FleetClient(
        CallbackAPIVersion.VERSION2, client_id="c", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
    )
    client.on_socket_register_write = lambda *_: None
    client._sock, client._state = BufferedSocket(ours), _ConnectionState.MQTT_CS_CONNECTED
    client._sock.setblocking(False)
    try:
        yield client, theirs
    finally:
        ours.close()
        theirs.close()


@pytest.mark.parametrize("on_purpose", [True, False])
def test_silence_of_a_link_that_does_not_read_is_not_the_brokers(on_purpose: bool) -> None:
    with _wired() as (client, theirs):
        long_ago = monotonic() - 2 * client.keepalive
        client._last_msg_out = client._last_bytes_received = client._ping_t = long_ago
        if on_purpose:
            client.not_reading()
            assert client.loop_misc() is MQTTErrorCode.MQTT_ERR_SUCCESS
            client.loop_write()
            assert theirs.recv(2) == PINGREQ
        else:
            client.loop_misc()
            assert client.socket() is None


def test_who_publishes_writes_unless_another_does() -> None:
    with _wired() as (client, theirs), ThreadPoolExecutor(1) as other:
        client.publish("t", b"one")
        assert other.submit(client.write_through).result()
        assert b"one" in theirs.recv(100)
        client.publish("t", b"two")
        with client._writing:
            assert not other.submit(client.write_through).result()
        assert client.want_write()
        assert other.submit(client.write_through).result()
        assert b"two" in theirs.recv(100)


def test_who_publishes_leaves_a_lost_connection_to_the_thread_that_serves_it() -> None:
    with _wired() as (client, theirs), ThreadPoolExecutor(1) as other:
        theirs.close()
        client.publish("t", b"one")
        assert not other.submit(client.write_through).result()
        assert client.want_write()
        assert client.socket() is not None
        client.loop_write()
        assert client.socket() is None


class _Wired(Link):
    """Connected to one end of a pair of sockets, without a broker that answers."""

    def __init__(self, ours: socket.socket) -> None:
        super().__init__(
            url="mqtt://127.0.0.1:1",
            client_id="c",
            subscriptions=(),
            receive_maximum=10,
            deliver=lambda _: True,
            metrics=Metrics(CollectorRegistry()),
        )
        self._ours = ours

    def _connect(self) -> bool:
        self._client._sock, self._client._state = BufferedSocket(self._ours), _ConnectionState.MQTT_CS_CONNECTED
        self._client._sock.setblocking(False)
        return True


def test_packets_of_many_who_publish_are_whole_and_in_the_order_of_each() -> None:
    """Some are longer than what the socket takes at once."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(60)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    link, threads, each = _Wired(ours), 4, 200

    def read() -> dict[str, list[int]]:
        got: dict[str, list[int]] = {}
        data = b""
        while sum(len(found) for found in got.values()) < threads * each:
            data += theirs.recv(1 << 16)
            while (taken := plain_at(data, 0)) is not None:
                packet, data = taken[0], data[taken[1] :]
                number, _, rest = packet.payload.partition(b":")
                assert rest == bytes(len(rest))
                got.setdefault(packet.topic, []).append(int(number))
        return got

    def publish(topic: str) -> None:
        for number in range(each):
            payload = b"%d:" % number + bytes(number * 397 % 20_000)
            link.publish(Published(topic=topic, payload=payload, qos=0))

    link.start()
    try:
        eventually(link._client.is_connected)
        with ThreadPoolExecutor(threads + 1) as pool:
            reader = pool.submit(read)
            list(pool.map(publish, "abcd"))
            assert reader.result() == {topic: list(range(each)) for topic in "abcd"}
    finally:
        link.stop(5)
        theirs.close()


def test_a_command_behind_an_acknowledgement_does_not_wait_for_the_brokers_kernel() -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        client = FleetClient(
            CallbackAPIVersion.VERSION2, client_id="c", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
        )
        client.connect_async(*broker.getsockname())
        client.reconnect()
        ours = client.socket()
        assert ours is not None
        with socket.socket(fileno=os.dup(ours.fileno())) as same:
            assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        client._sock_close()


def test_a_link_that_is_stopped_has_all_taken_by_the_broker_first(
    mqtt_url: str, device_mqtt_url: str, group: str
) -> None:
    """No more than twenty are under way at a time."""
    link = Link(
        url=mqtt_url,
        client_id=f"{group}-gateway",
        subscriptions=[f"$share/{group}/{topics.up(group, UpKind.EVENT)}"],
        receive_maximum=10,
        deliver=lambda _: True,
        metrics=Metrics(CollectorRegistry()),
    )
    link.start()
    with Cabinet(group, device_mqtt_url) as cabinet:
        eventually(lambda: link.connected_since)
        for epoch in range(1, 301):
            link.publish(
                NATIVE.encode_control(group, Welcome(epoch=epoch, server_ms=0, heartbeat_s=30, telemetry_s=60))
            )
        link.stop(30)
        eventually(lambda: len(cabinet.heard(Welcome)) == 300)
        assert all(expiry is not None and expiry <= CONTROL_EXPIRY_S for expiry in cabinet.expiries)
