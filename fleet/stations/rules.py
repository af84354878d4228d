"""Health of slots and power banks as pure rules: no session, no clock, no settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Final, Self

from fleet.settings import Settings


class Incident(StrEnum):
    """What went wrong in a slot. The first six are the cabinet's own words (`SlotFaultKind`)."""

    JAM = "jam"
    CHARGE = "charge"
    COMMUNICATION = "communication"
    SHORT = "short"
    SENSOR = "sensor"
    ANTI_THEFT = "anti_theft"
    #: An eject was ordered and the bank stayed, and it was the slot's doing.
    FAILED_EJECT = "failed_eject"
    #: A bank was offered and not taken: perhaps it could not be pulled out.
    NOT_TAKEN = "not_taken"


#: The best score; what an incident costs; what an eject that went well gives back.
BEST: Final = 100
COST: Final = {
    Incident.JAM: 20,
    Incident.FAILED_EJECT: 20,
    Incident.CHARGE: 15,
    Incident.SHORT: 100,
    Incident.SENSOR: 10,
    Incident.COMMUNICATION: 10,
    Incident.ANTI_THEFT: 10,
    Incident.NOT_TAKEN: 5,
}
WON_BACK: Final = 10
#: Below it a slot gives no bank (`availability.rentable`).
HEALTHY: Final = 20
#: The motor did not let go of the bank.
JAMMING: Final = (Incident.JAM, Incident.FAILED_EJECT)
#: A jam and the failed eject that it made are one.
ONE_JAM: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """`jams` within `jams_within` disable a slot.

    A bank of `hot_c` or more, or with less than `worn_pct` of its capacity left, is taken out of use; one of
    `cycles_flagged` cycles is only pointed out.
    """

    jams: int = 3
    jams_within: timedelta = timedelta(hours=24)
    hot_c: float = 55.0
    worn_pct: int = 60
    cycles_flagged: int = 500
    #: A measurement older than this says nothing about how hot a bank is now.
    fresh: timedelta = timedelta(minutes=15)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            jams=settings.slot_jams_max,
            jams_within=timedelta(seconds=settings.slot_jams_within_s),
            hot_c=settings.bank_hot_c,
            worn_pct=settings.bank_worn_pct,
            cycles_flagged=settings.bank_cycles_flagged,
        )


def cycles_after(cycles: int | None, discharged_pct: int, more_pct: int) -> int | None:
    """Full cycles of a bank of which riders have taken `discharged_pct` so far, and now `more_pct` (negative: less was
    taken than was thought). A cabinet that counts by itself has the last word with its next measurement.
    """
    whole = (discharged_pct + more_pct) // 100 - discharged_pct // 100
    return max(0, (cycles or 0) + whole) if whole else cycles


def after_incident(score: int, incident: Incident) -> int:
    return max(0, score - COST[incident])


def after_success(score: int) -> int:
    return min(BEST, score + WON_BACK)


def jammed_too_often(times: Sequence[datetime], policy: HealthPolicy) -> bool:
    """Whether any `jams_within` holds `jams` of these jams, in whatever order they became known."""
    jams: list[datetime] = []
    for at in sorted(times):
        if not jams or at - jams[-1] > ONE_JAM:
            jams.append(at)
    return any(later - first <= policy.jams_within for first, later in zip(jams, jams[policy.jams - 1 :], strict=False))


@dataclass(frozen=True, slots=True)
class BankReading:
    """The newest values of a bank; None: not known. `judged_pct`: the health at which it was quarantined before."""

    temperature_c: float | None = None
    health_pct: int | None = None
    cycles: int | None = None
    sampled_at: datetime | None = None
    judged_pct: int | None = None


def bank_fault(bank: BankReading, policy: HealthPolicy, now: datetime) -> str | None:
    """Why a bank must not be given to a rider; None when nothing speaks against it.

    A worn one that somebody released is not judged again until it is worse.
    """
    fresh = bank.sampled_at is not None and now - bank.sampled_at <= policy.fresh
    if fresh and bank.temperature_c is not None and bank.temperature_c >= policy.hot_c:
        return f"hot: {bank.temperature_c:.1f} °C"
    if bank.health_pct is None or bank.health_pct >= policy.worn_pct:
        return None
    if bank.judged_pct is not None and bank.health_pct >= bank.judged_pct:
        return None
    return f"worn: {bank.health_pct} % of its capacity left"


def bank_score(bank: BankReading, policy: HealthPolicy) -> int:
    """0 to 100: capacity left, less one for every 20 cycles beyond those that are flagged, less one a °C above 40."""
    capacity = BEST if bank.health_pct is None else bank.health_pct
    beyond = max(0, (bank.cycles or 0) - policy.cycles_flagged) // 20
    heat = max(0.0, (bank.temperature_c or 0.0) - 40.0)
    return max(0, min(BEST, round(capacity - beyond - heat)))


@dataclass(frozen=True, slots=True)
class ChargePoint:
    at: datetime
    charge_pct: float


@dataclass(frozen=True, slots=True)
class ChargeCurve:
    """How a bank charges in a slot. `pct_per_hour` None: it gained nothing, or was not seen to."""

    pct_per_hour: float | None
    #: Below `FULL_PCT` and without any gain for `STUCK`.
    stuck: bool


FULL_PCT: Final = 90
STUCK: Final = timedelta(hours=3)


def charge_curve(points: Sequence[ChargePoint]) -> ChargeCurve:
    """Of one bank in one slot, ascending by time."""
    gained, spent = 0.0, timedelta()
    for before, after in pairwise(points):
        if after.charge_pct > before.charge_pct:
            gained += after.charge_pct - before.charge_pct
            spent += after.at - before.at
    rate = gained / (spent / timedelta(hours=1)) if spent else None
    if not points:
        return ChargeCurve(None, stuck=False)
    last = points[-1]
    earlier = [point for point in points if last.at - point.at >= STUCK]
    low = max(point.charge_pct for point in points if last.at - point.at <= STUCK) < FULL_PCT
    return ChargeCurve(rate, stuck=bool(earlier) and low and last.charge_pct <= earlier[-1].charge_pct)
