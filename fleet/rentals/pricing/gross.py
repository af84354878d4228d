"""What time costs by the tariff alone: day by day, with late fees, before caps, adjustments and tax. Pure.

Numbers only; `price` puts them into words. Decisions 0120 and 0122.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

from fleet.common.money import WHOLE_BP, share
from fleet.rentals.pricing.adjustments import Adjustment, Amounts, free_time
from fleet.rentals.pricing.meter import HOUR_US, Meter, begun, instant, moment, span
from fleet.rentals.pricing.terms import Prepaid, TariffTerms

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Day:
    """One local day (a proleptic ordinal). Minor units; `bands`: intervals begun, by multiplier in basis points."""

    day: int
    bands: list[tuple[int, int]]
    #: Before and after the daily cap.
    uncapped: int
    usage: int
    #: The part of `usage` that was late, and what comes on top of it.
    late_usage: int = 0
    late_extra: int = 0
    late_hours: int = 0
    #: After the daily cap of late fees.
    late: int = 0


@dataclass(frozen=True)
class Gross:
    """The price of so much time before its caps as a whole."""

    unlock: int
    prepaid: tuple[Prepaid, ...]
    days: list[Day]
    #: Within the free period: nothing at all is due.
    free: bool
    #: Kept for so long that the bank counts as bought.
    bought: bool
    #: What a lost bank costs besides the time.
    lost: int = 0

    @cached_property
    def rental(self) -> int:
        packages = sum(each.price_minor for each in self.prepaid)
        return self.unlock + packages + sum(day.usage for day in self.days) + self.lost

    @cached_property
    def late(self) -> int:
        return sum(day.late for day in self.days)

    def capped(self, terms: TariffTerms) -> Amounts:
        """Under the total cap, of which late fees are served first; the ceiling is what adjustments may not exceed."""
        cap = terms.total_cap_minor
        ceiling = cap or None
        if terms.daily_cap_minor and not self.bought:
            most = self.rental + self.late + sum(terms.daily_cap_minor - day.usage for day in self.days if day.bands)
            ceiling = min(cap, most) if cap else most
        if not cap:
            return Amounts(self.rental, self.late, ceiling)
        late = min(self.late, cap)
        rental = cap - late if self.bought else min(self.rental, cap - late)
        return Amounts(rental, late, ceiling)


def gross(
    terms: TariffTerms, started: datetime, used: timedelta, zone: str, prepaid: tuple[Prepaid, ...] = ()
) -> Gross:
    """The time from `started` on that is not paused (`used`), under the tariff or beyond what was prepaid."""
    if not prepaid and terms.free_period and used <= terms.free_period:
        return Gross(0, (), [], free=True, bought=False)
    kept = kept_after(terms, prepaid)
    bought = kept is not None and used >= kept
    gone = lost_after(terms, prepaid)
    lost = terms.lost_fee_minor if gone is not None and used >= gone else 0
    counter = Counter(terms, started, zone, prepaid)
    ends = instant(started) + span(used)
    days = list(counter.days(ends, late=ends > counter.grace_ends))
    return Gross(counter.fixed - counter.paid, prepaid, days, free=False, bought=bought, lost=lost)


#: How far `cap_reached_at` looks: a cap that is not reached in two years is not reached.
HORIZON: Final = timedelta(days=731)


def cap_reached_at(
    terms: TariffTerms, started: datetime, zone: str = "UTC", prepaid: tuple[Prepaid, ...] = ()
) -> datetime | None:
    """From when on the price before adjustments is the total cap, without pauses; None when never (within HORIZON)."""
    if not terms.total_cap_minor:
        return None
    counter = Counter(terms, started, zone, prepaid)
    if counter.fixed >= terms.total_cap_minor:
        after_free = terms.free_period + _MICROSECOND
        return started if prepaid or not terms.free_period else started + after_free
    ends = instant(started + HORIZON)
    in_time = counter.reaches_cap(ends, late=False)
    if terms.late.nothing or (in_time is not None and in_time <= counter.grace_ends):
        return None if in_time is None else moment(in_time)
    # The late fee counts from the due time, and all that has come together by then is due when the grace is over.
    late = counter.reaches_cap(ends, late=True)
    return None if late is None else moment(max(late, counter.grace_ends + 1))


def due_after(terms: TariffTerms, prepaid: tuple[Prepaid, ...] = ()) -> timedelta:
    """How long it may be used before it is late."""
    if prepaid:
        return sum((each.duration for each in prepaid), timedelta(0))
    return max(terms.overdue_after, terms.free_period)


def kept_after(terms: TariffTerms, prepaid: tuple[Prepaid, ...] = ()) -> timedelta | None:
    """How long a bank may be used before it counts as bought by the tariff's word; never within what was prepaid."""
    if terms.buyout_after is None or not terms.total_cap_minor:
        return None
    return max(terms.buyout_after, due_after(terms, prepaid))


def lost_after(terms: TariffTerms, prepaid: tuple[Prepaid, ...] = ()) -> timedelta | None:
    """How long a bank may be used before it counts as lost."""
    return None if terms.lost_after is None else due_after(terms, prepaid) + terms.lost_after


