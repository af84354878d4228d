"""Between one pure cabinet and the world: its timer, its session, and the order in which its wishes are carried out."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Protocol, TypeVar

from firmware_protocol.dialect import Published
from simulators.base import AnyCabinet
from simulators.broker import Broker
from simulators.cabinet import Cabinet
from simulators.errands import Errands
from simulators.errors import SimulatorError
from simulators.faults import Fault, FaultKind
from simulators.identity import Identity
from simulators.identity_link import IdentityLink
from simulators.outputs import (
    BringLog,
    Connect,
    ConnectTcp,
    ConnectVendor,
    Fetch,
    Hangup,
    HttpCall,
    Opening,
    Output,
    Rotate,
)
from simulators.session import OPEN_TIMEOUT_S, Link, native_session, vendor_session
from simulators.tcp import TcpLink
from simulators.uplink import Phase
from simulators.vendor import VendorCabinet

T = TypeVar("T")


class Environment(Protocol):
    """What all drivers of a fleet share."""

    loop: asyncio.AbstractEventLoop
    broker: Broker
    #: Where Relink cabinets connect.
    relink: tuple[str, int] | None
    #: Where cabinets keep their credentials; None: they are gone with the process.
    state: Path | None
    dialers: Executor

    def now_ms(self) -> int: ...

    def carry_out(self, driver: "Driver", outputs: list[Output]) -> None:
        """Make the cabinet's state durable where asked for, then call `driver.perform`."""

    def ask_to_dial(self, driver: "Driver", wish: Opening) -> None:
        """Call `driver.dial(wish)` when the pace allows it."""

    def call(self, driver: "Driver", call: HttpCall) -> None:
        """Call `driver.answered` with status and text, status 0 when nobody answered."""

    def phase_changed(self, driver: "Driver") -> None: ...


