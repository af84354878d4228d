"""What a rental is priced by: its tariff as it was frozen at the start, and time that was paid for beforehand. Pure."""

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Self

import msgspec

from fleet.common.errors import InvalidInput
from fleet.common.money import WHOLE_BP, Money, minor_digits, rounded, share

HOURS_A_DAY: Final = 24
#: A multiplier of 100: more is a mistake of who typed it.
MULTIPLIER_MAX_BP: Final = 1_000_000
#: Thousands of rows of rules are no tariff; 24 hours on 7 days are.
MULTIPLIERS_MAX: Final = 168
LATE_GRACE: Final = timedelta(minutes=2)
_NOTHING: Final = timedelta(0)


@dataclass(frozen=True, slots=True)
class Multiplier:
    """What an interval costs that begins in these local hours on these weekdays (1 Monday … 7 Sunday), in basis points.

    `to_hour` is not included; 24 is midnight. Of several that fit, the first one counts.
    """

    weekdays: tuple[int, ...]
    from_hour: int
    to_hour: int
    basis_points: int

    def problem(self) -> str | None:
        if not self.weekdays or not all(1 <= day <= 7 for day in self.weekdays):
            return "weekdays are numbers from 1 (Monday) to 7 (Sunday), at least one"
        if not 0 <= self.from_hour < self.to_hour <= HOURS_A_DAY:
            return "hours go from 0 to 24, and forward: over midnight takes two multipliers"
        if not 0 <= self.basis_points <= MULTIPLIER_MAX_BP:
            return f"a multiplier has 0 to {MULTIPLIER_MAX_BP} basis points"
        return None


@dataclass(frozen=True, slots=True)
class LateTerms:
    """What being late costs besides the time itself: by multiplier, flat per hour begun, or both.

    `multiplier_bp` is what late time costs in all, 20,000 is twice the price: half of that is the late fee. Nothing is
    charged within `grace`; after it the fee counts from the due time. `daily_cap_minor` is per local day; 0 is none.
    """

    multiplier_bp: int = WHOLE_BP
    hourly_minor: int = 0
    grace: timedelta = LATE_GRACE
    daily_cap_minor: int = 0

    @property
    def nothing(self) -> bool:
        return self.multiplier_bp <= WHOLE_BP and self.hourly_minor == 0


@dataclass(frozen=True, slots=True)
class TaxTerms:
    """`inclusive`: the tariff's amounts contain the tax; else it comes on top of them (and of their caps)."""

    name: str = "Tax"
    basis_points: int = 0
    inclusive: bool = True

    def on_top_of(self, net_minor: int) -> int:
        """The tax to add to a price without tax; 0 when it is contained."""
        return 0 if self.inclusive else share(net_minor, self.basis_points)

    def inside(self, gross_minor: int) -> int:
        """The tax in a price that contains it, whether it was in there from the beginning or came on top."""
        return rounded(gross_minor * self.basis_points, WHOLE_BP + self.basis_points)

    @property
    def label(self) -> str:
        return f"{self.basis_points / 100:g} % {self.name}"


@dataclass(frozen=True, slots=True)
class Prepaid:
    """Time that is paid for whether it is used or not: a package, or an extension of one.

    `bought_at` None: with the start. A bank that was back before cost nothing of it.
    """

    name: str
    duration: timedelta
    price_minor: int
    bought_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """The duration in seconds; `bought_at` only where there is one."""
        found: dict[str, Any] = _seconds(asdict(self))
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return msgspec.convert(data, cls, strict=False)


