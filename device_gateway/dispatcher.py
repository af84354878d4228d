"""Commands, from the database to the broker. One thread with a LISTEN connection of its own."""

import select
import socket
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from threading import Event, Thread
from time import monotonic
from typing import Any, Final

import psycopg2
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from device_gateway import claims, faults
from device_gateway.backoff import Backoff
from device_gateway.claims import Claimant, Order
from device_gateway.duties import Timer
from device_gateway.listening import listen
from device_gateway.metrics import Metrics
from device_gateway.post import Outlet
from fleet.common.notify import Channel
from fleet.common.vault import Vault
from fleet.db import session_scope

_LOG: Final = structlog.get_logger(__name__)
#: A notification can be lost with its connection; then only this much time is.
POLL_S: Final = 0.5
REPEAT_EVERY_S: Final = 0.5
#: Each time another gateway was faster at some station; what is left then waits for the poll.
MOST_CLAIMS: Final = 5


def take(engine: Engine, claimant: Claimant, now: datetime) -> tuple[list[Order], int]:
    """What is committed as SENT now, and how many commands were looked at."""
    for _ in range(MOST_CLAIMS):
        try:
            with session_scope(engine) as session:
                return claims.claim(session, claimant, now)
        except IntegrityError as error:
            if not claims.overtaken(error):
                raise
    return [], 0


class Dispatcher(Thread):
    def __init__(
        self,
        engine: Engine,
        link: Outlet,
        metrics: Metrics,
        *,
        name: str,
        clock: Callable[[], datetime],
        vault: Vault | None = None,
        connected: Callable[[], Collection[int]] = tuple,
        heard_through: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        """`heard_through`: messages received before it have been stored; None: nothing waits to be."""
        super().__init__(name="dispatcher", daemon=True)
        self._engine = engine
        self._link = link
        self._metrics = metrics
        self._gateway = name
        self._vault = vault
        self._connected = connected
        self._heard_through = heard_through
        self._clock = clock
        self._ending = Event()
        self._repeat_timer = Timer(REPEAT_EVERY_S)
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_w.setblocking(False)
        self._listener: Any = None
        #: Read by the watchdog.
        self.beat = monotonic()

    def stop(self, timeout_s: float) -> None:
        """Finish what is claimed, claim nothing more."""
        self._ending.set()
        self.wake()
        self.join(timeout_s)

    def wake(self) -> None:
        try:
            self._wake_w.send(b"\0")
        except OSError:  # full: it wakes anyway
            return

    def run(self) -> None:
        backoff = Backoff(longest_s=5.0)
        try:
            while not self._ending.is_set():
                self.beat = monotonic()
                try:
                    self._work(told=self._wait())
                    backoff.reset()
                except Exception as error:
                    if not faults.is_transient(error):
                        raise
                    _LOG.warning("commands put off", error=str(error)[:300])
                    self._close()
                    self._ending.wait(backoff.next_s())
        finally:
            self._close()

    def _work(self, *, told: bool) -> None:
        """`told`: somebody says that there is something to send, which is not asked for."""
        # Disconnected, a command would be claimed by a gateway that cannot send it.
        if self._link.connected_since is None:
            return
        more = told or claims.waiting(self._listen())
        while more and not self._ending.is_set():
            claimant = Claimant(self._gateway, self._vault, self._connected())
            orders, seen = take(self._engine, claimant, self._clock())
            self._publish(orders, "sent")
            more = seen == claims.MOST and bool(orders)
        if self._repeat_timer.due():
            with session_scope(self._engine) as session:
                orders = claims.repeat(session, self._clock(), self._heard_through())
            self._publish(orders, "repeated")

    def _publish(self, orders: Sequence[Order], action: str) -> None:
        for order in orders:
            # Whole seconds, rounded down so that it never outlives the deadline; 0 would mean at once.
            remaining = int((order.deadline - self._clock()).total_seconds())
            if remaining < 1:
                # It stays SENT: nobody published it, and the sweep finds out by the inventory like for any silence.
                self._metrics.commands.labels("too_late").inc()
                continue
            self._link.publish(order.message, remaining)
            self._metrics.commands.labels(action).inc()

    def _wait(self) -> bool:
        """For a notification, a wake-up or the poll, whichever comes first; whether it says that a command waits."""
        listener = self._listen()
        if not listener.notifies:
            readable, _, _ = select.select([listener, self._wake_r], [], [], POLL_S)
            if self._wake_r in readable:
                self._wake_r.recv(4096)
            if listener in readable:
                listener.poll()
        # Those without a station only say that something may wait, because an eject has ended.
        told = any(each.payload for each in listener.notifies)
        listener.notifies.clear()
        return told

    def _listen(self) -> Any:
        if self._listener is None:
            self._listener = listen(self._engine, Channel.DEVICE_COMMAND)
        return self._listener

    def _close(self) -> None:
        if self._listener is None:
            return
        try:
            self._listener.close()
        except psycopg2.Error:
            _LOG.debug("listener was gone already")
        self._listener = None
