"""paho's client with a short way for what comes by the thousand: plain PUBLISH in, PUBACK out.

paho reads a packet with four system calls and builds half a dozen objects of it; at fleet scale that is most of what a
gateway does. Here one `recv` brings many packets, and those that are plain (QoS 0 or 1, no property but the content
type) are taken from the buffer at once. Every other packet, and every one that is not whole yet, goes paho's own way
through the same buffer, so that nothing of the protocol is decided here.
"""

import socket
import time
from collections.abc import Callable, Iterable
from copy import copy
from math import inf
from threading import RLock
from typing import Any, Final, NamedTuple

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import MessageState, MessageType, MQTTErrorCode

_RECEIVE: Final = 1 << 16
_PUBLISH: Final = 0x30
_QOS_2: Final = 0x04
_CONTENT_TYPE: Final = 0x03
_ONE_BYTE: Final = 0x7F
#: Frames of a cabinet are at most 64 KiB: a longer packet (3 bytes of length say up to 2 MiB) is not plain.
_LENGTH_BYTES: Final = 3


class Plain(NamedTuple):
    """One PUBLISH as the short way knows it."""

    topic: str
    payload: bytes
    content_type: str | None
    qos: int
    mid: int


class BufferedSocket:
    """What paho asks of a socket, read ahead. One thread reads; writing goes straight to the socket."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._data = b""
        self._at = 0

    def recv(self, size: int) -> bytes:
        """At most `size` bytes; raises as the socket does when there are none."""
        if self._at == len(self._data):
            self._data, self._at = self._sock.recv(_RECEIVE), 0
        found = self._data[self._at : self._at + size]
        self._at += len(found)
        return found

    def pending(self) -> int:
        """Bytes that are here already, of which `select` knows nothing."""
        inside = getattr(self._sock, "pending", None)
        return len(self._data) - self._at + (inside() if inside is not None else 0)

    def take(self, most: int) -> list[Plain]:
        """The plain packets at the head of the buffer, at most `most`; stops at the first that is not."""
        found: list[Plain] = []
        while len(found) < most:
            read = plain_at(self._data, self._at)
            if read is None:
                break
            packet, self._at = read
            found.append(packet)
        return found

    def send(self, data: bytes | bytearray) -> int:
        return int(self._sock.send(data))

    def close(self) -> None:
        self._sock.close()

    def fileno(self) -> int:
        return int(self._sock.fileno())

    def setblocking(self, flag: bool) -> None:
        self._sock.setblocking(flag)


def plain_at(data: bytes, at: int) -> tuple[Plain, int] | None:
    """The plain PUBLISH that begins at `at`, and where it ends; None for all else, whole or not, sound or not."""
    size = len(data)
    if at + 2 > size or data[at] & 0xF0 != _PUBLISH or data[at] & _QOS_2:
        return None
    qos = data[at] >> 1 & 1
    length, at = _length_at(data, at + 1)
    end = at + length
    topic_end = at + 2 + (data[at] << 8 | data[at + 1]) if at + 2 <= end <= size else size
    properties = topic_end + 2 * qos
    if properties >= min(end, size) or topic_end == at + 2:
        return None
    body = properties + 1 + data[properties]
    if data[properties] > _ONE_BYTE or body > end:
        return None
    content_type = None
    try:
        if body > properties + 1:
            content_type = _content_type(data[properties + 1 : body])
            if content_type is None:
                return None
        topic = data[at + 2 : topic_end].decode()
    except UnicodeDecodeError:
        return None
    mid = data[topic_end] << 8 | data[topic_end + 1] if qos else 0
    return Plain(topic, data[body:end], content_type, qos, mid), end


def _length_at(data: bytes, at: int) -> tuple[int, int]:
    """MQTT 5, 1.5.5: the length and where it ends; one that is too long or not whole ends beyond any buffer."""
    first = data[at]
    if first <= _ONE_BYTE:
        return first, at + 1
    tail = data[at + 1 : at + _LENGTH_BYTES]
    if tail and tail[0] <= _ONE_BYTE:
        return first & _ONE_BYTE | tail[0] << 7, at + 2
    if len(tail) > 1 and tail[1] <= _ONE_BYTE:
        return first & _ONE_BYTE | (tail[0] & _ONE_BYTE) << 7 | tail[1] << 14, at + 3
    return len(data), at + 1


def _lifetime(message: MQTTMessage) -> float:
    """Seconds from its `timestamp` on."""
    return float(getattr(message.properties, "MessageExpiryInterval", inf))


def _still_of_use(message: MQTTMessage, until: float, now: float) -> bool:
    """With an expiry from now on that is what is left; False when nothing is."""
    if until == inf:
        return True
    left = int(until - now)
    if left >= 1:
        message.properties = properties = copy(message.properties)  # others share it
        assert properties is not None  # or there were no expiry
        properties.MessageExpiryInterval = left
    return left >= 1


def _content_type(properties: bytes) -> str | None:
    """MQTT 5, 3.3.2.3.9, when it is the only property."""
    if properties[0] != _CONTENT_TYPE or len(properties) < 3:
        return None
    if len(properties) != 3 + (properties[1] << 8 | properties[2]):
        return None
    return properties[3:].decode()


class FleetClient(Client):
    """`on_plain` gets what took the short way, in order with what `on_message` gets; MQTT 5 and manual_ack only."""

    on_plain: Callable[[list[Plain]], None]
    #: Packets taken in a row before anything else gets its turn.
    burst: int = 256

    def __init__(self, *args: Any, **options: Any) -> None:
        #: Held by the thread that writes to the socket, makes a new one or closes it.
        self._writing = RLock()
        #: Of each message (mid) that the last connection left without its PUBACK: when it is of no use any more.
        self._until: dict[int, float] = {}
        super().__init__(*args, **options)

    def write_through(self) -> bool:
        """For threads that only publish: write what waits, without a turn of the thread that serves the connection.

        False: not all of it is written, and that thread must see to the rest. So it must after an error, which stays
        its own to find.
        """
        if not self._writing.acquire(blocking=False):
            return False
        try:
            self._packet_write()
            self._registered_write = False
        finally:
            self._writing.release()
        # Looked at again after that: who queued something before it did not say so.
        return not self.want_write()

    def loop_write(self) -> MQTTErrorCode:
        with self._writing:
            return super().loop_write()

    def reconnect(self) -> MQTTErrorCode:
        with self._writing:
            self._sock_close()
            # paho looks at each of them, and who publishes at this very moment would break that off with an error.
            self._out_packet.clear()
            return super().reconnect()

    def settled(self) -> bool:
        """Whether all that was published has left, and the broker has taken what it has to acknowledge."""
        return not self.want_write() and not self._out_messages

    def forget_outlived(self) -> int:
        """For `on_connect`, after which paho sends again what is not acknowledged, with the expiry of the first time.

        What has expired meanwhile is not sent any more, the rest expires when it was to. Returns how many were dropped.
        """
        now, dropped = time.monotonic(), 0
        with self._out_message_mutex:
            for mid, until in self._until.items():
                message = self._out_messages.get(mid)
                if message is None or message.state is not MessageState.MQTT_MS_PUBLISH:
                    continue
                if not _still_of_use(message, until, now):
                    del self._out_messages[mid]
                    dropped += 1
            self._until.clear()
        return dropped

    def _update_inflight(self) -> MQTTErrorCode:
        """As `forget_outlived`, for what waited until fewer were under way; paho holds `_out_message_mutex`."""
        now, outlived = time.monotonic(), list[int]()
        free = self._max_inflight_messages - self._inflight_messages
        for mid, message in self._out_messages.items():
            if free <= 0:
                break
            if message.state is not MessageState.MQTT_MS_QUEUED:
                continue
            if _still_of_use(message, message.timestamp + _lifetime(message), now):
                message.timestamp = now
                free -= 1
            else:
                outlived.append(mid)
        for mid in outlived:
            del self._out_messages[mid]
        return super()._update_inflight()

    def _messages_reconnect_reset_out(self) -> None:
        with self._out_message_mutex:
            for mid, message in self._out_messages.items():
                self._until.setdefault(mid, message.timestamp + _lifetime(message))
            super()._messages_reconnect_reset_out()

    def pending(self) -> bool:
        """Whether there is something to read that `select` does not see."""
        return isinstance(self._sock, BufferedSocket) and self._sock.pending() > 0

    def not_reading(self) -> None:
        """Nothing is read on purpose: the silence is ours and not the broker's, and pings still go out."""
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()

    def acknowledge(self, mids: Iterable[int]) -> None:
        """PUBACK these (QoS 1), in one write."""
        packets = b"".join([b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids])
        if packets and self._sock is not None:
            self._packet_queue(MessageType.PUBACK, packets, 0, 1)

    def _sock_close(self) -> None:
        # A file descriptor that is closed may be another one's before `send` gets to it.
        with self._writing:
            super()._sock_close()

    def _create_socket(self) -> Any:
        sock: Any = super()._create_socket()
        # Or a command that follows a PUBACK waits some 40 ms for the broker's kernel to acknowledge that (Nagle).
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return BufferedSocket(sock)

    def _packet_read(self) -> MQTTErrorCode:
        sock = self._sock
        if isinstance(sock, BufferedSocket) and self._in_packet["command"] == 0 and sock.pending():
            found = sock.take(self.burst)
            if found:
                with self._msgtime_mutex:
                    self._last_bytes_received = time.monotonic()
                self.on_plain(found)
                return MQTTErrorCode.MQTT_ERR_SUCCESS
        return super()._packet_read()
