"""What a rental costs. Pure: no session, no clock, integers only.

The one rounding rule: an interval that has begun counts whole. Everything else is exact (decision 0030).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, Self
from zoneinfo import ZoneInfo

from fleet.common.money import Money

#: How far `cap_reached_at` looks: a cap that is not reached in two years is not reached.
HORIZON: Final = timedelta(days=731)
_MICROSECOND: Final = timedelta(microseconds=1)
_NOTHING: Final = timedelta(0)

Paused = Sequence[tuple[datetime, datetime]]


@dataclass(frozen=True, slots=True)
class TariffTerms:
    """A tariff as it is frozen into a rental. Amounts in minor units of `currency`; a cap of 0 is none."""

    currency: str
    unlock_minor: int
    free_period: timedelta
    interval_minor: int
    interval_length: timedelta
    daily_cap_minor: int
    total_cap_minor: int
    hold_minor: int
    overdue_after: timedelta

    def to_json(self) -> dict[str, Any]:
        """Durations in seconds."""
        return {
            name: value.total_seconds() if isinstance(value, timedelta) else value
            for name in self.__slots__
            for value in (getattr(self, name),)
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        durations = {key: timedelta(seconds=data[key]) for key in ("free_period", "interval_length", "overdue_after")}
        rest: dict[str, Any] = {**data, **durations}
        return cls(**rest)

    def money(self, amount_minor: int) -> Money:
        return Money(amount_minor, self.currency)


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One component; the lines of a price add up to its total. Caps are negative."""

    kind: str
    text: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Price:
    """Minor units of `currency`; unlock + usage = total."""

    total_minor: int
    unlock_minor: int
    currency: str
    lines: tuple[PriceLine, ...]

    @property
    def usage_minor(self) -> int:
        return self.total_minor - self.unlock_minor

    @property
    def total(self) -> Money:
        return Money(self.total_minor, self.currency)


def free_of_charge(terms: TariffTerms, kind: str, text: str) -> Price:
    """A rental that costs nothing whatever the tariff says."""
    return Price(0, 0, terms.currency, (PriceLine(kind, text, 0),))


def price(terms: TariffTerms, started: datetime, ended: datetime, paused: Paused = (), time_zone: str = "UTC") -> Price:
    """What the time from `started` to `ended` costs, without the `paused` ranges. Days are local to `time_zone`.

    Monotone in `ended`, never above the caps, nothing at all within the free period.
    """
    meter = _Meter(terms, started, paused)
    used = meter.used(ended)
    if terms.free_period > _NOTHING and used <= terms.free_period:
        return free_of_charge(terms, "free_period", f"Within the free {_length(terms.free_period)}")
    lines = [PriceLine("unlock", "Unlock fee", terms.unlock_minor)] if terms.unlock_minor else []
    if terms.free_period:
        lines.append(PriceLine("free_period", f"First {_length(terms.free_period)} free", 0))
    for day, count in _intervals_by_day(meter, started, ended, ZoneInfo(time_zone)):
        lines += _day_lines(terms, day, count)
    total = sum(line.amount_minor for line in lines)
    if terms.total_cap_minor and total > terms.total_cap_minor:
        most = terms.money(terms.total_cap_minor)
        lines.append(PriceLine("total_cap", f"Never more than {most}", terms.total_cap_minor - total))
        total = terms.total_cap_minor
    return Price(total, min(terms.unlock_minor, total), terms.currency, tuple(lines))


def cap_reached_at(terms: TariffTerms, started: datetime, time_zone: str = "UTC") -> datetime | None:
    """From when on the price is the total cap; None when that never happens (within HORIZON)."""
    left = terms.total_cap_minor - terms.unlock_minor
    if not terms.total_cap_minor:
        return None
    billed_from = started + terms.free_period
    if left <= 0:
        return billed_from + (_MICROSECOND if terms.free_period else _NOTHING)
    if not terms.interval_minor:
        return None
    done = 0
    for _, count in _intervals_by_day(_Meter(terms, started, ()), started, started + HORIZON, ZoneInfo(time_zone)):
        needed = -(-left // terms.interval_minor)
        amount = count * terms.interval_minor
        today = min(amount, terms.daily_cap_minor) if terms.daily_cap_minor else amount
        if today >= left:
            return billed_from + (done + needed - 1) * terms.interval_length + _MICROSECOND
        left -= today
        done += count
    return None


class _Meter:
    """Turns instants into billed time and billed time into intervals begun."""

    def __init__(self, terms: TariffTerms, started: datetime, paused: Paused) -> None:
        self._terms = terms
        self._started = started
        self._paused = list(_merged(paused))

    def used(self, at: datetime) -> timedelta:
        """Time since the start that is not paused; nothing before the start."""
        total = max(at - self._started, _NOTHING)
        for begin, end in self._paused:
            total -= max(min(end, at) - max(begin, self._started), _NOTHING)
        return total

    def begun(self, at: datetime) -> int:
        """Intervals begun before `at`: one that would begin at that very instant has not."""
        billed = self.used(at) - self._terms.free_period
        return max(0, -(-billed // self._terms.interval_length))


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


def _intervals_by_day(meter: _Meter, started: datetime, ended: datetime, zone: ZoneInfo) -> Iterator[tuple[date, int]]:
    """Local days and how many intervals begin on each; days without any are left out."""
    day = started.astimezone(zone).date()
    done = 0
    while True:
        next_day = day + timedelta(days=1)
        midnight = datetime.combine(next_day, time(0), zone).astimezone(UTC)
        count = meter.begun(min(midnight, ended))
        if count > done:
            yield day, count - done
            done = count
        if midnight >= ended:
            return
        day = next_day


def _day_lines(terms: TariffTerms, day: date, count: int) -> list[PriceLine]:
    amount, cap = count * terms.interval_minor, terms.daily_cap_minor
    each = f"{_length(terms.interval_length)} at {terms.money(terms.interval_minor)}"
    lines = [PriceLine("usage", f"{day.isoformat()}: {count} x {each}", amount)]
    if cap and amount > cap:
        lines.append(
            PriceLine("daily_cap", f"{day.isoformat()}: never more than {terms.money(cap)} a day", cap - amount)
        )
    return lines


def _length(duration: timedelta) -> str:
    """`30 min`, `2 h`, `90 s`: the largest unit that leaves nothing over."""
    seconds = duration.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"
