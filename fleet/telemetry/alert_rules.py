"""Pure rules of alerts: what a rule must have, when an alert opens and when it is over."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from fleet.common.errors import InvalidInput
from fleet.telemetry.models import AlertKind

#: Least and most of a kind's threshold; kinds that are not here have none.
THRESHOLDS: Final[dict[AlertKind, tuple[float, float]]] = {
    AlertKind.OVER_TEMPERATURE: (0, 150),
    AlertKind.LOW_CHARGE: (1, 100),
    AlertKind.FULL: (0, 512),
    AlertKind.EMPTY: (0, 512),
    AlertKind.JAM_RATE: (1, 10_000),
    AlertKind.CERTIFICATE: (1, 3650),
    AlertKind.FLAPPING: (2, 10_000),
    AlertKind.ANTI_THEFT: (1, 10_000),
    AlertKind.CONNECT: (1, 10_000),
    AlertKind.LONG_RENTAL: (1, 8760),
    AlertKind.BANK_MISSING: (0, 8760),
}
#: How far a value must go back below (or above) its threshold before an open alert counts as clear.
HYSTERESIS: Final[dict[AlertKind, float]] = {AlertKind.OVER_TEMPERATURE: 3, AlertKind.LOW_CHARGE: 5}
LONGEST_S: Final = 30 * 24 * 3600
LONGEST: Final = timedelta(seconds=LONGEST_S)


@dataclass(frozen=True, slots=True)
class Finding:
    """A subject at which a rule's condition holds, by its own measure with hysteresis.

    `fires`: also without. `since`: from when on, where the database knows; `value` in the unit of the kind.
    """

    subject: str
    station_id: int | None
    fires: bool = True
    slot_number: int | None = None
    power_bank_id: int | None = None
    value: float | None = None
    since: datetime | None = None


class Step(StrEnum):
    """What becomes of a subject that has no open alert, or of one that has."""

    NOTHING = "nothing"
    WATCH = "watch"
    FORGET = "forget"
    OPEN = "open"
    #: The alert's condition is (still, or again) so.
    HOLD = "hold"
    #: Not so any more, but not for long enough to be sure.
    CLEARING = "clearing"
    CLOSE = "close"


def without_alert(finding: Finding | None, watched_since: datetime | None, duration: timedelta, now: datetime) -> Step:
    if finding is None or not finding.fires:
        return Step.NOTHING if watched_since is None else Step.FORGET
    since = begun(finding, watched_since, now)
    if now - since >= duration:
        return Step.OPEN
    return Step.WATCH


def begun(finding: Finding, watched_since: datetime | None, now: datetime) -> datetime:
    """Since when it has been so: as the database knows, else since it was first seen."""
    return min(finding.since or watched_since or now, now)


def with_alert(finding: Finding | None, clear_since: datetime | None, clear_after: timedelta, now: datetime) -> Step:
    if finding is not None:
        return Step.HOLD
    if now - (clear_since or now) >= clear_after:
        return Step.CLOSE
    return Step.CLEARING


def check_rule(kind: AlertKind, threshold: float | None, duration: timedelta, clear_after: timedelta) -> None:
    """Raises InvalidInput with the field."""
    bounds = THRESHOLDS.get(kind)
    if bounds is None and threshold is not None:
        raise InvalidInput(f"{kind} has no threshold", field="threshold")
    if bounds is not None and (threshold is None or not bounds[0] <= threshold <= bounds[1]):
        raise InvalidInput(f"the threshold of {kind} is {bounds[0]:g} to {bounds[1]:g}", field="threshold")
    for field, value in (("duration_s", duration), ("clear_after_s", clear_after)):
        if not timedelta(0) <= value <= LONGEST:
            raise InvalidInput(f"{field} is 0 to {LONGEST.total_seconds():.0f} seconds", field=field)
