"""The TCP side of Relink cabinets: one thread, a selector, and for each connection no more memory than a few frames.

It cuts frames, answers heartbeats of those that were let in, and hands over everything else; who may come in, and what
a frame means, is decided where there is a database. What is handed over is bounded like everything of QoS 0.
"""

import selectors
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Event, Thread
from time import monotonic, time
from typing import Final
from urllib.parse import quote

import structlog

from device_gateway.received import Received
from firmware_protocol.dialect import Published
from firmware_protocol.dialects.relink.codec import generation_of
from firmware_protocol.dialects.relink.codes import Command, Generation
from firmware_protocol.dialects.relink.framing import Framer
from firmware_protocol.dialects.relink.packet import open_packet
from firmware_protocol.dialects.relink.translate import PREFIX, Place, place_of
from firmware_protocol.dialects.relink.up_codec import decode
from firmware_protocol.errors import ProtocolError
from firmware_protocol.vendor import Admission
from fleet.common.networks import CabinetNetworks

_LOG: Final = structlog.get_logger(__name__)
#: Without a login, and without being let in, for so long.
LOGIN_WITHIN_S: Final = 30.0
#: Three heartbeats and a margin: whoever is silent for longer is gone (relink.md 4).
IDLE_S: Final = 100.0
#: Cabinets of one private network may share an address; a stranger must not take all places.
MOST: Final = 20_000
MOST_PER_ADDRESS: Final = 5_000
#: Bytes that wait for a cabinet which does not read.
MOST_WAITING: Final = 16 * 1024
#: How long nobody is taken after the system had no room for one.
ACCEPT_AGAIN_S: Final = 1.0
_READ: Final = 4096
_SELECT_S: Final = 1.0


@dataclass(slots=True)
class _Connection:
    number: int
    sock: socket.socket
    address: str
    heard_at: float
    framer: Framer = field(default_factory=Framer)
    waiting: bytearray = field(default_factory=bytearray)
    #: Known from the login on; its epoch from the admission on.
    place: Place | None = None
    station_id: int | None = None
    heartbeat: bytes | None = None

    @property
    def admitted(self) -> bool:
        return self.station_id is not None


