"""Simulated cabinets, and what they know that the backend can only be told: where every bank really is."""

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from simulators.driver import Driver
from simulators.faults import Fault, FaultKind
from simulators.spec import FleetSpec
from simulators.testing import FleetThread
from simulators.tuning import Tuning
from tests.system.waiting import until

T = TypeVar("T")
#: Quick motors, quick reconnects, and time enough between two tries not to flood a broker that is away.
QUICK = Tuning(eject_ms=(10, 40), reboot_ms=(200, 400), backoff_base_s=0.2, backoff_cap_s=1.0, welcome_timeout_s=1.0)


class Cabinets:
    """A fleet in a thread of the test's process: no `kill -9` of the backend can touch it."""

    def __init__(self, spec: FleetSpec, mqtt_url: str, tuning: Tuning = QUICK) -> None:
        self.spec = spec
        self.fleet = FleetThread(spec, mqtt_url, tuning=tuning)
        #: Banks taken by hand or by force, by station: they left without the motor.
        self.removed: Counter[str] = Counter()

    @property
    def codes(self) -> list[str]:
        return [station.code for station in self.spec.stations]

    def fault(self, code: str, kind: FaultKind, **how: object) -> None:
        self.fleet.add_fault(code, Fault(kind=kind, **{"count": 1, **how}))  # type: ignore[arg-type]

    def clear(self) -> None:
        """No faults, everybody online."""
        for code in self.codes:
            self.fleet.clear_faults(code)
            self.fleet.connect(code)

    def banks(self, code: str) -> dict[int, str]:
        """Serials by slot, as they really are."""
        return self._on(
            code, lambda d: {s.number: s.bank.serial for s in d.cabinet.board.slots if s.bank and s.bank.serial}
        )

    def free_slot(self, code: str) -> int:
        return self.free_slots(code)[0]

    def free_slots(self, code: str) -> list[int]:
        return self._on(code, lambda d: [s.number for s in d.cabinet.board.slots if s.bank is None])

    def moves(self, code: str) -> int:
        """How often the motor let a bank go since the simulator started."""
        return self._on(code, lambda d: d.cabinet.executor.moves)

    def moving(self, code: str) -> str | None:
        """The eject under way."""
        return self._on(code, lambda d: d.cabinet.executor.moving)

    def journal(self, code: str) -> int:
        """Events that the backend has not acknowledged."""
        return self._on(code, lambda d: len(d.cabinet.board.journal))

    def quiet(self) -> bool:
        """Every cabinet is welcomed, moves nothing and has nothing left to say."""
        return self.fleet.call(
            lambda fleet: all(
                d.welcomed and not d.cabinet.board.journal and d.cabinet.executor.moving is None for d in fleet
            )
        )

    def in_hands(self) -> set[str]:
        return set(self.fleet.banks_out())

    def remove(self, code: str, slot: int) -> str:
        """By force: no command."""
        serial = self.fleet.remove(code, slot)
        assert serial is not None
        self.removed[code] += 1
        return serial

    def wait_in_hands(self, serial: str) -> None:
        until(lambda: serial in self.in_hands(), f"{serial} is in a rider's hand")

    def _on(self, code: str, look: Callable[[Driver], T]) -> T:
        return self.fleet.on(code, look)