class Driver:
    """Everything goes through `do`, on the loop's thread."""

    def __init__(self, environment: Environment, cabinet: AnyCabinet) -> None:
        self._env = environment
        self.cabinet = cabinet
        self.session: Link | None = None
        self.published = 0
        self.received_count = 0
        self._wish: Opening | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_ms: int | None = None
        self._phase = cabinet.phase
        station = cabinet.board.station
        self.identity = None if station.claim is None else Identity(station.claim, station.code, environment.state)
        self.errands = Errands(environment, self.identity, self._tell, lambda: self.disconnect(for_s=0.0, clean=True))

    @property
    def code(self) -> str:
        return self.cabinet.code

    @property
    def welcomed(self) -> bool:
        return self.cabinet.phase is Phase.WELCOMED

    def do(self, action: Callable[[AnyCabinet, int], T]) -> T:
        """One input to the cabinet at the present time, and everything that follows from it."""
        try:
            return action(self.cabinet, self._env.now_ms())
        finally:
            if outputs := self.cabinet.drain():
                self._env.carry_out(self, outputs)
            elif self.cabinet.board.dirty:
                self._env.carry_out(self, [])
            if self.cabinet.phase is not self._phase:
                self._phase = self.cabinet.phase
                if self.identity is not None and self.welcomed:
                    self.identity.welcomed()
                    self.errands.renew_when_due()
                self._env.phase_changed(self)
            self._arm()

    def opened(self) -> None:
        self.do(lambda cabinet, now: cabinet.opened(now))

    def closed(self) -> None:
        self.session = None
        self.do(lambda cabinet, now: cabinet.closed(now))

    def received(self, topic: str, payload: bytes, content_type: str | None) -> None:
        self.received_count += 1
        self.do(lambda cabinet, now: cabinet.received(topic, payload, content_type, now))

    def remove(self, slot: int) -> str | None:
        """A bank leaves with no command; returns its serial. Raises NothingToRemove."""
        return self.do(lambda cabinet, now: cabinet.remove(slot, now)).serial

    def reboot(self) -> None:
        self.do(lambda cabinet, now: cabinet.restart(now))

    def disconnect(self, *, for_s: float | None = None, clean: bool = False) -> None:
        for_ms = None if for_s is None else int(for_s * 1000)
        self.do(lambda cabinet, now: cabinet.disconnect(now, for_ms=for_ms, clean=clean))

    def connect(self) -> None:
        self.do(lambda cabinet, now: cabinet.connect(now))

    def add_fault(self, fault: Fault) -> None:
        self.do(lambda cabinet, now: cabinet.add_fault(fault, now))

    def clear_faults(self, kind: FaultKind | None = None) -> None:
        self.do(lambda cabinet, _now: cabinet.clear_faults(kind))

    def perform(self, outputs: list[Output]) -> None:
        """Called by the environment, in order."""
        for output in outputs:
            match output:
                case Published() if self.session is not None:
                    self.published += 1
                    self.session.publish(output)
                case Connect() | ConnectVendor() | ConnectTcp():
                    self._wish = output
                    self._env.ask_to_dial(self, output)
                case HttpCall():
                    self._env.call(self, output)
                case Hangup(clean=clean):
                    self._hang_up(clean=clean)
                case Fetch():
                    self.errands.fetch(output)
                case Rotate():
                    self.errands.rotate(output)
                case BringLog():
                    self.errands.bring_log(output)

    def answered(self, call: HttpCall, status: int, text: str) -> None:
        """The HTTP server answered a vendor's cabinet, or did not: status 0."""

        def tell(cabinet: AnyCabinet, now_ms: int) -> None:
            if isinstance(cabinet, VendorCabinet):
                cabinet.answered(call, status, text, now_ms)

        self.do(tell)

    def _tell(self, action: Callable[[Cabinet, int], None]) -> None:
        def tell(cabinet: AnyCabinet, now_ms: int) -> None:
            if isinstance(cabinet, Cabinet):
                action(cabinet, now_ms)

        self.do(tell)

    async def dial(self, wish: Opening) -> None:
        """Open the session that `wish` asks for, unless the cabinet changed its mind meanwhile."""
        if self._wish is not wish:
            return
        session = self._link(wish)
        try:
            await self._env.loop.run_in_executor(self._env.dialers, session.dial)
        except OSError:
            if self._wish is wish:
                self.closed()
            return
        if self.identity is not None and isinstance(self.cabinet, Cabinet):
            self.cabinet.board.credential = self.identity.in_use.key_id
        session.attach(self)
        if self._wish is not wish:
            session.cut()
            return
        self.session = session
        self._env.loop.call_later(OPEN_TIMEOUT_S, self._give_up, session)

    def _link(self, wish: Opening) -> Link:
        env = self._env
        match wish:
            case Connect() if self.identity is not None:
                board = self.cabinet.board
                return IdentityLink(
                    env.loop, env.broker, board.station, wish.will, identity=self.identity, boot=board.boot
                )
            case Connect():
                return native_session(env.loop, env.broker, self.cabinet.board.station, wish.will)
            case ConnectVendor():
                return vendor_session(env.loop, env.broker, wish)
            case ConnectTcp():
                if env.relink is None:  # refused when the fleet is made
                    raise SimulatorError("a Relink cabinet needs the address of a Relink server")
                return TcpLink(env.loop, *env.relink)

    def cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._armed_ms = None

    def stop(self) -> None:
        """Nothing happens by itself any more."""
        self.cancel_timer()
        self.errands.stop()

    def _give_up(self, session: Link) -> None:
        if self.session is session and self.cabinet.phase is Phase.CONNECTING:
            session.cut()
            self.closed()

    def _hang_up(self, *, clean: bool) -> None:
        self._wish = None
        session, self.session = self.session, None
        if session is None:
            return
        if clean:
            session.close()
        else:
            session.cut()

    def _arm(self) -> None:
        due_ms = self.cabinet.next_due()
        if due_ms == self._armed_ms:
            return
        self.cancel_timer()
        if due_ms is not None:
            self._armed_ms = due_ms
            delay_s = max(0, due_ms - self._env.now_ms()) / 1000
            self._timer = self._env.loop.call_later(delay_s, self._wake)

    def _wake(self) -> None:
        self._timer = self._armed_ms = None
        self.do(lambda cabinet, now: cabinet.wake(now))
