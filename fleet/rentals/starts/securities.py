"""What is set aside for a rental: how much, and of which purse."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments.holds import hold_for_new, hold_from
from fleet.rentals.pricing.adjustments import Adjustment
from fleet.rentals.pricing.terms import TariffTerms
from fleet.rentals.starts.payment_plans import PaymentPlan, Purses
from fleet.rentals.tariffs import packages
from fleet.rentals.tariffs.models import PackageKind, RentalPackage


def to_hold(
    terms: TariffTerms, package: RentalPackage | None, adjustments: Sequence[Adjustment], now: datetime
) -> Money:
    """What a start sets aside: the price of a prepaid package, else what the tariff says. Raises PackageTooDear."""
    if package is None:
        return terms.money(terms.hold_minor)
    due = packages.at_once(terms, (packages.bought(package),), adjustments, now)
    return terms.money(due if package.kind is PackageKind.PREPAID else terms.hold_minor)


def set_aside(
    session: Session,
    purses: Purses,
    rental_id: UUID,
    money: Money,
    plan: PaymentPlan,
    *,
    now: datetime,
    by_card: bool = False,
    key: str | None = None,
) -> UUID | None:
    """Hold `money` as the plan says: of the points first, the rest of the wallet unless a card stands for it.

    Returns the first hold; None: nothing was to be held. `key` tells an extension's from the start's: a start makes its
    rental in the same transaction. Raises InsufficientFunds: what was held so far goes with the caller's transaction.
    """
    by_points = plan.for_points(money.amount_minor, purses.points_minor)
    by_wallet = 0 if by_card else money.amount_minor - by_points
    first = None
    for purse, minor, name in ((purses.points, by_points, "points"), (purses.wallet, by_wallet, None)):
        if minor and purse is not None:
            amount = Money(minor, money.currency)
            if key is None:
                held = hold_for_new(session, purse, rental_id, amount, now, key=name)
            else:
                names = key if name is None else f"{key}:{name}"
                held = hold_from(session, purse, rental_id, amount, now, key=names).id
            first = first or held
    return first
