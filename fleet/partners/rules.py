"""What of a rental is whose, and how a payout goes on. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from fleet.common.errors import IllegalTransition
from fleet.common.money import WHOLE_BP, rounded, share
from fleet.partners.models import PayoutState, ShareKind

_S = PayoutState
PAYOUT_MOVES: Final[dict[PayoutState, frozenset[PayoutState]]] = {
    _S.REQUESTED: frozenset({_S.APPROVED, _S.REJECTED, _S.CANCELLED}),
    _S.APPROVED: frozenset({_S.PROCESSING, _S.REJECTED}),
    # A bank may send it back.
    _S.PROCESSING: frozenset({_S.COMPLETED, _S.REJECTED, _S.FAILED}),
    # By a provider, days later.
    _S.COMPLETED: frozenset({_S.FAILED}),
    _S.REJECTED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
}


def check_payout(current: PayoutState, wanted: PayoutState) -> None:
    """Raises IllegalTransition for a move that PAYOUT_MOVES does not hold."""
    if wanted not in PAYOUT_MOVES[current]:
        raise IllegalTransition("payout", current, wanted)


@dataclass(frozen=True, slots=True)
class Terms:
    """Of one agreement: `value` is basis points of the net, or minor units of every rental."""

    kind: ShareKind
    value: int

    def of(self, net_minor: int) -> Fraction:
        """Exact, and at most the net."""
        if self.kind is ShareKind.PERCENT:
            return Fraction(net_minor * self.value, WHOLE_BP)
        return Fraction(min(self.value, net_minor))


@dataclass(frozen=True, slots=True)
class Takings:
    """Minor units of one rental: what was ever paid, what of it came back, and the invoice's total with its tax."""

    paid: int
    refunded: int
    price: int
    tax: int

    @property
    def kept(self) -> int:
        return max(0, self.paid - self.refunded)

    def tax_in(self, gross: int) -> int:
        """The tax contained in so much of the price."""
        if gross == self.price:
            return self.tax
        return 0 if self.price <= 0 else min(gross, rounded(gross * self.tax, self.price))


@dataclass(frozen=True, slots=True)
class Division:
    """gross - tax - service charge = net = parts + house, exactly."""

    gross: int
    tax: int
    service_charge: int
    net: int
    #: In the order in which the terms were given.
    parts: tuple[int, ...]
    house: int


def divide(takings: Takings, service_charge_bp: int, terms: Sequence[Terms]) -> Division:
    """Who gets what. `terms` go up the tree: a vendor, then its franchise, out of whose share the vendor is paid.

    Everybody's part is fixed by what was paid in all, and shrinks with what the rider got back: a refund of half takes
    half of each share back. Parts are made whole by largest remainder, so that they add up.
    """
    exact = _exact(_net(takings, takings.paid, service_charge_bp)[-1], terms)
    tax, charge, net = _net(takings, takings.kept, service_charge_bp)
    whole = sum(exact)
    weights = [part / whole for part in exact] if whole else [Fraction(0)] * len(terms) + [Fraction(1)]
    *parts, house = apportion(net, weights)
    return Division(takings.kept, tax, charge, net, tuple(parts), house)


def _net(takings: Takings, gross: int, service_charge_bp: int) -> tuple[int, int, int]:
    tax = takings.tax_in(gross)
    charge = min(share(gross, service_charge_bp), gross - tax)
    return tax, charge, gross - tax - charge


def _exact(net: int, terms: Sequence[Terms]) -> list[Fraction]:
    """Of each party, then of the house. Who stands higher bounds who stands lower."""
    parts: list[Fraction] = []
    above = Fraction(net)
    for each in reversed(terms):
        promised = min(each.of(net), above)
        parts.append(above - promised)
        above = promised
    return [above, *reversed(parts)]


def apportion(total: int, weights: Sequence[Fraction]) -> list[int]:
    """Whole numbers that add up to `total`, by largest remainder; of equal remainders the first one wins.

    `weights` are not negative and add up to 1.
    """
    exact = [total * weight for weight in weights]
    whole = [part.numerator // part.denominator for part in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: (whole[index] - exact[index], index))
    for index in by_remainder[: total - sum(whole)]:
        whole[index] += 1
    return whole
