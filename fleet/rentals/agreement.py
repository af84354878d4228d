"""What was agreed with a rider, frozen in the rental: its terms, what it costs by them, when it is due. Pure."""

from datetime import datetime

from fleet.rentals.models import Rental, RentalState, StartEvidence
from fleet.rentals.pricing.adjustments import Adjustment
from fleet.rentals.pricing.gross import due_after, kept_for
from fleet.rentals.pricing.meter import FOREVER, Paused, moment, put_off
from fleet.rentals.pricing.price import LineKind, Price, free_of_charge, price
from fleet.rentals.pricing.terms import Prepaid, TariffTerms


def terms_of(rental: Rental) -> TariffTerms:
    return TariffTerms.from_json(rental.terms)


def prepaid_of(rental: Rental, at: datetime | None = None) -> tuple[Prepaid, ...]:
    """What was paid for beforehand. `at`: what was bought later is left out; the bank was back by then."""
    found = (Prepaid.from_json(each) for each in rental.prepaid)
    return tuple(each for each in found if at is None or each.bought_at is None or each.bought_at <= at)


def adjustments_of(rental: Rental) -> tuple[Adjustment, ...]:
    return tuple(Adjustment.from_json(each) for each in rental.adjustments)


def paused_of(rental: Rental) -> Paused:
    """When its clock stood still; FOREVER where a pause has no end yet."""
    return [(moment(begin), FOREVER if end is None else moment(end)) for begin, end in rental.paused]


def price_at(rental: Rental, at: datetime, *, bought: bool | None = None) -> Price:
    """What the rental costs when the bank comes back at `at`: for no longer than until it counted as bought or lost.

    `bought` (None: as the books say): it does not come back, its price is due too, and nothing is taken off.
    """
    bought = is_kept(rental) if bought is None else bought
    terms = terms_of(rental)
    if not bought:
        terms, at = terms.brought_back(), min(at, rental.buyout_at or at)
    if rental.started_at is None:
        return free_of_charge(terms, LineKind.NOT_STARTED, "The bank has not left yet")
    return price(
        terms,
        rental.started_at,
        max(at, rental.started_at),
        paused_of(rental),
        time_zone=rental.time_zone,
        prepaid=prepaid_of(rental, at),
        adjustments=() if bought else adjustments_of(rental),
    )


def is_kept(rental: Rental) -> bool:
    """Closed without its bank, which counts as bought or lost; disputed or not."""
    disputed = rental.state is RentalState.DISPUTED and rental.station_in_id is None
    return rental.state is RentalState.BOUGHT_OUT or (disputed and rental.ended_at == rental.buyout_at)


def closed_as(rental: Rental) -> RentalState:
    """What a rental that was disputed is again."""
    return RentalState.BOUGHT_OUT if is_kept(rental) else RentalState.COMPLETED


def set_start(rental: Rental, at: datetime, told: StartEvidence) -> None:
    """When the bank left, and what follows from it."""
    rental.started_at, rental.start_evidence = at, told
    set_due(rental)


def set_due(rental: Rental) -> None:
    """When it becomes overdue and when it is bought out, by its start, its terms and its pauses; None: never."""
    at = rental.started_at
    assert at is not None
    terms, prepaid, paused = terms_of(rental), prepaid_of(rental), paused_of(rental)
    rental.overdue_at = put_off(at, due_after(terms, prepaid), paused)
    kept = kept_for(terms, at, rental.time_zone, prepaid, adjustments_of(rental))
    rental.buyout_at = None if kept is None else put_off(at, kept, paused)
