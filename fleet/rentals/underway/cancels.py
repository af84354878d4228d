"""A rider changes their mind: before the cabinet has the order, or with the bank back in a slot at once."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.devices.commands import cancel_command
from fleet.rentals.closing.annulment import call_off, give_up
from fleet.rentals.closing.completion import is_free_as_not_taken
from fleet.rentals.errors import RentalNotCancellable
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.queries import rental_of
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts.ejects import last_eject


def cancel(session: Session, *, user_id: UUID, rental_id: UUID, now: datetime, policy: RentalPolicy) -> Rental:
    """Nothing is charged: while the order is still queued (one that is out may move a bank), or when the bank was back
    within `policy.cancel_window`. Again changes nothing.

    Raises RentalNotFound, RentalNotCancellable.
    """
    rental_of(session, user_id, rental_id)
    rental = lock_rentals(session, [rental_id])[rental_id]
    if rental.state is RentalState.CANCELLED:
        return rental_of(session, user_id, rental_id)
    evidence = {"user": str(user_id)}
    if rental.state is RentalState.COMPLETED:
        _must_be_back_at_once(session, rental, policy, now)
        call_off(session, rental, evidence=evidence, now=now)
    else:
        _take_back_order(session, rental, now)
        give_up(
            session,
            rental,
            to=RentalState.CANCELLED,
            why="cancelled_by_rider",
            code=None,
            evidence=evidence,
            at=now,
            now=now,
        )
    session.flush()  # the answer is read back
    return rental_of(session, user_id, rental_id)


def _take_back_order(session: Session, rental: Rental, now: datetime) -> None:
    command = last_eject(session, rental.id)
    if rental.state is not RentalState.EJECTING:
        raise _refusal(rental, f"it is {rental.state}")
    if command is not None and not cancel_command(session, command.id, now):
        raise _refusal(rental, "the cabinet has the order already")


def _must_be_back_at_once(session: Session, rental: Rental, policy: RentalPolicy, now: datetime) -> None:
    """The window counts twice: from when the bank left until it was back, and from when that was known until now, so
    that a cabinet that was offline takes nothing from the rider.
    """
    assert rental.started_at is not None
    assert rental.ended_at is not None
    assert rental.closed_at is not None
    if is_free_as_not_taken(rental):
        raise _refusal(rental, "it cost nothing")
    if rental.ended_at - rental.started_at > policy.cancel_window or now - rental.closed_at > policy.cancel_window:
        raise _refusal(rental, "it is completed")
    before = select(func.count()).where(
        Rental.user_id == rental.user_id,
        Rental.state == RentalState.CANCELLED,
        Rental.started_at.is_not(None),
        Rental.closed_at > now - timedelta(days=1),
    )
    if (session.scalar(before) or 0) >= policy.cancels_a_day:
        raise _refusal(rental, f"{policy.cancels_a_day} were cancelled within a day")


def _refusal(rental: Rental, reason: str) -> RentalNotCancellable:
    return RentalNotCancellable(
        f"the rental cannot be cancelled: {reason}", rental_id=rental.id, reason=reason, state=rental.state
    )
