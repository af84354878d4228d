"""MQTT 3.1.1 by hand: thousands of clients in one thread, and packets that no library would send."""

import select
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import suppress
from time import monotonic

CONNACK, PUBLISH, SUBACK = 2, 3, 9


class Closed(Exception):
    """The broker ended the connection, or never let it begin."""


#: None at all is refused by brokers after 2.0.11.
_KEEP_ALIVE_S = 600


class RawClient:
    """One connection. `connect` must be called first."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        try:
            self.socket = plain if context is None else context.wrap_socket(plain, server_hostname="localhost")
        except (OSError, ssl.SSLError) as error:
            plain.close()
            raise Closed(str(error)) from error
        self._buffer = b""

    def connect(self, client_id: str, user: str | None = None, password: str | None = None) -> int:
        """The broker's return code: 0 is let in. Raises Closed."""
        flags = 2 | (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
        body = _text("MQTT") + bytes([4, flags]) + _KEEP_ALIVE_S.to_bytes(2, "big") + _text(client_id)
        body += b"".join(_text(each) for each in (user, password) if each is not None)
        self.send(_packet(0x10, body))
        kind, answer = self.receive()
        assert kind == CONNACK
        return answer[1]

    def subscribe(self, *filters: str) -> None:
        """With QoS 0, and wait for the answer."""
        body = b"\x00\x01" + b"".join(_text(each) + b"\x00" for each in filters)
        self.send(_packet(0x82, body))
        kind, _ = self.receive()
        assert kind == SUBACK

    def publish(self, topic: str, payload: bytes) -> None:
        self.send(publish_packet(topic, payload))

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Closed(str(error)) from error

    def receive(self, timeout_s: float = 10.0) -> tuple[int, bytes]:
        """Kind and body of the next packet. Raises Closed, TimeoutError."""
        give_up = monotonic() + timeout_s
        while (found := _split(self._buffer)) is None:
            self.socket.settimeout(max(0.001, give_up - monotonic()))
            try:
                data = self.socket.recv(65_536)
            except TimeoutError:
                raise
            except OSError as error:
                raise Closed(str(error)) from error
            if not data:
                raise Closed("end of stream")
            self._buffer += data
        kind, body, self._buffer = found
        return kind, body

    def gone(self, timeout_s: float) -> bool:
        """Whether the broker ends the connection within the time."""
        give_up = monotonic() + timeout_s
        with suppress(TimeoutError):
            while monotonic() < give_up:
                try:
                    self.receive(give_up - monotonic())
                except Closed:
                    return True
        return False

    def close(self) -> None:
        self.socket.close()


def publish_packet(topic: str, payload: bytes) -> bytes:
    return _packet(0x30, _text(topic) + payload)


def published(body: bytes) -> tuple[str, bytes]:
    """Topic and payload of a QoS 0 publish."""
    length = int.from_bytes(body[:2])
    return body[2 : 2 + length].decode(), body[2 + length :]


def messages(client: RawClient, until: bytes) -> Iterator[tuple[str, bytes]]:
    """What is delivered to a client, up to the message whose payload is `until`."""
    while True:
        kind, body = client.receive(30)
        if kind == PUBLISH:
            topic, payload = published(body)
            if payload == until:
                return
            yield topic, payload


def drain(clients: Iterable[RawClient], idle_s: float) -> None:
    """Throw away what waits, until nothing comes for so long."""
    sockets = [client.socket for client in clients]
    while ready := select.select(sockets, [], [], idle_s)[0]:
        for each in ready:
            each.recv(65_536)


def _packet(first: int, body: bytes) -> bytes:
    length, encoded = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        encoded += bytes([digit | (0x80 if length else 0)])
        if not length:
            return bytes([first]) + encoded + body


def _split(data: bytes) -> tuple[int, bytes, bytes] | None:
    """The first packet of a stream: kind, body, the rest. None: there is more to come."""
    length = shift = 0
    for index, digit in enumerate(data[1:5], start=1):
        length |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            end = index + 1 + length
            return (data[0] >> 4, data[index + 1 : end], data[end:]) if len(data) >= end else None
    return None


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2) + data
