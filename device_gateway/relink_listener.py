"""The TCP side of Relink cabinets: one thread, a selector, and for each connection no more memory than a few frames.

It cuts frames, answers heartbeats of those that were let in, and hands over everything else; who may come in, and what
a frame means, is decided where there is a database. What is handed over is bounded like everything of QoS 0.
"""

import selectors
import socket
from collections import deque
from collections.abc import Callable, Iterable
from threading import Event, Thread
from time import monotonic, time
from typing import Final
from urllib.parse import quote

import structlog

from device_gateway.metrics import Metrics
from device_gateway.received import Received
from device_gateway.relink_table import Connection, RelinkTable
from firmware_protocol.dialect import Published
from firmware_protocol.dialects.relink.codec import generation_of
from firmware_protocol.dialects.relink.codes import Command, Generation
from firmware_protocol.dialects.relink.limits import COMMAND_AT
from firmware_protocol.dialects.relink.packet import open_packet
from firmware_protocol.dialects.relink.translate import Place
from firmware_protocol.dialects.relink.up_codec import decode
from firmware_protocol.errors import ProtocolError
from firmware_protocol.vendor import Admission
from fleet.common.networks import CabinetNetworks

_LOG: Final = structlog.get_logger(__name__)
#: Without a login, and without being let in, for so long.
LOGIN_WITHIN_S: Final = 30.0
#: Three heartbeats and a margin: whoever is silent for longer is gone (relink.md 4).
IDLE_S: Final = 100.0
#: Bytes that wait for a cabinet which does not read.
MOST_WAITING: Final = 16 * 1024
#: How long nobody is taken after the system had no room for one.
ACCEPT_AGAIN_S: Final = 1.0
_READ: Final = 4096
#: By byte, as metrics name them; what a stranger sends makes no series of its own.
_COMMANDS: Final = {int(command): command.name.lower() for command in Command}
_SELECT_S: Final = 1.0


class RelinkListener(Thread):
    """`start`, then `stop` once. `publish`, `stations` and `cut` are for other threads."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        gateway: str,
        deliver: Callable[[Received], object],
        networks: CabinetNetworks,
        metrics: Metrics,
    ) -> None:
        super().__init__(name="relink", daemon=True)
        self._networks = networks
        self._metrics = metrics
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
        self._table = RelinkTable()
        metrics.relink_connections.set_function(lambda: len(self._table))
        self._outgoing: deque[Published] = deque()
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
        return self._table.stations

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
            for each in self._table:
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
            self._metrics.relink_refused.labels("network").inc()
            _LOG.warning("connection refused: of no network of cabinets", address=address)
            sock.close()
            return
        if not self._table.has_room_for(address):
            self._metrics.relink_refused.labels("too_many").inc()
            _LOG.warning("connection refused: too many", address=address, connections=len(self._table))
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        each = self._table.add(sock, address, monotonic())
        self._selector.register(sock, selectors.EVENT_READ, each.number)

    def _listen_again(self) -> None:
        if self._accept_at is not None and monotonic() >= self._accept_at:
            self._accept_at = None
            self._selector.register(self._server, selectors.EVENT_READ)

    def _serve(self, number: int, events: int) -> None:
        each = self._table.get(number)
        if each is None:
            return
        if events & selectors.EVENT_WRITE:
            self._flush(each)
        if events & selectors.EVENT_READ and each in self._table:
            self._read(each)

    def _read(self, each: Connection) -> None:
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
            while each in self._table and (frame := each.framer.take()) is not None:
                self._frame(each, frame)
                frame = None
        except ProtocolError as error:
            # There is nothing to find the next frame by: what is left of the stream is kept, and the line is cut.
            self._metrics.relink_frames.labels("in", "broken").inc()
            _LOG.info("connection lost its frames", address=each.address, error=str(error))
            self._hand_over(each, frame or each.framer.pending[:_READ])
            self._close(each)

    def _frame(self, each: Connection, frame: bytes) -> None:
        each.heard_at = monotonic()
        self._count("in", frame)
        if each.place is None:
            # Whether a wrong check is tolerated is known where the station is: the pipeline looks at it again.
            packet = open_packet(frame, tolerate_checksum=True)
            generation = generation_of(packet)
            login = decode(packet.command, packet.payload, generation)
            box_id = quote(str(getattr(login, "box_id", "")), safe="")
            each.place = Place(self._gateway, each.number, generation, 0, box_id)
        elif frame[COMMAND_AT] == Command.HEARTBEAT and each.station_id is not None and each.heartbeat in {None, frame}:
            self._heard.add(each.station_id)
            self._write(each, frame)
            return
        self._hand_over(each, frame)

    def _hand_over(self, each: Connection, payload: bytes) -> None:
        place = each.place or Place(self._gateway, each.number, Generation.ONE, 0, "-")
        self._deliver(Received(place.topic, payload, None, 0, 0, 0, time()))

    def _send_outgoing(self) -> None:
        while self._outgoing:
            message = self._outgoing.popleft()
            each = self._table.at(message.topic)
            if each is None:
                _LOG.info("connection is gone", topic=message.topic)
                continue
            if isinstance(message, Admission):
                self._admit(each, message)
            self._write(each, message.payload)

    def _admit(self, each: Connection, admission: Admission) -> None:
        """The newest login wins: an older connection of the same box is cut, and most often is dead already."""
        older = self._table.admit(each, admission)
        if older is None:
            return
        moved = older.address != each.address
        self._metrics.relink_replaced.labels("other" if moved else "same").inc()
        if moved:
            _LOG.warning(
                "box connected from elsewhere", station_id=each.station_id, now=each.address, was=older.address
            )
        self._close(older)

    def _count(self, direction: str, frame: bytes) -> None:
        if len(frame) > COMMAND_AT:  # a login may be let in without a reply
            self._metrics.relink_frames.labels(direction, _COMMANDS.get(frame[COMMAND_AT], "other")).inc()

    def _write(self, each: Connection, payload: bytes) -> None:
        if len(each.waiting) + len(payload) > MOST_WAITING:
            _LOG.warning("connection does not read", address=each.address)
            self._close(each)
            return
        each.waiting += payload
        self._count("out", payload)
        self._flush(each)

    def _flush(self, each: Connection) -> None:
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
        for each in self._table:
            if each.station_id in unwanted:
                _LOG.warning("connection cut: revoked", address=each.address, station_id=each.station_id)
                self._close(each)

    def _tidy(self) -> None:
        now = monotonic()
        if now - self._tidied < _SELECT_S:
            return
        self._tidied = now
        for each in self._table:
            if now - each.heard_at > (IDLE_S if each.admitted else LOGIN_WITHIN_S):
                self._close(each)

    def _close(self, each: Connection, *, told: bool = True) -> None:
        """`told`: whoever keeps the sessions hears of it; a gateway that ends leaves that to the next login."""
        if not self._table.remove(each):
            return
        self._selector.unregister(each.sock)
        each.sock.close()
        if each.admitted and told:
            self._hand_over(each, b"")

    def _wake(self) -> None:
        try:
            self._wake_w.send(b"\0")
        except OSError:  # full: the thread is awake already
            return