class RelinkListener(Thread):
    """`start`, then `stop` once. `publish`, `stations` and `cut` are for other threads."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        gateway: str,
        deliver: Callable[[Received], None],
        networks: CabinetNetworks,
    ) -> None:
        super().__init__(name="relink", daemon=True)
        self._networks = networks
        #: Until when no connection is taken, after one could not be.
        self._accept_at: float | None = None
        self._gateway = gateway
        self._deliver = deliver
        self._selector = selectors.DefaultSelector()
        # Several gateways of one machine share the port; the kernel gives each its part of the connections.
        self._server = socket.create_server((host, port), backlog=1024, reuse_port=True)
        self._server.setblocking(False)
        self.port: int = self._server.getsockname()[1]
        self._wake_r, self._wake_w = socket.socketpair()
        for end in (self._wake_r, self._wake_w):
            end.setblocking(False)
        self._connections: dict[int, _Connection] = {}
        self._by_box: dict[str, int] = {}
        self._addresses: Counter[str] = Counter()
        self._numbers = 0
        self._outgoing: deque[Published] = deque()
        self._stations: frozenset[int] = frozenset()
        self._heard: set[int] = set()
        self._to_cut: deque[int] = deque()
        self._ending = Event()
        self._tidied = monotonic()
        #: Read by the watchdog.
        self.beat = monotonic()

    # --- for other threads ---

    def publish(self, message: Published) -> None:
        """A command to a box, or a reply on the connection that the topic names; lost when it is gone."""
        self._outgoing.append(message)
        self._wake()

    @property
    def stations(self) -> frozenset[int]:
        """Stations (ids) whose connections are held here."""
        return self._stations

    def take_heard(self) -> set[int]:
        """Stations whose heartbeats were answered since the last call."""
        heard, self._heard = self._heard, set()
        return heard

    def cut(self, stations: Iterable[int]) -> None:
        """End the connections of these stations (ids), and with them their sessions."""
        self._to_cut.extend(stations)
        self._wake()

    def stop(self, timeout_s: float) -> None:
        self._ending.set()
        self._wake()
        self.join(timeout_s)

    # --- the thread ---

    def run(self) -> None:
        self._selector.register(self._server, selectors.EVENT_READ)
        self._selector.register(self._wake_r, selectors.EVENT_READ)
        try:
            while not self._ending.is_set():
                self.beat = monotonic()
                for key, events in self._selector.select(_SELECT_S):
                    if key.fileobj is self._server:
                        self._accept()
                    elif key.fileobj is self._wake_r:
                        self._wake_r.recv(4096)
                    else:
                        self._serve(key.data, events)
                self._send_outgoing()
                self._cut()
                self._listen_again()
                self._tidy()
            self._send_outgoing()
        finally:
            for each in list(self._connections.values()):
                self._close(each, told=False)
            self._server.close()
            self._selector.close()

    def _accept(self) -> None:
        try:
            sock, source = self._server.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it has gone again
            return
        except OSError as error:
            # Out of descriptors or memory: the connection still waits, and the selector would say so without end.
            _LOG.warning("connection not taken", error=str(error), again_in_s=ACCEPT_AGAIN_S)
            self._selector.unregister(self._server)
            self._accept_at = monotonic() + ACCEPT_AGAIN_S
            return
        address = str(source[0])
        if not self._networks.admit(address):
            _LOG.warning("connection refused: of no network of cabinets", address=address)
            sock.close()
            return
        if len(self._connections) >= MOST or self._addresses[address] >= MOST_PER_ADDRESS:
            _LOG.warning("connection refused: too many", address=address, connections=len(self._connections))
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._numbers += 1
        each = _Connection(self._numbers, sock, address, monotonic())
        self._connections[each.number] = each
        self._addresses[address] += 1
        self._selector.register(sock, selectors.EVENT_READ, each.number)

    def _listen_again(self) -> None:
        if self._accept_at is not None and monotonic() >= self._accept_at:
            self._accept_at = None
            self._selector.register(self._server, selectors.EVENT_READ)

    def _serve(self, number: int, events: int) -> None:
        each = self._connections.get(number)
        if each is None:
            return
        if events & selectors.EVENT_WRITE:
            self._flush(each)
        if events & selectors.EVENT_READ and number in self._connections:
            self._read(each)

    def _read(self, each: _Connection) -> None:
        try:
            data = each.sock.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(each)
            return
        each.framer.feed(data)
        frame: bytes | None = None
        try:
            while each.number in self._connections and (frame := each.framer.take()) is not None:
                self._frame(each, frame)
                frame = None
        except ProtocolError as error:
            # There is nothing to find the next frame by: what is left of the stream is kept, and the line is cut.
            _LOG.info("connection lost its frames", address=each.address, error=str(error))
            self._hand_over(each, frame or each.framer.pending[:_READ])
            self._close(each)

    def _frame(self, each: _Connection, frame: bytes) -> None:
        each.heard_at = monotonic()
        if each.place is None:
            # Whether a wrong check is tolerated is known where the station is: the pipeline looks at it again.
            packet = open_packet(frame, tolerate_checksum=True)
            generation = generation_of(packet)
            login = decode(packet.command, packet.payload, generation)
            box_id = quote(str(getattr(login, "box_id", "")), safe="")
            each.place = Place(self._gateway, each.number, generation, 0, box_id)
        elif frame[2] == Command.HEARTBEAT and each.station_id is not None and each.heartbeat in {None, frame}:
            self._heard.add(each.station_id)
            self._write(each, frame)
            return
        self._hand_over(each, frame)

    def _hand_over(self, each: _Connection, payload: bytes) -> None:
        place = each.place or Place(self._gateway, each.number, Generation.ONE, 0, "-")
        self._deliver(Received(place.topic, payload, None, 0, 0, 0, time()))

    def _send_outgoing(self) -> None:
        while self._outgoing:
            message = self._outgoing.popleft()
            each = self._connection_of(message.topic)
            if each is None:
                _LOG.info("connection is gone", topic=message.topic)
                continue
            if isinstance(message, Admission):
                self._admit(each, message)
            self._write(each, message.payload)

    def _connection_of(self, topic: str) -> _Connection | None:
        if topic.count("/") == 1:
            return self._connections.get(self._by_box.get(topic.removeprefix(f"{PREFIX}/"), 0))
        return self._connections.get(place_of(topic).connection)

    def _admit(self, each: _Connection, admission: Admission) -> None:
        """The newest login wins: an older connection of the same box is cut."""
        assert each.place is not None  # its login was handed over
        each.place = each.place._replace(epoch=admission.epoch)
        each.station_id, each.heartbeat = admission.station_id, admission.heartbeat
        older = self._connections.get(self._by_box.get(each.place.box_id, 0))
        self._by_box[each.place.box_id] = each.number
        if older is not None and older is not each:
            self._close(older)
        self._note_stations()

    def _write(self, each: _Connection, payload: bytes) -> None:
        if len(each.waiting) + len(payload) > MOST_WAITING:
            _LOG.warning("connection does not read", address=each.address)
            self._close(each)
            return
        each.waiting += payload
        self._flush(each)

    def _flush(self, each: _Connection) -> None:
        try:
            sent = each.sock.send(each.waiting)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(each)
            return
        del each.waiting[:sent]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if each.waiting else 0)
        self._selector.modify(each.sock, events, each.number)

    def _cut(self) -> None:
        if not self._to_cut:
            return
        unwanted = {self._to_cut.popleft() for _ in range(len(self._to_cut))}
        for each in list(self._connections.values()):
            if each.station_id in unwanted:
                _LOG.warning("connection cut: revoked", address=each.address, station_id=each.station_id)
                self._close(each)

    def _tidy(self) -> None:
        now = monotonic()
        if now - self._tidied < _SELECT_S:
            return
        self._tidied = now
        for each in list(self._connections.values()):
            if now - each.heard_at > (IDLE_S if each.admitted else LOGIN_WITHIN_S):
                self._close(each)

    def _close(self, each: _Connection, *, told: bool = True) -> None:
        """`told`: whoever keeps the sessions hears of it; a gateway that ends leaves that to the next login."""
        if self._connections.pop(each.number, None) is None:
            return
        self._selector.unregister(each.sock)
        each.sock.close()
        self._addresses[each.address] -= 1
        if not self._addresses[each.address]:
            del self._addresses[each.address]
        if each.place is not None and self._by_box.get(each.place.box_id) == each.number:
            del self._by_box[each.place.box_id]
        if each.admitted:
            self._note_stations()
            if told:
                self._hand_over(each, b"")

    def _note_stations(self) -> None:
        self._stations = frozenset(
            each.station_id for each in self._connections.values() if each.station_id is not None
        )

    def _wake(self) -> None:
        try:
            self._wake_w.send(b"\0")
        except OSError:  # full: the thread is awake already
            return
