"""The few MQTT 3.1.1 packets a publisher needs, as bytes: it must cost less than anything it is measured against."""

import socket
from collections.abc import Iterator

CONNECT = 0x10
CONNACK = b"\x20\x02\x00\x00"
PUBLISH_QOS0 = 0x30
PUBLISH_QOS1 = 0x32
SUBSCRIBE = 0x82
PUBACK_BYTES = 4
DISCONNECT = b"\xe0\x00"
#: 18 hours, in seconds. None at all is refused by brokers after 2.0.11.
_KEEP_ALIVE = b"\xff\xff"


def _length(value: int) -> bytes:
    encoded = bytearray()
    while True:
        value, byte = divmod(value, 128)
        encoded.append(byte | 0x80 if value else byte)
        if not value:
            return bytes(encoded)


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def packet(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + _length(len(body)) + body


def connect(client_id: str, user: str | None = None, password: str = "") -> bytes:
    """CONNECT, clean session, a keep-alive that no run outlasts; with a user's name and password, if there is one."""
    if user is None:
        return packet(CONNECT, _text("MQTT") + b"\x04\x02" + _KEEP_ALIVE + _text(client_id))
    return packet(CONNECT, _text("MQTT") + b"\x04\xc2" + _KEEP_ALIVE + _text(client_id) + _text(user) + _text(password))


def publish(topic: str, payload: bytes, mid: int | None) -> bytes:
    """PUBLISH with QoS 1, or with QoS 0 where `mid` is None."""
    if mid is None:
        return packet(PUBLISH_QOS0, _text(topic) + payload)
    return packet(PUBLISH_QOS1, _text(topic) + mid.to_bytes(2, "big") + payload)


def subscribe(topic: str, qos: int) -> bytes:
    return packet(SUBSCRIBE, b"\x00\x01" + _text(topic) + bytes([qos]))


def open_client(port: int, client_id: str) -> socket.socket:
    """A connected client; raises ConnectionError when the broker refuses."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(connect(client_id))
    answer = sock.recv(4)
    if answer != CONNACK:
        raise ConnectionError(f"the broker answered {answer.hex()} to CONNECT")
    return sock


def forget(port: int, client_id: str) -> None:
    """Make the broker drop what it keeps for a client that is away, and would deliver into the next measurement."""
    with open_client(port, client_id) as sock:
        sock.sendall(DISCONNECT)


def packets(sock: socket.socket) -> Iterator[list[tuple[int, memoryview]]]:
    """(first byte, body) of the packets of each read, until the connection ends."""
    rest = b""
    while data := sock.recv(1 << 18):
        view = memoryview(rest + data)
        found: list[tuple[int, memoryview]] = []
        at = 0
        while True:
            length, shift, head = 0, 0, at + 1
            while head < len(view):
                byte = view[head]
                length |= (byte & 0x7F) << shift
                head += 1
                shift += 7
                if not byte & 0x80:
                    break
            else:
                break
            if head + length > len(view):
                break
            found.append((view[at], view[head : head + length]))
            at = head + length
        rest = bytes(view[at:])
        yield found
