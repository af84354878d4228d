"""One TCP connection of one cabinet, driven by the asyncio loop."""

import asyncio
import contextlib
import socket
from typing import Final

from firmware_protocol.dialect import Published
from simulators.session import OPEN_TIMEOUT_S, Listener

_READ_BYTES: Final = 64 * 1024


class TcpLink:
    """Opened once, as a session is. What is published goes out as bytes, what comes in has no topic."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> None:
        self._loop = loop
        self._address = host, port
        self._listener: Listener | None = None
        self._sock: socket.socket | None = None
        self._outbox = bytearray()
        self._writing = self._closing = False

    def dial(self) -> None:
        """Blocks, so it belongs on a worker thread. Raises OSError."""
        self._sock = sock = socket.create_connection(self._address, OPEN_TIMEOUT_S)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def attach(self, listener: Listener) -> None:
        self._listener = listener
        if self._sock is not None:
            self._loop.add_reader(self._sock, self._readable)
        self._loop.call_soon(self._announce)

    def publish(self, message: Published) -> None:
        """One write for what is published in one go, if the network takes it."""
        self._outbox += message.payload
        if not self._writing and self._sock is not None:
            self._writing = True
            self._loop.add_writer(self._sock, self._writable)

    def close(self) -> None:
        """What was published goes out first."""
        self._listener = None
        if self._outbox and self._sock is not None:
            self._closing = True
        else:
            self._end()

    def cut(self) -> None:
        """At once."""
        self._listener = None
        self._end()

    @property
    def gone(self) -> bool:
        return self._sock is None

    def tick(self) -> None:
        """The cabinet's own heartbeats keep it alive."""

    def _announce(self) -> None:
        if self._listener is not None:
            self._listener.opened()

    def _readable(self) -> None:
        if self._sock is None:
            return
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
        elif self._listener is not None:
            self._listener.received("", data, None)

    def _writable(self) -> None:
        if self._sock is None:
            return
        try:
            sent = self._sock.send(self._outbox)
        except BlockingIOError:
            return
        except OSError:
            self._lost()
            return
        del self._outbox[:sent]
        if not self._outbox:
            self._writing = False
            self._loop.remove_writer(self._sock)
            if self._closing:
                self._end()

    def _lost(self) -> None:
        listener, self._listener = self._listener, None
        self._end()
        if listener is not None:
            listener.closed()

    def _end(self) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)
        with contextlib.suppress(OSError):  # the other side may have been faster
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()
