"""The seam for coupons, points, discounts and subscriptions: a typed, ordered, bounded list of price adjustments.

Whoever grants one makes it when the rental starts (`AdjustmentSource`); it is frozen into the rental beside the tariff,
so that a price never depends on what has become of a coupon since. Decision 0124.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol, Self
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from fleet.common.money import WHOLE_BP, share
from fleet.rentals.pricing.terms import TariffTerms


class AdjustmentKind(StrEnum):
    """Who grants it."""

    SUBSCRIPTION = "subscription"
    DISCOUNT = "discount"
    COUPON = "coupon"
    POINTS = "points"
    OPERATOR = "operator"


class Effect(StrEnum):
    """What it does, in the order in which adjustments are applied."""

    #: `value` seconds of use are free: the last ones.
    FREE_TIME = "free_time"
    #: `value` basis points of what the rental costs by then; negative makes it cheaper.
    PERCENT = "percent"
    #: `value` minor units; negative makes it cheaper.
    AMOUNT = "amount"


class Part(StrEnum):
    """What it is about."""

    #: Everything but late fees: a coupon does not pay for being late.
    RENTAL = "rental"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One grant. `text` is what the rider reads; `reference` names the coupon, plan or act it comes from.

    `at_most_minor` bounds a percentage. Raises ValueError for a value that its effect does not allow.
    """

    kind: AdjustmentKind
    effect: Effect
    value: int
    text: str
    part: Part = Part.RENTAL
    at_most_minor: int | None = None
    reference: str | None = None

    def __post_init__(self) -> None:
        if self.effect is Effect.FREE_TIME and self.value < 0:
            raise ValueError("free time is not negative")
        if self.effect is Effect.PERCENT and abs(self.value) > WHOLE_BP:
            raise ValueError("a percentage is at most the whole")
        if self.at_most_minor is not None and self.at_most_minor < 0:
            raise ValueError("a bound is not negative")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return msgspec.convert(data, cls)


@dataclass(frozen=True, slots=True)
class Applied:
    """What an adjustment came to, in minor units: what its bounds left of it."""

    adjustment: Adjustment
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Amounts:
    """A price in the making: the rental itself, what is late about it, and the most that both may come to."""

    rental: int
    late: int
    #: None: no cap.
    ceiling: int | None = None

    @property
    def total(self) -> int:
        return self.rental + self.late


_RANK: Final = {effect: rank for rank, effect in enumerate(Effect)}


def in_order(adjustments: Iterable[Adjustment]) -> list[Adjustment]:
    """Free time first, then percentages, then amounts; as given among equals.

    Any other order could make a price fall as time passes, or a coupon worth less for being used with another one.
    """
    return sorted(adjustments, key=lambda each: _RANK[each.effect])


def free_time(adjustments: Sequence[Adjustment]) -> timedelta:
    """How much of it there is in all."""
    return timedelta(seconds=sum(each.value for each in adjustments if each.effect is Effect.FREE_TIME))


def adjusted(amounts: Amounts, adjustment: Adjustment) -> Amounts:
    """After a percentage or an amount: never below zero, never above the ceiling."""
    if adjustment.effect is Effect.PERCENT:
        rental = amounts.rental + _bounded(share(amounts.rental, adjustment.value), adjustment.at_most_minor)
        late = amounts.late
        if adjustment.part is Part.TOTAL:
            left = None if adjustment.at_most_minor is None else adjustment.at_most_minor - abs(rental - amounts.rental)
            late += _bounded(share(late, adjustment.value), left)
        return _within(rental, late, amounts.ceiling)
    rental = amounts.rental + adjustment.value
    late = amounts.late
    if rental < 0 and adjustment.part is Part.TOTAL:
        late = max(0, late + rental)
    return _within(max(0, rental), late, amounts.ceiling)


def _bounded(amount: int, at_most: int | None) -> int:
    return amount if at_most is None else max(-at_most, min(at_most, amount))


def _within(rental: int, late: int, ceiling: int | None) -> Amounts:
    """Late fees are the last to give way: so a price that is at its cap cannot fall with time."""
    if ceiling is None:
        return Amounts(rental, late)
    late = min(late, ceiling)
    return Amounts(min(rental, ceiling - late), late, ceiling)


@dataclass(frozen=True, slots=True)
class Occasion:
    """A rental that is about to start, or might (`rental_id` None: a quote, which must use nothing up)."""

    user_id: UUID
    station_id: int
    terms: TariffTerms
    at: datetime
    rental_id: UUID | None
    #: False: the rider has no subscription, and nobody need look for one.
    subscribed: bool = True


class AdjustmentSource(Protocol):
    """A promotion, subscription or programme that may have something to say about a price.

    Called with the rider's wallet locked, in the transaction that starts the rental: what it grants it may use up there
    and then, and a start that fails takes that back. It commits nothing.
    """

    def adjustments(self, session: Session, occasion: Occasion) -> Iterable[Adjustment]: ...


def granted(session: Session, sources: Iterable[AdjustmentSource], occasion: Occasion) -> tuple[Adjustment, ...]:
    """What all sources grant together, in the order in which it is applied."""
    return tuple(in_order(each for source in sources for each in source.adjustments(session, occasion)))
