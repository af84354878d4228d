"""The connection to the broker while what it brings cannot be stored."""

import socket
from time import monotonic

import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion, _ConnectionState
from prometheus_client import CollectorRegistry

from device_gateway.metrics import Metrics
from device_gateway.mqtt import READ_BURST, Link
from device_gateway.paho_client import BufferedSocket, FleetClient
from device_gateway.reception import Reception
from firmware_protocol import topics
from firmware_protocol.topics import UpKind
from tests.device_gateway.cabinet import Cabinet, eventually
from tests.device_gateway.support import lock

LIMIT = 300
SENT = 2_500
PINGREQ = b"\xc0\x00"


def test_a_full_gateway_reads_nothing_and_loses_nothing(mqtt_url: str, device_mqtt_url: str, group: str) -> None:
    """The broker is told of no bound here: what holds it back is that nobody reads."""
    reception, registry = Reception(LIMIT), CollectorRegistry()
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
        assert LIMIT <= len(reception.events) < LIMIT + 2 * READ_BURST
        got: dict[bytes, int] = {}

        def all_there() -> bool:
            batch = reception.events.take(100, 0)
            assert len(reception.events) < LIMIT + 2 * READ_BURST
            for each in batch:
                got[each.payload] = got.get(each.payload, 0) + 1
            link.acknowledge(batch)
            return len(got) == SENT

        eventually(all_there, 60)
        eventually(lambda: not link.held)
    finally:
        link.stop(5)


@pytest.mark.parametrize("on_purpose", [True, False])
def test_silence_of_a_link_that_does_not_read_is_not_the_brokers(on_purpose: bool) -> None:
    ours, theirs = socket.socketpair()
    client = FleetClient(
        CallbackAPIVersion.VERSION2, client_id="c", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
    )
    client._sock, client._state = BufferedSocket(ours), _ConnectionState.MQTT_CS_CONNECTED
    long_ago = monotonic() - 2 * client.keepalive
    client._last_msg_out = client._last_bytes_received = client._ping_t = long_ago
    try:
        if on_purpose:
            client.not_reading()
            assert client.loop_misc() is MQTTErrorCode.MQTT_ERR_SUCCESS
            client.loop_write()
            assert theirs.recv(2) == PINGREQ
        else:
            client.loop_misc()
            assert client.socket() is None
    finally:
        ours.close()
        theirs.close()
