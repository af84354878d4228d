"""Money: integer minor units with an ISO 4217 currency. No float ever enters."""

from dataclasses import dataclass
from typing import Self

#: Minor unit digits where they are not 2 (ISO 4217 list one).
_DIGITS = {
    **dict.fromkeys(
        ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
         "XOF", "XPF"),
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}  # fmt: skip


def minor_digits(currency: str) -> int:
    """Digits after the point: 2 for EUR, 0 for JPY, 3 for KWD."""
    return _DIGITS.get(currency, 2)


def rounded(numerator: int, denominator: int) -> int:
    """The one rounding rule: to the nearest minor unit, a half away from zero. `denominator` is positive."""
    whole = (2 * abs(numerator) + denominator) // (2 * denominator)
    return -whole if numerator < 0 else whole


#: Basis points in the whole: rates and multipliers are integers of hundredths of a per cent.
WHOLE_BP = 10_000


def share(amount_minor: int, basis_points: int) -> int:
    """So many hundredths of a per cent of an amount, by the one rounding rule."""
    return rounded(amount_minor * basis_points, WHOLE_BP)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount that may be negative. Adding and taking away are exact, and raise ValueError for two currencies."""

    #: Cents, yen, fils: whatever is the currency's smallest unit.
    amount_minor: int
    #: ISO 4217, upper case; ValueError otherwise.
    currency: str

    def __post_init__(self) -> None:
        if len(self.currency) != 3 or not self.currency.isupper():
            raise ValueError(f"{self.currency!r} is not an ISO 4217 code")

    def _same(self, other: Self) -> None:
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not add")

    def __add__(self, other: Self) -> "Money":
        self._same(other)
        return Money(self.amount_minor + other.amount_minor, self.currency)

    def __sub__(self, other: Self) -> "Money":
        self._same(other)
        return Money(self.amount_minor - other.amount_minor, self.currency)

    def __str__(self) -> str:
        digits = minor_digits(self.currency)
        if digits == 0:
            return f"{self.amount_minor} {self.currency}"
        sign, amount = ("-" if self.amount_minor < 0 else ""), abs(self.amount_minor)
        return f"{sign}{amount // 10**digits}.{amount % 10**digits:0{digits}d} {self.currency}"
