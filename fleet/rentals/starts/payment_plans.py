"""Which of a rider's purses stand for a rental, and in which order they pay it (decision 0196).

Always points first, then the wallet, then the card: what a mode says is how much points may pay, and whether a card
stands behind. Pure.
"""

from dataclasses import dataclass, replace
from typing import Final, Self
from uuid import UUID

from fleet.common.errors import InvalidInput
from fleet.payments.wallets import Purse
from fleet.rentals.models import PayMode


@dataclass(frozen=True, slots=True)
class PaymentPlan:
    """`points_minor`: points money, at most; None: all there is."""

    mode: PayMode = PayMode.WALLET
    points_minor: int | None = 0

    def for_points(self, total_minor: int, there_minor: int) -> int:
        """What of `total_minor` is set aside of the points; may be more than is `there_minor`: then it is refused."""
        if self.mode is PayMode.POINTS:
            return total_minor
        return min(total_minor, there_minor if self.points_minor is None else self.points_minor)

    def funds(self, wallet_minor: int, points_minor: int) -> int:
        """What the rider has for a rental that is paid like this, cards left out."""
        if self.mode is PayMode.POINTS:
            return points_minor
        most = points_minor if self.points_minor is None else min(points_minor, self.points_minor)
        return wallet_minor + most


BY_WALLET: Final = PaymentPlan()


def plan_of(mode: PayMode, points_minor: int | None = None) -> PaymentPlan:
    """`points_minor`: exactly so much with points, for `split` and `card` only. Raises InvalidInput."""
    if points_minor is None:
        return PaymentPlan(mode, None if mode in {PayMode.POINTS, PayMode.SPLIT} else 0)
    if mode not in {PayMode.SPLIT, PayMode.CARD}:
        raise InvalidInput("an amount of points goes with split or card", field="points_minor")
    if points_minor <= 0:
        raise InvalidInput("an amount of points is more than nothing", field="points_minor")
    return PaymentPlan(mode, points_minor)


@dataclass(frozen=True, slots=True)
class Purses:
    """A rider's money in one currency, locked; `points` None: the plan does not use them."""

    wallet: Purse
    points: Purse | None

    def with_more(self, account_id: UUID, minor: int) -> Self:
        """So much is free again on that account, if it is one of both."""

        def now(purse: Purse) -> Purse:
            more = minor if purse.account_id == account_id else 0
            return replace(purse, available_minor=purse.available_minor + more)

        return type(self)(now(self.wallet), None if self.points is None else now(self.points))

    @property
    def points_minor(self) -> int:
        return 0 if self.points is None else self.points.available_minor
