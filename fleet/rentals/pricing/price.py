"""What a rental costs, and why. Pure: no session, no clock, integers only.

Everything that has to be made whole is made so by one function, `fleet.common.money.rounded` (an interval under its
multiplier, a percentage, a tax: to the nearest minor unit, a half away from zero); an interval or an hour that has
begun counts whole; what is to pay in the end is rounded down to the tariff's step. Decision 0120.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from fleet.common.money import WHOLE_BP, Money
from fleet.rentals.pricing.adjustments import Adjustment, Amounts, Applied, Effect, adjusted, in_order
from fleet.rentals.pricing.gross import Day, Gross, cap_reached_at, gross, kept_after
from fleet.rentals.pricing.meter import Paused, used
from fleet.rentals.pricing.terms import Prepaid, TariffTerms

__all__ = ["LineKind", "Paused", "Price", "PriceLine", "TariffTerms", "cap_reached_at", "free_of_charge", "price"]


class LineKind(StrEnum):
    UNLOCK = "unlock"
    FREE_PERIOD = "free_period"
    PACKAGE = "package"
    USAGE = "usage"
    DAILY_CAP = "daily_cap"
    LATE_FEE = "late_fee"
    LATE_CAP = "late_cap"
    TOTAL_CAP = "total_cap"
    BUYOUT = "buyout"
    LOST_FEE = "lost_fee"
    ADJUSTMENT = "adjustment"
    TAX = "tax"
    ROUNDING = "rounding"
    NOT_STARTED = "not_started"
    NOT_TAKEN = "not_taken"
    #: Given back by a person's decision.
    REFUND = "refund"
    NEVER_LEFT = "never_left"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One component; the lines of a price add up to its total. Caps and what makes it cheaper are negative."""

    kind: str
    text: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Price:
    """Minor units of `currency`: unlock + usage + tax = total, the first two without tax.

    A tax that the tariff's amounts contain is in `tax_minor` and has a line of 0; one on top has a line of its amount.
    """

    total_minor: int
    unlock_minor: int
    currency: str
    lines: tuple[PriceLine, ...]
    tax_minor: int = 0
    #: What each adjustment came to, in the order in which they were applied.
    applied: tuple[Applied, ...] = ()
    #: Where there are any: the time that was used beyond what is free or prepaid anyway.
    chargeable: timedelta = timedelta(0)

    @property
    def usage_minor(self) -> int:
        return self.total_minor - self.tax_minor - self.unlock_minor

    @property
    def total(self) -> Money:
        return Money(self.total_minor, self.currency)


def free_of_charge(terms: TariffTerms, kind: str, text: str) -> Price:
    """A rental that costs nothing whatever the tariff says."""
    return Price(0, 0, terms.currency, (PriceLine(kind, text, 0),))


def price(
    terms: TariffTerms,
    started: datetime,
    ended: datetime,
    paused: Paused = (),
    time_zone: str = "UTC",
    *,
    prepaid: tuple[Prepaid, ...] = (),
    adjustments: Sequence[Adjustment] = (),
) -> Price:
    """What the time from `started` to `ended` costs, without the `paused` ranges. Days are local to `time_zone`.

    Monotone in `ended`, never above the caps (a tax on top is above them), never raised by a pause, nothing at all
    within the free period. `prepaid` takes the place of unlock fee and free period; beyond it the tariff counts.
    """
    duration = used(started, ended, paused)
    found = gross(terms, started, duration, time_zone, prepaid)
    if found.free:
        return free_of_charge(terms, LineKind.FREE_PERIOD, f"Within the free {_length(terms.free_period)}")
    amounts = found.capped(terms)
    lines = [*_gross_lines(terms, found), *_cap_lines(terms, found, amounts)]
    if not adjustments:
        return _to_pay(terms, found.unlock, amounts.total, lines, ())

    def without(free: timedelta) -> Gross:
        return gross(terms, started, max(duration - free, timedelta(0)), time_zone, prepaid)

    amounts, applied = _adjust(terms, amounts, in_order(adjustments), without)
    lines += [PriceLine(LineKind.ADJUSTMENT, each.adjustment.text, each.amount_minor) for each in applied]
    covered = sum((each.duration for each in prepaid), timedelta(0)) if prepaid else terms.free_period
    to_pay = _to_pay(terms, found.unlock, amounts.total, lines, applied)
    return replace(to_pay, chargeable=max(duration - covered, timedelta(0)))


def _adjust(
    terms: TariffTerms, amounts: Amounts, adjustments: Sequence[Adjustment], without: Callable[[timedelta], Gross]
) -> tuple[Amounts, tuple[Applied, ...]]:
    """`without`: the same rental, so much shorter."""
    applied = []
    free = timedelta(0)
    for each in adjustments:
        if each.effect is Effect.FREE_TIME:
            free += timedelta(seconds=each.value)
            shorter = without(free).capped(terms)
            after = Amounts(min(amounts.rental, shorter.rental), amounts.late, amounts.ceiling)
        else:
            after = adjusted(amounts, each)
        applied.append(Applied(each, after.total - amounts.total))
        amounts = after
    return amounts, tuple(applied)