@dataclass(frozen=True, slots=True)
class TariffTerms:
    """A tariff as it is frozen into a rental. Amounts in minor units of `currency`; a cap of 0 is none."""

    currency: str
    unlock_minor: int
    free_period: timedelta
    interval_minor: int
    interval_length: timedelta
    daily_cap_minor: int
    #: The most a rental can ever cost, which is also the price of a bank that is never brought back.
    total_cap_minor: int
    hold_minor: int
    overdue_after: timedelta
    #: When the bank counts as bought, at the total cap. None: when the price reaches the cap by itself.
    buyout_after: timedelta | None = None
    multipliers: tuple[Multiplier, ...] = ()
    #: What is to pay is rounded down to a multiple of this: 5 where the smallest coin is 0.05.
    rounding_step_minor: int = 1
    late: LateTerms = LateTerms()
    tax: TaxTerms = TaxTerms()
    #: How long after its due time a bank counts as lost, and what that costs; None: only the total cap ends a rental.
    lost_after: timedelta | None = None
    lost_fee_minor: int = 0
    #: What it costs to have a bank kept and not to come; 0: nothing.
    reservation_fee_minor: int = 0

    def to_json(self) -> dict[str, Any]:
        """Durations in seconds."""
        return dict(_written(self))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """What a rental of an earlier version does not have yet stays as it was then: without."""
        return msgspec.convert(data, cls, strict=False)

    def brought_back(self) -> Self:
        """The same for a bank that is back: nothing is due for the bank itself."""
        return replace(self, buyout_after=None, lost_after=None)

    def money(self, amount_minor: int) -> Money:
        return Money(amount_minor, self.currency)

    def interval_at(self, basis_points: int) -> int:
        """What one interval costs under a multiplier: a whole number of minor units, as a price list shows it."""
        return self.interval_minor if basis_points == WHOLE_BP else share(self.interval_minor, basis_points)

    def check(self) -> None:
        """Raises InvalidInput, with the field, for terms that nobody can have meant."""
        for field, message in self._problems():
            raise InvalidInput(message, field=field)

    def _problems(self) -> list[tuple[str, str]]:
        found = [(name, "amounts are not negative") for name in _AMOUNTS if getattr(self, name) < 0]
        found += [("late", "amounts are not negative")] * (min(self.late.hourly_minor, self.late.daily_cap_minor) < 0)
        found += [("multipliers", text) for text in map(Multiplier.problem, self.multipliers) if text is not None]
        conditions = (
            ("currency", len(self.currency) == 3 and self.currency.isupper(), "an ISO 4217 code"),
            ("interval_length", self.interval_length >= timedelta(seconds=1), "an interval has at least a second"),
            ("free_period", self.free_period >= _NOTHING, "not negative"),
            ("overdue_after", self.overdue_after >= self.free_period, "not before the free period is over"),
            ("multipliers", len(self.multipliers) <= MULTIPLIERS_MAX, f"at most {MULTIPLIERS_MAX}"),
            ("rounding_step_minor", 1 <= self.rounding_step_minor <= _step_max(self.currency), "1 up to a whole unit"),
            ("late", WHOLE_BP <= self.late.multiplier_bp <= MULTIPLIER_MAX_BP, "late time costs no less than other"),
            ("late", self.late.grace >= _NOTHING, "the grace period is not negative"),
            ("tax", 0 <= self.tax.basis_points <= WHOLE_BP, "a tax is 0 to 100 %"),
            (
                "buyout_after",
                self.buyout_after is None or (self.buyout_after >= self.overdue_after and self.total_cap_minor > 0),
                "a bank is bought no earlier than it is overdue, and for the total cap",
            ),
            (
                "lost_after",
                self.lost_after is None or self.lost_after >= _NOTHING,
                "a bank is lost no earlier than it is due",
            ),
            (
                "lost_fee_minor",
                self.lost_fee_minor <= (self.total_cap_minor or self.lost_fee_minor),
                "the total cap holds for lost banks too",
            ),
        )
        return found + [(field, message) for field, holds, message in conditions if not holds]


_AMOUNTS: Final = (
    "unlock_minor", "interval_minor", "daily_cap_minor", "total_cap_minor", "hold_minor",
    "lost_fee_minor", "reservation_fee_minor",
)  # fmt: skip


@lru_cache(maxsize=256)
def _written(terms: TariffTerms) -> dict[str, Any]:
    """Every start writes them, and few are in force."""
    found: dict[str, Any] = _seconds(asdict(terms))
    return found


def _step_max(currency: str) -> int:
    """A whole unit; 100 where there is nothing smaller (prices of JPY end in 10 or 100)."""
    unit: int = 10 ** minor_digits(currency)
    return max(100, unit)


def _seconds(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _seconds(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_seconds(each) for each in value]
    return value
