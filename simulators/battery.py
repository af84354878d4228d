"""A power bank: how it charges in a slot and empties in a rider's pocket.

Charging is constant current to the knee and then tapers exponentially (constant voltage), which has a closed form:
nothing needs to run between two looks at a bank, so ten thousand charging banks cost nothing.
"""

from math import exp, log
from typing import Final, NamedTuple

from msgspec import Struct

#: Where constant current ends.
KNEE_PCT: Final = 80.0
#: Current of the first phase per mAh of capacity: 0.4 C, 2 A for the usual 5000 mAh bank.
C_RATE: Final = 0.4
#: Charging stops when the current has fallen to this share of the first phase's.
CUT_OFF: Final = 0.05
#: A rider's phone empties a bank at this rate (5000 mAh in about two hours).
USE_PCT_PER_S: Final = 100 / 7200
#: A rider's phone stops before the bank's own protection does.
USED_UP_PCT: Final = 3.0
_INTERNAL_OHM: Final = 0.09
#: Open-circuit voltage of one lithium cell in mV at 0, 10, … 100 % of charge.
_OPEN_MV: Final = (3000, 3450, 3560, 3620, 3670, 3720, 3790, 3880, 3970, 4070, 4180)


class Reading(NamedTuple):
    """What a slot's gauge says about the bank inside."""

    charge_pct: int
    voltage_mv: int
    current_ma: int
    temperature_c: float
    cycles: int
    health_pct: int


class PowerBank(Struct, kw_only=True):
    """`charge` is the state of charge in % at `as_of_ms`; `serial` None: nobody can read it."""

    serial: str | None
    charge: float
    cycles: float
    health_pct: int
    capacity_mah: int
    as_of_ms: int

    @property
    def charge_pct(self) -> int:
        return min(100, int(self.charge + 0.5))

    def charge_until(self, now_ms: int) -> None:
        """Let it charge in a slot until `now_ms`; earlier instants change nothing."""
        elapsed_s = max(0, now_ms - self.as_of_ms) / 1000
        before, self.charge = self.charge, charged(self.charge, elapsed_s, self._rate())
        self.cycles += (self.charge - before) / 100
        self.as_of_ms = max(self.as_of_ms, now_ms)

    def use_until(self, now_ms: int) -> None:
        """Let a rider's phone draw from it until `now_ms`."""
        elapsed_s = max(0, now_ms - self.as_of_ms) / 1000
        self.charge = max(min(self.charge, USED_UP_PCT), self.charge - elapsed_s * USE_PCT_PER_S)
        self.as_of_ms = max(self.as_of_ms, now_ms)

    def read(self, ambient_c: float) -> Reading:
        """What the gauge shows at `as_of_ms`, charging in a slot whose air has `ambient_c`."""
        amps = self._current_ma() / 1000
        return Reading(
            charge_pct=self.charge_pct,
            voltage_mv=int(open_circuit_mv(self.charge) + amps * _INTERNAL_OHM * 1000),
            current_ma=int(amps * 1000),
            temperature_c=round(ambient_c + 2.1 * amps * amps, 1),
            cycles=int(self.cycles),
            health_pct=self.health_pct,
        )

    def _rate(self) -> float:
        """% of charge per second in the first phase: a worn bank holds less and fills faster."""
        return C_RATE / 36 * 100 / max(self.health_pct, 1)

    def _current_ma(self) -> float:
        full = self.capacity_mah * C_RATE
        if self.charge >= _cut_off_pct():
            return 0.0
        return full if self.charge < KNEE_PCT else full * (100 - self.charge) / (100 - KNEE_PCT)


def charged(charge: float, elapsed_s: float, rate: float) -> float:
    """State of charge in % after `elapsed_s` on the charger; `rate` is % per second below the knee."""
    if charge >= _cut_off_pct():
        return charge
    if charge < KNEE_PCT:
        to_knee_s = (KNEE_PCT - charge) / rate
        if elapsed_s <= to_knee_s:
            return charge + elapsed_s * rate
        charge, elapsed_s = KNEE_PCT, elapsed_s - to_knee_s
    # The taper's time constant keeps the current continuous at the knee.
    tau_s = (100 - KNEE_PCT) / rate
    to_cut_off_s = tau_s * log((100 - charge) / (100 - _cut_off_pct()))
    return 100.0 if elapsed_s >= to_cut_off_s else 100 - (100 - charge) * exp(-elapsed_s / tau_s)


def open_circuit_mv(charge: float) -> float:
    """Voltage of the cell at rest, between the table's points on a straight line."""
    low = min(int(charge // 10), len(_OPEN_MV) - 2)
    return _OPEN_MV[low] + (_OPEN_MV[low + 1] - _OPEN_MV[low]) * (charge - low * 10) / 10


def _cut_off_pct() -> float:
    return 100 - (100 - KNEE_PCT) * CUT_OFF
