"""Pure rules of charts: which resolution a range gets, gaps, percentiles of a histogram."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar

Value = TypeVar("Value")

#: How long a stored value stands for what is not stored (the deadband keeps one in 10 minutes), and no longer: a slot
#: whose bank was taken is not told of any more.
CARRIED: Final = timedelta(minutes=15)
_ORIGIN: Final = datetime(2000, 1, 1, tzinfo=UTC)


class Resolution(StrEnum):
    MINUTES = "5m"
    HOUR = "1h"
    DAY = "1d"

    @property
    def step(self) -> timedelta:
        return {"5m": timedelta(minutes=5), "1h": timedelta(hours=1), "1d": timedelta(days=1)}[self.value]


#: The longest range of each resolution: at most some 750 points a line.
LONGEST: Final = ((timedelta(days=2), Resolution.MINUTES), (timedelta(days=31), Resolution.HOUR))


def resolution_for(start: datetime, end: datetime) -> Resolution:
    """By the length of the range. Charts of the fleet have no finer one than hours."""
    return next((each for longest, each in LONGEST if end - start <= longest), Resolution.DAY)


def buckets(start: datetime, end: datetime, step: timedelta) -> list[datetime]:
    """The beginnings of all steps that touch [start, end), ascending; steps are counted from midnight UTC."""
    first = _ORIGIN + (start - _ORIGIN) // step * step
    return [first + step * n for n in range(-(-(end - first) // step))]


def filled(
    known: Mapping[datetime, Value | None], wanted: Sequence[datetime], *, step: timedelta, carried: timedelta = CARRIED
) -> list[Value | None]:
    """One value for each of `wanted`: its own, or the last one before it for as long as `carried`, or None.

    `known` may begin before the first of `wanted`, so that a chart does not begin with a gap.
    """
    found: list[Value | None] = []
    times = sorted(known)
    place, last = 0, None
    for bucket in wanted:
        while place < len(times) and times[place] <= bucket:
            last, place = times[place], place + 1
        found.append(known[last] if last is not None and bucket - last <= max(carried - step, timedelta(0)) else None)
    return found


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """The value below which `share` (0 to 1) of the things lie; each is counted under the whole number below it.

    Within one number they are taken to be spread evenly.
    """
    total = sum(histogram.values())
    if not total:
        return None
    wanted, before = share * total, 0
    for degrees in sorted(histogram):
        count = histogram[degrees]
        if before + count >= wanted:
            return degrees + (wanted - before) / count
        before += count
    return float(max(histogram) + 1)
