"""A rider changes their mind before the cabinet has the order."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.devices.commands import cancel_command
from fleet.rentals.closing import give_up
from fleet.rentals.ejects import last_eject
from fleet.rentals.errors import RentalNotCancellable
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.queries import rental_of
from fleet.rentals.rules import RentalPolicy


def cancel(session: Session, *, user_id: UUID, rental_id: UUID, now: datetime, policy: RentalPolicy) -> Rental:
    """Only while the order is still queued: one that is out may move a bank. Again changes nothing.

    Raises RentalNotFound, RentalNotCancellable.
    """
    del policy  # the order's state decides, no limit of ours
    rental_of(session, user_id, rental_id)
    rental = lock_rentals(session, [rental_id])[rental_id]
    if rental.state is RentalState.CANCELLED:
        return rental_of(session, user_id, rental_id)
    command = last_eject(session, rental_id)
    taken_back = rental.state is RentalState.EJECTING and (command is None or cancel_command(session, command.id, now))
    if not taken_back:
        raise RentalNotCancellable(
            "the cabinet has the order already" if rental.state is RentalState.EJECTING else f"it is {rental.state}",
            rental_id=rental_id,
            state=rental.state,
        )
    give_up(
        session,
        rental,
        to=RentalState.CANCELLED,
        why="cancelled_by_rider",
        code=None,
        evidence={"user": str(user_id)},
        at=now,
        now=now,
    )
    session.flush()  # the answer is read back
    return rental_of(session, user_id, rental_id)