def _to_pay(
    terms: TariffTerms, unlock: int, amount: int, lines: list[PriceLine], applied: tuple[Applied, ...]
) -> Price:
    """Tax, then rounding. The tax is always that of what is paid in the end."""
    exact = amount + terms.tax.on_top_of(amount)
    total = exact - exact % terms.rounding_step_minor
    tax = terms.tax.inside(total)
    if not terms.tax.inclusive:
        lines += [PriceLine(LineKind.TAX, f"{terms.tax.label} on {terms.money(total - tax)}", tax)] if tax else []
        amount += tax
    if total != amount:
        text = f"Rounded down to {terms.money(terms.rounding_step_minor)}"
        lines.append(PriceLine(LineKind.ROUNDING, text, total - amount))
    if terms.tax.inclusive and tax:
        lines.append(PriceLine(LineKind.TAX, f"Contains {terms.tax.label}: {terms.money(tax)}", 0))
    return Price(total, _unlock_part(terms, unlock, total - tax), terms.currency, tuple(lines), tax, applied)


def recorded(terms: TariffTerms, total_minor: int, lines: tuple[PriceLine, ...]) -> Price:
    """A price as it was written down when it was charged."""
    tax = terms.tax.inside(total_minor)
    unlock = sum(line.amount_minor for line in lines if line.kind == LineKind.UNLOCK)
    return Price(total_minor, _unlock_part(terms, unlock, total_minor - tax), terms.currency, lines, tax)


def _unlock_part(terms: TariffTerms, unlock: int, net: int) -> int:
    """The unlock fee without tax, as far as what makes the rental cheaper has left it: usage gives way first."""
    return min(unlock - terms.tax.inside(unlock) if terms.tax.inclusive else unlock, net)


def _gross_lines(terms: TariffTerms, found: Gross) -> Iterator[PriceLine]:
    if found.unlock:
        yield PriceLine(LineKind.UNLOCK, "Unlock fee", found.unlock)
    for each in found.prepaid:
        yield PriceLine(LineKind.PACKAGE, f"{each.name}: {_length(each.duration)} prepaid", each.price_minor)
    if terms.free_period and not found.prepaid:
        yield PriceLine(LineKind.FREE_PERIOD, f"First {_length(terms.free_period)} free", 0)
    for day in found.days:
        yield from _day_lines(terms, day)
    if found.lost and terms.lost_after is not None:
        text = f"Not back within {_length(terms.lost_after)} of the due time: the power bank"
        yield PriceLine(LineKind.LOST_FEE, text, found.lost)


def _day_lines(terms: TariffTerms, found: Day) -> Iterator[PriceLine]:
    name = date.fromordinal(found.day).isoformat()
    for basis_points, count in found.bands:
        each = terms.interval_at(basis_points)
        text = f"{name}: {count} x {_length(terms.interval_length)} at {terms.money(each)}"
        if basis_points != WHOLE_BP:
            text += f" ({basis_points / 100:g} % of {terms.money(terms.interval_minor)})"
        yield PriceLine(LineKind.USAGE, text, count * each)
    if found.usage < found.uncapped:
        cap = terms.money(terms.daily_cap_minor)
        yield PriceLine(LineKind.DAILY_CAP, f"{name}: never more than {cap} a day", found.usage - found.uncapped)
    yield from _late_lines(terms, found, name)


def _late_lines(terms: TariffTerms, found: Day, name: str) -> Iterator[PriceLine]:
    late = terms.late
    if found.late_extra:
        percent = f"{(late.multiplier_bp - WHOLE_BP) / 100:g} %"
        text = f"{name}: late, {percent} on {terms.money(found.late_usage)}"
        yield PriceLine(LineKind.LATE_FEE, text, found.late_extra)
    by_hour = found.late_hours * late.hourly_minor
    if by_hour:
        text = f"{name}: late, {found.late_hours} h begun at {terms.money(late.hourly_minor)}"
        yield PriceLine(LineKind.LATE_FEE, text, by_hour)
    over = found.late - found.late_extra - by_hour
    if over:
        cap = terms.money(late.daily_cap_minor)
        yield PriceLine(LineKind.LATE_CAP, f"{name}: late fees never more than {cap} a day", over)


def _cap_lines(terms: TariffTerms, found: Gross, amounts: Amounts) -> Iterator[PriceLine]:
    difference = amounts.total - found.rental - found.late
    cap = terms.money(terms.total_cap_minor)
    kept = kept_after(terms, found.prepaid)
    if difference > 0 and kept is not None:
        text = f"Kept for {_length(kept)} or longer: {cap} for the power bank"
        yield PriceLine(LineKind.BUYOUT, text, difference)
    elif difference:
        yield PriceLine(LineKind.TOTAL_CAP, f"Never more than {cap}", difference)


@lru_cache(maxsize=256)
def _length(duration: timedelta) -> str:
    """`30 min`, `2 h`, `90 s`: the largest unit that leaves nothing over."""
    seconds = duration.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"