def bought_at(
    terms: TariffTerms, started: datetime, zone: str = "UTC", prepaid: tuple[Prepaid, ...] = ()
) -> datetime | None:
    """When the bank counts as bought or lost, without pauses and adjustments: when the tariff says so, or at the total
    cap.
    """
    kept, gone = kept_after(terms, prepaid), lost_after(terms, prepaid)
    bought = cap_reached_at(terms, started, zone, prepaid) if kept is None else started + kept
    lost = None if gone is None else started + gone
    return min((at for at in (bought, lost) if at is not None), default=None)


def kept_for(
    terms: TariffTerms,
    started: datetime,
    zone: str = "UTC",
    prepaid: tuple[Prepaid, ...] = (),
    adjustments: Sequence[Adjustment] = (),
) -> timedelta | None:
    """How long a bank may be used, pauses apart, before it counts as bought or lost; None: as long as one likes."""
    bought = bought_at(terms, started, zone, prepaid)
    return None if bought is None else bought + free_time(adjustments) - started


class Counter:
    """Days and their amounts from one start on. Times in microseconds, amounts in minor units."""

    def __init__(self, terms: TariffTerms, started: datetime, zone: str, prepaid: tuple[Prepaid, ...]) -> None:
        begins = instant(started)
        covered = sum((each.duration for each in prepaid), timedelta(0)) if prepaid else terms.free_period
        origin = begins + span(covered)
        self._terms = terms
        self._meter = Meter(origin, span(terms.interval_length), zone, terms.multipliers)
        self._due = begins + span(due_after(terms, prepaid))
        self.grace_ends = self._due + span(terms.late.grace)
        self.paid = sum(each.price_minor for each in prepaid)
        #: What is due whatever the time: unlock fee, or what was prepaid.
        self.fixed = self.paid if prepaid else terms.unlock_minor

    def days(self, ends: int, *, late: bool) -> Iterator[Day]:
        """Until the total cap is reached: what comes after it changes nothing. `late`: the grace period is over."""
        so_far, cap = self.fixed, self._terms.total_cap_minor
        late = late and not self._terms.late.nothing
        for day, begin, end in self._meter.days(ends):
            found = self.day(day, begin, end, late=late)
            if found.bands or found.late:
                yield found
            so_far += found.usage + found.late
            if cap and so_far >= cap:
                return

    def reaches_cap(self, ends: int, *, late: bool) -> int | None:
        """The first instant at which the total cap is reached, if it is before `ends`."""
        so_far, cap = self.fixed, self._terms.total_cap_minor
        for day, begin, end in self._meter.days(ends):
            found = self.day(day, begin, end, late=late)
            if so_far + found.usage + found.late >= cap:
                return self._first(day, begin, end, cap - so_far, late=late)
            so_far += found.usage + found.late
        return None

    def _first(self, day: int, begin: int, end: int, amount: int, *, late: bool) -> int:
        """The first instant of this part of a day at which it costs `amount`; at its end it does."""
        meter, hourly = self._meter, late and self._terms.late.hourly_minor

        def reached(at: int) -> bool:
            found = self.day(day, begin, at, late=late)
            return found.usage + found.late >= amount

        # What it costs rises when an interval has begun, or an hour late, and at no other time.
        steps = [(meter.origin, meter.length), (self._due, HOUR_US)] if hourly else [(meter.origin, meter.length)]
        first = end
        for since, length in steps:
            begins = range(since + length * begun(since, begin, length), end, length)
            index = bisect_left(begins, True, key=lambda at: reached(at + 1))
            if index < len(begins):
                first = min(first, begins[index] + 1)
        return first

    def day(self, day: int, begin: int, end: int, *, late: bool) -> Day:
        """The part of a local day from its begin (or the origin) to `end`."""
        bands = self._meter.bands(day, begin, end)
        uncapped = self._sum(bands)
        usage = self._capped(uncapped)
        if not late or end <= self._due:
            return Day(day, bands, uncapped, usage)
        in_time = 0
        if begin < self._due:
            in_time = self._capped(self._sum(self._meter.bands(day, begin, self._due)))
        late_usage, hours = usage - in_time, self._hours(max(begin, self._due), end)
        extra, fee = self._late_fee(late_usage, hours)
        return Day(day, bands, uncapped, usage, late_usage, extra, hours, fee)

    def _hours(self, begin: int, end: int) -> int:
        """Hours late that began then."""
        if not self._terms.late.hourly_minor:
            return 0
        return begun(self._due, end, HOUR_US) - begun(self._due, begin, HOUR_US)

    def _late_fee(self, late_usage: int, hours: int) -> tuple[int, int]:
        """What the multiplier adds, and the whole fee of the day under its cap."""
        late = self._terms.late
        extra = share(late_usage, late.multiplier_bp - WHOLE_BP)
        fee = extra + hours * late.hourly_minor
        return extra, min(fee, late.daily_cap_minor) if late.daily_cap_minor else fee

    def _sum(self, bands: list[tuple[int, int]]) -> int:
        return sum(count * self._terms.interval_at(basis_points) for basis_points, count in bands)

    def _capped(self, amount: int) -> int:
        cap = self._terms.daily_cap_minor
        return min(amount, cap) if cap else amount
