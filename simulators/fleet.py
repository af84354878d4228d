"""Many cabinets on one event loop, against one broker."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

import httpx

from simulators.base import AnyCabinet
from simulators.battery import PowerBank
from simulators.broker import Broker
from simulators.cabinet import Cabinet
from simulators.driver import Driver
from simulators.errors import (
    BankNotOut,
    CannotInsert,
    NotPossible,
    NotReady,
    UnknownBank,
    UnknownStation,
)
from simulators.hands import Hands
from simulators.outputs import HttpCall, Opening, Output
from simulators.relink import RelinkCabinet
from simulators.spec import FleetSpec, StationSpec
from simulators.store import StateFile
from simulators.tuning import Tuning
from simulators.volinks import VolinksCabinet

#: New sessions per second: a broker takes thousands, a fleet that lost power should not ask for them.
CONNECTS_PER_S: Final = 200.0
#: Each session's keep-alive is looked at this often, a slice of the fleet at a time.
_KEEPALIVE_ROUND_S: Final = 5.0
_SLICES: Final = 50
#: A vendor's HTTP call that takes longer was not answered.
_HTTP_TIMEOUT_S: Final = 15.0
#: Time that a planned end leaves for the last messages.
_GOODBYE_S: Final = 5.0


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class SimulatedFleet:
    """`async with SimulatedFleet(spec, "mqtt://127.0.0.1:1883") as fleet: await fleet.wait_welcomed(10)`.

    `http_url`: base of the HTTP calls that Volinks cabinets make; without it they go to the broker straight away.
    `relink`: host and port of the server that Relink cabinets connect to. Raises NotPossible for a cabinet that has
    nobody to talk to. Not thread-safe: everything happens on the loop that entered it (see
    `simulators.testing.FleetThread`).
    """

    def __init__(
        self,
        spec: FleetSpec,
        mqtt_url: str,
        *,
        tuning: Tuning | None = None,
        state: Path | None = None,
        connects_per_s: float = CONNECTS_PER_S,
        clock: Callable[[], int] = wall_clock_ms,
        http_url: str | None = None,
        relink: tuple[str, int] | None = None,
    ) -> None:
        self.spec = spec
        self.broker = Broker.from_url(mqtt_url)
        self.relink = relink
        self.hands = Hands()
        self.now_ms = clock
        self._http_url = http_url
        self._http: httpx.AsyncClient | None = None
        self._tuning = tuning or Tuning()
        self.state = state
        self._store: StateFile | None = None
        self._interval_s = 1 / connects_per_s
        self._drivers: dict[str, Driver] = {}
        self._serials = {bank.serial for station in spec.stations for bank in station.banks}
        self._welcomed: set[str] = set()
        self._all_welcomed = asyncio.Event()
        self._dials: asyncio.Queue[tuple[Driver, Opening]] = asyncio.Queue()
        self._waiting: list[tuple[Driver, list[Output]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        if self.state is not None:
            self._store = StateFile(self.state, self.spec.seed)
            self._store.restore_hands(self.hands)
        self.dialers: Executor = ThreadPoolExecutor(max_workers=8, thread_name_prefix="dial")
        kept = self._store.cabinets() if self._store else {}
        if self._http_url is not None:
            self._http = httpx.AsyncClient(base_url=self._http_url, timeout=_HTTP_TIMEOUT_S, trust_env=False)
        for station in self.spec.stations:
            cabinet = self._cabinet(station)
            if station.code in kept:
                cabinet.restore(kept[station.code])
            self._drivers[station.code] = Driver(self, cabinet)
        self._remember_serials()
        for driver in self._drivers.values():
            driver.do(lambda cabinet, now: cabinet.power_on(now))
        self._spawn(self._keep_alive())
        self._spawn(self._dial_in_turn())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Every cabinet says that it goes on purpose; the state is on disk before the broker hears of it."""
        sessions = [driver.session for driver in self]
        for driver in self:
            driver.do(lambda cabinet, now: cabinet.shut_down(now))
            driver.stop()
        self._flush()
        deadline = self.loop.time() + _GOODBYE_S
        while any(s and not s.gone for s in sessions) and self.loop.time() < deadline:  # noqa: ASYNC110  # sockets close one by one, and nobody else waits for the last
            await asyncio.sleep(0.02)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.dialers.shutdown(wait=False, cancel_futures=True)
        if self._http is not None:
            await self._http.aclose()
        if self._store is not None:
            self._store.close()

    def __iter__(self) -> Iterator[Driver]:
        return iter(self._drivers.values())

    def __len__(self) -> int:
        return len(self._drivers)

    def __getitem__(self, code: str) -> Driver:
        try:
            return self._drivers[code]
        except KeyError:
            raise UnknownStation(f"no station {code} in this fleet") from None

    @property
    def welcomed(self) -> int:
        """Stations whose gate is open."""
        return len(self._welcomed)

    async def wait_welcomed(self, timeout_s: float) -> None:
        """Until every station is welcomed. Raises NotReady."""
        try:
            await asyncio.wait_for(self._all_welcomed.wait(), timeout_s)
        except TimeoutError:
            raise NotReady(f"{self.welcomed} of {len(self)} stations welcomed after {timeout_s:.0f} s") from None

    def add(self, station: StationSpec) -> Driver:
        """One more cabinet, powered on. Raises NotPossible for a code, hardware id or bank that the fleet has."""
        serials = {bank.serial for bank in station.banks}
        if station.code in self._drivers or station.identity in {d.cabinet.board.station.identity for d in self}:
            raise NotPossible(f"the fleet has a station {station.code} or {station.identity} already")
        if serials & self._serials:
            raise NotPossible(f"the fleet has a bank {min(serials & self._serials)} already")
        driver = Driver(self, self._cabinet(station))
        self._drivers[station.code] = driver
        self._serials |= serials
        self.phase_changed(driver)
        driver.do(lambda cabinet, now: cabinet.power_on(now))
        return driver

    def insert(
        self,
        code: str,
        serial: str | None,
        *,
        slot: int | None = None,
        charge_pct: int | None = None,
        foreign: bool = False,
    ) -> int:
        """A rider puts a bank into a cabinet; returns the slot.

        `serial` None: a bank that nobody can read. `foreign`: one that this fleet never saw. Raises UnknownStation,
        UnknownBank, BankNotOut, CannotInsert.
        """
        driver = self[code]
        now_ms = self.now_ms()
        bank = self._from_hand(serial, now_ms, foreign=foreign)
        if charge_pct is not None:
            bank.charge = float(charge_pct)
        try:
            return driver.do(lambda cabinet, now: cabinet.insert(bank, slot, now))
        except CannotInsert:
            self.hands.take(bank)
            raise

    def carry_out(self, driver: Driver, outputs: list[Output]) -> None:
        """With a state file: first the disk, then the network, for all cabinets of this turn of the loop at once."""
        if self._store is None:
            driver.cabinet.board.dirty = False
            driver.perform(outputs)
            return
        if not self._waiting:
            self.loop.call_soon(self._flush)
        self._waiting.append((driver, outputs))

    def ask_to_dial(self, driver: Driver, wish: Opening) -> None:
        self._dials.put_nowait((driver, wish))

    def call(self, driver: Driver, call: HttpCall) -> None:
        self._spawn(self._call(driver, call))

    def phase_changed(self, driver: Driver) -> None:
        if driver.welcomed:
            self._welcomed.add(driver.code)
        else:
            self._welcomed.discard(driver.code)
        if len(self._welcomed) == len(self._drivers):
            self._all_welcomed.set()
        else:
            self._all_welcomed.clear()

    async def _call(self, driver: Driver, call: HttpCall) -> None:
        if self._http is None:
            driver.answered(call, 0, "")
            return
        try:
            method = "GET" if call.body is None else "POST"
            headers = {} if call.body is None else {"content-type": "text/plain"}  # whatever is in it, as real ones do
            answer = await self._http.request(
                method, call.path, params=call.parameters, content=call.body, headers=headers
            )
        except httpx.HTTPError:
            driver.answered(call, 0, "")
        else:
            driver.answered(call, answer.status_code, answer.text)

    def _cabinet(self, station: StationSpec) -> AnyCabinet:
        made = station, self._tuning, self.hands, self.spec.seed, self.now_ms()
        if station.dialect == "volinks":
            return VolinksCabinet(*made, http=self._http is not None)
        if station.dialect == "relink":
            if self.relink is None:
                raise NotPossible(f"{station.code} speaks Relink, and the fleet was not told of a Relink server")
            return RelinkCabinet(*made)
        return Cabinet(*made)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._store is not None and waiting:
            dirty = {driver.code: driver.cabinet for driver, _ in waiting if driver.cabinet.board.dirty}
            if dirty or self.hands.changed:
                self._store.write(dirty.values(), self.hands)
        for driver, outputs in waiting:
            driver.perform(outputs)

    def _from_hand(self, serial: str | None, now_ms: int, *, foreign: bool) -> PowerBank:
        if serial is None or (foreign and serial not in self._serials):
            if serial is not None:
                self._serials.add(serial)
            return PowerBank(serial=serial, charge=50.0, cycles=0.0, health_pct=100, capacity_mah=5000, as_of_ms=now_ms)
        if serial in self.hands:
            return self.hands.give_back(serial, now_ms)
        if serial in self._serials:
            raise BankNotOut(f"{serial} is in a cabinet, not in a rider's hand")
        raise UnknownBank(f"no bank {serial} in this fleet")

    def _remember_serials(self) -> None:
        """Foreign banks of an earlier run are known too."""
        inside = (slot.bank for driver in self for slot in driver.cabinet.board.slots)
        self._serials.update(bank.serial for bank in [*inside, *self.hands] if bank and bank.serial)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial_in_turn(self) -> None:
        """One new session per interval, however many ask at once."""
        next_s = self.loop.time()
        while True:
            driver, wish = await self._dials.get()
            next_s = max(next_s, self.loop.time())
            self._spawn(driver.dial(wish))
            next_s += self._interval_s
            await asyncio.sleep(next_s - self.loop.time())

    async def _keep_alive(self) -> None:
        """One shared tick instead of a timer per session."""
        turn = 0
        while True:
            for driver in list(self._drivers.values())[turn % _SLICES :: _SLICES]:
                if driver.session is not None:
                    driver.session.tick()
            turn += 1
            await asyncio.sleep(_KEEPALIVE_ROUND_S / _SLICES)
