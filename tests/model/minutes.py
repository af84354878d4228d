"""A subscription's free minutes, after every step: promised with the rental, used as far as they saved something."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.rentals.models import OPEN_STATES, Rental, RentalState
from fleet.subscriptions.models import SubscriptionUse
from tests.model.deals import Deal
from tests.model.fares import used
from tests.model.town import GRANTED, Town

_SECOND: Final = timedelta(seconds=1)
_S = RentalState


def is_free_as_not_taken(rental: Rental) -> bool:
    """Its price says so, also of what turned out to have been elsewhere before it was back."""
    return any(line["kind"] == "not_taken" for line in rental.price_lines or ())


def check_minutes(session: Session, town: Town, rentals: Sequence[Rental]) -> None:
    rows = session.scalars(select(SubscriptionUse).where(SubscriptionUse.rental_id.in_([each.id for each in rentals])))
    uses = {row.rental_id: row for row in rows}
    for rental in rentals:
        deal = town.rentals[rental.id]
        assert (rental.id in uses) == bool(deal.granted), f"{rental.id}: who subscribed is promised minutes"
        if rental.id in uses:
            use = uses[rental.id]
            assert use.granted_s == GRANTED // _SECOND
            assert use.used_s is None or 0 <= use.used_s <= use.granted_s
            # What people decided says nothing of the time; an operator's word may be about another one.
            if not (rental.state in OPEN_STATES or deal.at_most or deal.refunded or deal.corrected):
                assert use.used_s == _needed(rental, deal), f"{rental.id} {rental.state} took {use.used_s} s"


def _needed(rental: Rental, deal: Deal) -> int:
    """Seconds of a closed rental that cost less for them."""
    bought = rental.station_in_id is None
    nothing = rental.state in {_S.CANCELLED, _S.EJECT_FAILED} or is_free_as_not_taken(rental)
    if nothing or bought or rental.started_at is None or rental.ended_at is None:
        return 0
    packages = deal.packages_until(rental.ended_at)
    time = deal.fare.counted(used(rental.started_at, rental.ended_at, deal.stood_still()), packages, deal.granted)
    without = deal.fare.cost(rental.started_at, time, packages)
    if deal.fare.cost(rental.started_at, time, packages, granted=deal.granted) == without:
        return 0
    return min(-(-max(time - deal.fare.covered(packages), timedelta(0)) // _SECOND), deal.granted // _SECOND)
