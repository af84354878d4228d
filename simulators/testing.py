"""For tests that are not asynchronous: a simulated fleet on a loop of its own, in a thread."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar

from simulators import views
from simulators.control import serve_control
from simulators.driver import Driver
from simulators.faults import Fault, FaultKind
from simulators.fleet import CONNECTS_PER_S, SimulatedFleet
from simulators.spec import FleetSpec
from simulators.tuning import Tuning

T = TypeVar("T")
#: Calls into the loop return at once; a longer wait means that the loop is dead.
_CALL_TIMEOUT_S = 30.0


class FleetThread:
    """`with FleetThread(default_fleet(2), mqtt_url) as fleet: fleet.wait_welcomed(); fleet.insert("VB-0001", "PB…")`.

    Every method may be called from any thread, and raises what the same call on the loop raises.
    """

    def __init__(
        self,
        spec: FleetSpec,
        mqtt_url: str,
        *,
        tuning: Tuning | None = None,
        state: Path | None = None,
        connects_per_s: float = CONNECTS_PER_S,
        http_url: str | None = None,
        relink: tuple[str, int] | None = None,
    ) -> None:
        self.spec = spec
        self._settings: dict[str, Any] = {
            "tuning": tuning,
            "state": state,
            "connects_per_s": connects_per_s,
            "http_url": http_url,
            "relink": relink,
        }
        self._mqtt_url = mqtt_url
        self._started: Future[SimulatedFleet] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="simulators", daemon=True)
        self.control_url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._fleet = self._started.result(_CALL_TIMEOUT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._fleet.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_CALL_TIMEOUT_S)

    def call(self, action: Callable[[SimulatedFleet], T]) -> T:
        """Run `action` on the loop and wait for its answer."""

        async def on_loop() -> T:
            return action(self._fleet)

        return asyncio.run_coroutine_threadsafe(on_loop(), self._fleet.loop).result(_CALL_TIMEOUT_S)

    def on(self, code: str, action: Callable[[Driver], T]) -> T:
        """As `call`, with one station's driver."""
        return self.call(lambda fleet: action(fleet[code]))

    def wait_welcomed(self, timeout_s: float = 10.0) -> None:
        """Until every station's gate is open. Raises NotReady."""
        waiting = asyncio.run_coroutine_threadsafe(self._fleet.wait_welcomed(timeout_s), self._fleet.loop)
        waiting.result(timeout_s + _CALL_TIMEOUT_S)

    def station(self, code: str) -> views.StationView:
        """A picture of the cabinet as it is now."""
        return self.call(lambda fleet: views.station(fleet[code], fleet.now_ms()))

    def banks_out(self) -> list[str]:
        """Serials in riders' hands."""
        return self.call(lambda fleet: [bank.serial for bank in fleet.hands if bank.serial])

    def insert(
        self,
        code: str,
        serial: str | None,
        *,
        slot: int | None = None,
        charge_pct: int | None = None,
        foreign: bool = False,
    ) -> int:
        """See SimulatedFleet.insert."""
        return self.call(lambda f: f.insert(code, serial, slot=slot, charge_pct=charge_pct, foreign=foreign))

    def remove(self, code: str, slot: int) -> str | None:
        return self.on(code, lambda driver: driver.remove(slot))

    def add_fault(self, code: str, fault: Fault) -> None:
        self.on(code, lambda driver: driver.add_fault(fault))

    def clear_faults(self, code: str, kind: FaultKind | None = None) -> None:
        self.on(code, lambda driver: driver.clear_faults(kind))

    def reboot(self, code: str) -> None:
        self.on(code, Driver.reboot)

    def disconnect(self, code: str, *, for_s: float | None = None, clean: bool = False) -> None:
        self.on(code, lambda driver: driver.disconnect(for_s=for_s, clean=clean))

    def connect(self, code: str) -> None:
        self.on(code, Driver.connect)

    async def _live(self) -> None:
        self._stop = asyncio.Event()
        fleet = SimulatedFleet(self.spec, self._mqtt_url, **self._settings)
        try:
            async with fleet, serve_control(fleet, 0) as port:
                self.control_url = f"http://127.0.0.1:{port}"
                self._started.set_result(fleet)
                await self._stop.wait()
        except Exception as error:
            if self._started.done():
                raise
            self._started.set_exception(error)
