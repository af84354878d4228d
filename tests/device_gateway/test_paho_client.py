"""The short way takes what paho would have taken, and leaves it everything else."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import MQTTException
from paho.mqtt._packet import decode_publish
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from device_gateway.paho_client import BufferedSocket, Plain, plain_at


def length(value: int) -> bytes:
    encoded = bytearray()
    while True:
        value, byte = divmod(value, 128)
        encoded.append(byte | 0x80 if value else byte)
        if not value:
            return bytes(encoded)


def publish(topic: str, payload: bytes, *, qos: int = 1, mid: int = 7, properties: bytes = b"\x00") -> bytes:
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + (mid.to_bytes(2, "big") if qos else b"") + properties + payload
    return bytes([0x30 | qos << 1]) + length(len(body)) + body


def content_type(text: str) -> bytes:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = text
    return bytes(properties.pack())  # type: ignore[no-untyped-call]


TOPIC = "vb/v1/VB-0001/up/event"


@pytest.mark.parametrize("size", [0, 1, 90, 127, 128, 4_000, 16_383, 20_000, 65_000])
@pytest.mark.parametrize("qos", [0, 1])
def test_plain_packets_are_taken_whole(size: int, qos: int) -> None:
    payload = bytes(index % 251 for index in range(size))
    packet = publish(TOPIC, payload, qos=qos, mid=513)
    assert plain_at(b"??" + packet + b"rest", 2) == (
        Plain(TOPIC, payload, None, qos, 513 if qos else 0),
        2 + len(packet),
    )


def test_content_type_comes_along() -> None:
    packet = publish(TOPIC, b"{}", properties=content_type("application/cbor"))
    assert plain_at(packet, 0) == (Plain(TOPIC, b"{}", "application/cbor", 1, 7), len(packet))


def test_every_piece_of_a_packet_waits_for_the_rest() -> None:
    packet = publish(TOPIC, b"x" * 200, properties=content_type("application/json"))
    assert all(plain_at(packet[:cut], 0) is None for cut in range(len(packet)))


def _other_packets() -> Iterator[tuple[str, bytes]]:
    expiry = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    expiry.MessageExpiryInterval = 30
    yield "PUBACK", b"\x40\x02\x00\x07"
    yield "QoS 2", publish(TOPIC, b"{}", qos=2)
    yield "another property", publish(TOPIC, b"{}", properties=bytes(expiry.pack()))  # type: ignore[no-untyped-call]
    yield "an alias instead of a topic", publish("", b"{}", properties=b"\x03\x23\x00\x01")
    yield "topic not UTF-8", publish(TOPIC, b"{}").replace(b"event", b"ev\xffnt")
    yield "content type not UTF-8", publish(TOPIC, b"{}", properties=b"\x04\x03\x00\x01\xff")
    yield "topic longer than the packet", b"\x32\x04\xff\xff\x00\x00"
    yield "properties longer than the packet", publish(TOPIC, b"", properties=b"\x20")
    yield "length that does not end", b"\x32\xff\xff\xff\xff\x01" + bytes(100)


@pytest.mark.parametrize(("what", "packet"), list(_other_packets()))
def test_all_else_is_left_to_paho(what: str, packet: bytes) -> None:
    assert plain_at(packet + bytes(100_000), 0) is None, what


@given(st.binary(max_size=400), st.sampled_from([0x30, 0x31, 0x32, 0x33, 0x3A]))
def test_garbage_is_read_as_paho_reads_it(body: bytes, head: int) -> None:
    packet = bytes([head]) + length(len(body)) + body
    found = plain_at(packet, 0)
    if found is None:
        return
    assert found[1] == len(packet)
    try:
        theirs = decode_publish(head, body, MQTTProtocolVersion.MQTTv5)
    except MQTTException as error:
        pytest.fail(f"paho refuses what the short way takes: {error}")
    assert (found[0].topic.encode(), found[0].payload, found[0].qos, found[0].mid) == (
        theirs.topic,
        theirs.payload,
        theirs.qos,
        theirs.mid,
    )


class Pieces:
    """A socket that gives what it is told, piece by piece."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            raise BlockingIOError
        assert len(self.pieces[0]) <= size
        return self.pieces.pop(0)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=12), st.data())
def test_nothing_is_lost_however_the_stream_is_cut(sizes: list[int], data: Any) -> None:
    packets = [publish(TOPIC, bytes([index]) * size, mid=index + 1) for index, size in enumerate(sizes)]
    stream = b"".join(packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]
    sock, taken, slow = BufferedSocket(Pieces(pieces)), [], bytearray()
    while True:
        if not slow:  # paho reads a packet to its end before it asks for another one
            taken += [(packet.mid, packet.payload) for packet in sock.take(5)]
        try:
            slow += sock.recv(1)
        except BlockingIOError:
            break
        whole = plain_at(bytes(slow), 0)
        if whole is not None:
            taken.append((whole[0].mid, whole[0].payload))
            slow.clear()
    assert taken == [(index + 1, bytes([index]) * size) for index, size in enumerate(sizes)]
    assert sock.pending() == 0
