"""One rental in which processes die at one point. Nothing here sleeps until something is likely: each point is held
open (a lock, a frozen process, a slow motor) until the facts show that it was reached.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from typing import Any
from uuid import uuid4

import httpx

from simulators.faults import FaultKind
from tests.system.clients import Rider
from tests.system.system import System
from tests.system.waiting import until

#: The cabinet's motor takes this long where a death must happen while it turns.
_TURNS_S = 1.0


#: Who dies, at the same moment; brought back in this order.
Targets = tuple[str, ...]


class Point(StrEnum):
    BEFORE_START = "before the start"
    MID_START = "inside the start's transaction"
    COMMITTED = "started, and the command not published"
    PUBLISHED = "command published, and no result"
    EVENT_ON_ITS_WAY = "bank gone, and its event on the way"
    ACTIVE = "while the rider has the bank"
    DURING_RETURN = "bank back, and its event on the way"
    DURING_CLOSE = "inside the transaction that closes the rental"


class Story:
    """`happens(targets, point)` ends with the bank back and everything running."""

    def __init__(self, system: System, rider: Rider, stations: tuple[str, str]) -> None:
        self.system = system
        self.rider = rider
        self.out, self.back = stations
        self.key = str(uuid4())
        self.moves_before = system.cabinets.moves(self.out)
        self._points: dict[Point, Callable[[Targets], None]] = {
            Point.BEFORE_START: self._before_start,
            Point.MID_START: self._mid_start,
            Point.COMMITTED: self._committed,
            Point.PUBLISHED: self._published,
            Point.EVENT_ON_ITS_WAY: self._event_on_its_way,
            Point.ACTIVE: self._active,
            Point.DURING_RETURN: self._during_return,
            Point.DURING_CLOSE: self._during_close,
        }

    def happens(self, targets: Targets, point: Point) -> None:
        self._points[point](targets)

    def ends_well(self) -> None:
        """One rental, one bank that left and came back, one charge; the start's answer is the same for ever."""
        rental = self.rider.start_until_answered(self.out, self.key)
        assert [each["id"] for each in self.rider.rentals()] == [rental["id"]]
        done = self.rider.wait_state(rental["id"], "completed")
        assert (done["station_out"], done["station_in"]) == (self.out, self.back)
        assert (done["charged"]["amount_minor"], done["due"]["amount_minor"]) == (150, 0)
        wallet = self.rider.wallet()
        assert (wallet["balance"]["amount_minor"], wallet["held"]["amount_minor"]) == (4850, 0)
        assert self.system.cabinets.moves(self.out) == self.moves_before + 1

    def _start(self) -> Any:
        return self.rider.start(self.out, key=self.key)

    def _start_again(self) -> Any:
        """What the app does when it got no answer."""
        return self.rider.start_until_answered(self.out, self.key)

    def _until_active(self, rental: Any) -> Any:
        return self.rider.wait_state(rental["id"], "active")

    def _return(self, active: Any) -> None:
        self.system.cabinets.fleet.insert(self.back, active["power_bank"])

    def rents_and_returns(self, rental: Any) -> None:
        """From the answer to the start until the bank is back."""
        self._return(self._until_active(rental))

    def _before_start(self, targets: Targets) -> None:
        with self.system.dead(*targets):
            self._try_to_start()
        self.rents_and_returns(self._start_again())

    def _try_to_start(self) -> httpx.Response | None:
        """The first request, which may or may not be answered."""
        try:
            return self.rider.start_raw(self.out, key=self.key)
        except httpx.TransportError:
            return None

    def _mid_start(self, targets: Targets) -> None:
        with ThreadPoolExecutor(1) as pool:
            with self.system.wallet_locked(self.rider.id):
                starting: Future[Any] = pool.submit(self._try_to_start)
                until(lambda: self.system.someone_waits_for_a_lock("api"), "the start waits for the wallet")
                self.system.kill(*targets)
            starting.result(60)
        self.system.restart(*targets)
        self.rents_and_returns(self._start_again())

    def _committed(self, targets: Targets) -> None:
        with self.system.frozen("gateway"):
            rental = self._start()
            assert self.system.command_of(rental["id"])[0] == "queued"
            self.system.kill(*targets)
        self.system.restart(*targets)
        self.rents_and_returns(rental)

    def _published(self, targets: Targets) -> None:
        rental = self._start_with_slow_motor()
        with self.system.dead(*targets):
            until(lambda: not self.system.cabinets.moving(self.out), "the motor has turned")
        self.rents_and_returns(rental)

    def _event_on_its_way(self, targets: Targets) -> None:
        rental = self._start_with_slow_motor()
        with self.system.frozen("gateway"):
            self.system.cabinets.wait_in_hands(rental["power_bank"])
            assert self.system.cabinets.journal(self.out) > 0, "nobody has acknowledged it"
            self.system.kill(*targets)
        self.system.restart(*targets)
        self.rents_and_returns(rental)

    def _start_with_slow_motor(self) -> Any:
        """Started, published, and the motor turns."""
        self.system.cabinets.fault(self.out, FaultKind.LATE_ANSWER, delay_s=_TURNS_S)
        rental = self._start()
        until(lambda: self.system.cabinets.moving(self.out), "the motor turns")
        return rental

    def _active(self, targets: Targets) -> None:
        active = self._until_active(self._start())
        with self.system.dead(*targets):
            pass
        self._return(active)

    def _during_return(self, targets: Targets) -> None:
        active = self._until_active(self._start())
        with self.system.frozen("gateway"):
            self._return(active)
            self.system.kill(*targets)
        self.system.restart(*targets)

    def _during_close(self, targets: Targets) -> None:
        active = self._until_active(self._start())
        with self.system.wallet_locked(self.rider.id):
            self._return(active)
            until(lambda: self.system.someone_waits_for_a_lock("gateway"), "the close waits for the wallet")
            self.system.kill(*targets)
        self.system.restart(*targets)
