"""Turns time into intervals, hours and local days. Pure, and in whole microseconds since 1970: exact and quick.

A pause stops the rental's clock: everything is counted as if the rental had lasted from its start for as long as it was
not paused (decision 0120).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from fleet.common.money import WHOLE_BP
from fleet.rentals.pricing.terms import HOURS_A_DAY, Multiplier

Paused = Sequence[tuple[datetime, datetime]]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND_US: Final = 1_000_000
HOUR_US: Final = 3600 * _SECOND_US
#: The end of a pause that nobody has ended yet.
FOREVER: Final = datetime.max.replace(tzinfo=UTC)


def instant(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def moment(at_us: int) -> datetime:
    return _EPOCH + at_us * _MICROSECOND


def span(duration: timedelta) -> int:
    return duration // _MICROSECOND


def used(started: datetime, ended: datetime, paused: Paused = ()) -> timedelta:
    """Time since the start that is not paused; nothing before the start."""
    total = max(ended - started, timedelta(0))
    for begin, end in _merged(paused):
        total -= max(min(end, ended) - max(begin, started), timedelta(0))
    return total


def when(started: datetime, duration: timedelta, paused: Paused = ()) -> datetime:
    """The first instant by which so much was used: when a due time falls that pauses have put off."""
    at = started + duration
    for begin, end in _merged(paused):
        if begin >= at:
            break
        at += max(end - max(begin, started), timedelta(0))
    return at


def put_off(started: datetime, duration: timedelta, paused: Paused) -> datetime | None:
    """`when`, of pauses of which some have no end yet (FOREVER); None: not before one of those ends."""
    at = when(started, duration, [each for each in paused if each[1] != FOREVER])
    open_since = min((begin for begin, end in paused if end == FOREVER), default=None)
    return None if open_since is not None and open_since < at else at


def _merged(paused: Paused) -> Iterator[tuple[datetime, datetime]]:
    """The same ranges by time, overlaps joined."""
    current: tuple[datetime, datetime] | None = None
    for begin, end in sorted(paused):
        if current is not None and begin <= current[1]:
            current = (current[0], max(current[1], end))
            continue
        if current is not None:
            yield current
        current = (begin, end)
    if current is not None:
        yield current


def begun(since: int, at: int, length: int) -> int:
    """Pieces of `length` that began in [since, at): one that would begin at that very instant has not."""
    return max(0, -((since - at) // length))


@lru_cache(maxsize=65_536)
def local(zone: str, day: int, hour: int) -> int:
    """When the clock of a zone first shows this hour of that day (a proleptic ordinal), or first passes it.

    Where a change of the clock skips it, the instant of the change; so days have 23, 24, 25 hours, or whatever they
    have, and a day that a country left out has none.
    """
    day, hour = (day + 1, 0) if hour == HOURS_A_DAY else (day, hour)
    local_time = datetime.combine(date.fromordinal(day), time(hour), _zone(zone))
    return int(local_time.timestamp()) * _SECOND_US


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def local_day(zone: str, at: int) -> int:
    """The ordinal of the day that the zone's calendar shows."""
    return moment(at).astimezone(_zone(zone)).toordinal()


@lru_cache(maxsize=1024)
def week(multipliers: tuple[Multiplier, ...]) -> tuple[tuple[tuple[int, int], ...], ...]:
    """For each day from Monday: the hours at which the multiplier changes, and to what."""
    return tuple(_day(multipliers, number) for number in range(1, 8))


def _day(multipliers: tuple[Multiplier, ...], weekday: int) -> tuple[tuple[int, int], ...]:
    changes: list[tuple[int, int]] = []
    for hour in range(HOURS_A_DAY):
        fits = (each for each in multipliers if weekday in each.weekdays and each.from_hour <= hour < each.to_hour)
        basis_points = next((each.basis_points for each in fits), WHOLE_BP)
        if not changes or changes[-1][1] != basis_points:
            changes.append((hour, basis_points))
    return tuple(changes)


@dataclass(frozen=True, slots=True)
class Meter:
    """Intervals of `length` from `origin` on (microseconds), in the local days of `zone`."""

    origin: int
    length: int
    zone: str
    multipliers: tuple[Multiplier, ...]

    def days(self, ends: int) -> Iterator[tuple[int, int, int]]:
        """Local days (ordinal, begin, end) from the origin until `ends`."""
        begin, day = self.origin, local_day(self.zone, self.origin)
        while begin < ends:
            end = min(local(self.zone, day + 1, 0), ends)
            if end > begin:
                yield day, begin, end
                begin = end
            day += 1

    def bands(self, day: int, begin: int, end: int) -> list[tuple[int, int]]:
        """How many intervals begin in this part of the day, by multiplier (basis points); none are left out."""
        if not self.multipliers:
            count = self._between(begin, end)
            return [(WHOLE_BP, count)] if count else []
        counts: dict[int, int] = {}
        changes = week(self.multipliers)[(day - 1) % 7]
        for index, (hour, basis_points) in enumerate(changes):
            from_ = begin if hour == 0 else max(begin, local(self.zone, day, hour))
            until = changes[index + 1][0] if index + 1 < len(changes) else HOURS_A_DAY
            to = min(end, local(self.zone, day, until))
            if to > from_ and (count := self._between(from_, to)):
                counts[basis_points] = counts.get(basis_points, 0) + count
        return list(counts.items())

    def _between(self, begin: int, end: int) -> int:
        return begun(self.origin, end, self.length) - begun(self.origin, begin, self.length)
