"""A rental that was none: nothing left the cabinet, or it was back at once. Locked by the caller."""

from datetime import datetime

from sqlalchemy.orm import Session

from fleet.payments import holds
from fleet.rentals.agreement import price_at, terms_of
from fleet.rentals.closing.charges import charge, cheaper, settle_card
from fleet.rentals.closing.discharge import count_use, taken_pct
from fleet.rentals.models import Rental, RentalState, RentalSwap, SwapState
from fleet.rentals.pricing import subscribed
from fleet.rentals.pricing.price import LineKind, free_of_charge
from fleet.rentals.states import Evidence, move, unreserve

CANCELLED = "cancelled"


def call_off(session: Session, rental: Rental, *, evidence: Evidence, now: datetime) -> None:
    """A bank that was back at once was of no use: what was paid comes back, nothing is owed."""
    nothing = free_of_charge(terms_of(rental), LineKind.CANCELLED, "Cancelled: the bank was back at once")
    cheaper(session, rental, nothing, CANCELLED, now, reason="cancelled, the bank was back at once")
    rental.failure_code = CANCELLED
    move(session, rental, RentalState.CANCELLED, why="cancelled_by_rider", evidence=evidence, at=now, now=now)


def give_up(
    session: Session,
    rental: Rental,
    *,
    to: RentalState,
    why: str,
    code: str | None,
    evidence: Evidence,
    at: datetime,
    now: datetime,
) -> None:
    """Nothing left the cabinet, as far as is known: hold released, slot free. `to` is one of rules.FAILED.

    Of an exchange: no other bank came, and the rental ended when the rider's was back.
    """
    if rental.swapped_at is not None:
        _end_without_swap(session, rental, code=code, evidence=evidence, now=now)
        return
    holds.release_holds(session, rental.id, now)
    subscribed.release(session, rental, now)
    settle_card(session, rental, 0, now)
    rental.failure_code = None if code is None else code[:64]
    unreserve(session, rental)
    move(session, rental, to, why=why, evidence=evidence, at=at, now=now)


def _end_without_swap(session: Session, rental: Rental, *, code: str | None, evidence: Evidence, now: datetime) -> None:
    """The books are again about the bank that the rider gave back."""
    unreserve(session, rental)
    assert rental.swapped_at is not None
    swap = session.get_one(RentalSwap, rental.swap_id)
    swap.state, swap.ended_at = SwapState.FAILED, now
    rental.station_out_id, rental.slot_out, rental.charge_out_pct = (
        swap.old_station_id, swap.old_slot, swap.old_charge_out_pct,
    )  # fmt: skip
    rental.station_in_id, rental.slot_in, rental.charge_in_pct = (
        swap.station_id, swap.returned_slot, swap.old_charge_in_pct,
    )  # fmt: skip
    rental.discharged_pct = taken_pct(swap.old_charge_out_pct, swap.old_charge_in_pct)
    rental.ended_at = rental.swapped_at
    rental.swap_id = rental.swapped_at = None
    result = price_at(rental, rental.ended_at, bought=False)
    charge(session, rental, result, now)
    evidence = {**evidence, "code": code}
    # Together with the end: the bank may be with its next rider by now, and has one open rental at any moment.
    rental.power_bank_id = swap.old_bank_id
    move(session, rental, RentalState.COMPLETED, why="swap_failed", evidence=evidence, at=rental.ended_at, now=now)


def annul(
    session: Session,
    rental: Rental,
    *,
    why: str,
    code: str,
    evidence: Evidence,
    at: datetime,
    now: datetime,
    to: RentalState = RentalState.EJECT_FAILED,
) -> None:
    """Nothing ever left for this rental, although it was thought so: what was paid comes back, nothing is owed.

    `to`: one of rules.FAILED; that of a rental that is closed already is EJECT_FAILED.
    """
    evidence = {**evidence, "before": None if rental.started_at is None else rental.started_at.isoformat()}
    if rental.ended_at is None:
        give_up(session, rental, to=to, why=why, code=code, evidence=evidence, at=at, now=now)
    else:
        nothing = free_of_charge(terms_of(rental), LineKind.NEVER_LEFT, "The bank never left for this rental")
        cheaper(session, rental, nothing, why, now)
        rental.failure_code = code[:64]
        move(session, rental, RentalState.EJECT_FAILED, why=why, evidence=evidence, at=at, now=now)
    rental.started_at = rental.ended_at = rental.overdue_at = rental.buyout_at = rental.start_evidence = None
    rental.station_in_id = rental.slot_in = rental.charge_in_pct = None
    count_use(session, rental)
