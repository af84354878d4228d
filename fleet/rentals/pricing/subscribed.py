"""What subscriptions take off a rental's price: a source of adjustments (decision 0124), and what was used of it."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.payments import holds
from fleet.rentals.models import Rental
from fleet.rentals.pricing.adjustments import Adjustment, AdjustmentKind, Applied, Effect, Occasion
from fleet.rentals.pricing.price import Price
from fleet.stations.models import Station
from fleet.subscriptions import benefits
from fleet.subscriptions.benefits import Benefit

_MINUTE: Final = 60
_SECOND: Final = timedelta(seconds=1)


class SubscriptionBenefits:
    """Free minutes and a discount, as the rider's subscription has them when the rental starts."""

    def adjustments(self, session: Session, occasion: Occasion) -> Iterable[Adjustment]:
        """A start sets the free minutes aside; a quote looks only."""
        if not occasion.subscribed:
            return ()
        if occasion.rental_id is not None and not benefits.lock_for_use(session, occasion.user_id):
            return ()
        station = session.get_one(Station, occasion.station_id)
        benefit = benefits.benefit_at(session, occasion.user_id, station, occasion.at)
        if benefit is None:
            return ()
        if occasion.rental_id is not None:
            benefits.promise(session, occasion.rental_id, benefit, occasion.at)
        return tuple(_granted(benefit))


def _granted(benefit: Benefit) -> Iterator[Adjustment]:
    reference = f"subscription:{benefit.subscription_id}"
    if benefit.free_s > 0:
        minutes, seconds = divmod(benefit.free_s, _MINUTE)
        text = f"{benefit.plan}: up to {minutes} min{f' {seconds} s' if seconds else ''} free"
        yield Adjustment(AdjustmentKind.SUBSCRIPTION, Effect.FREE_TIME, benefit.free_s, text, reference=reference)
    if benefit.discount_bp > 0:
        text = f"{benefit.plan}: {benefit.discount_bp / 100:g} % off"
        yield Adjustment(AdjustmentKind.SUBSCRIPTION, Effect.PERCENT, -benefit.discount_bp, text, reference=reference)


def free_seconds_used(applied: Sequence[Applied], chargeable: timedelta) -> int:
    """How many of a subscription's free seconds a price took: as long as there was time to pay for, none that saved
    nothing. `chargeable`: what was used beyond what is free or prepaid anyway.
    """
    left = max(0, -(-chargeable // _SECOND))
    for each in applied:
        if each.adjustment.effect is not Effect.FREE_TIME:
            continue
        taken = min(left, each.adjustment.value) if each.amount_minor < 0 else 0
        if each.adjustment.kind is AdjustmentKind.SUBSCRIPTION:
            return taken
        left -= taken
    return 0


def has_free_time(rental: Rental) -> bool:
    return any(
        (each["kind"], each["effect"]) == (AdjustmentKind.SUBSCRIPTION, Effect.FREE_TIME) for each in rental.adjustments
    )


def settle(session: Session, rental: Rental, result: Price, now: datetime) -> None:
    """The rental costs `result`: it keeps as many free minutes as that took, the rest is the rider's again."""
    if has_free_time(rental):
        benefits.use(session, rental.id, free_seconds_used(result.applied, result.chargeable), now)


def refunded(session: Session, rental_id: UUID, now: datetime) -> None:
    """Money came back for a rental: when all of it did, its free minutes do as well."""
    charged = holds.charged_for(session, rental_id)
    if 0 < charged <= holds.refunded_for(session, rental_id):
        benefits.use(session, rental_id, 0, now)


def release(session: Session, rental: Rental, now: datetime) -> None:
    """It costs nothing after all, or never was: nothing was used."""
    if has_free_time(rental):
        benefits.use(session, rental.id, 0, now)
