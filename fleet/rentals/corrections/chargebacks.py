"""A rider disputed a rental's payment at their bank: the rental is DISPUTED until that is decided (decision 0197).

What is known of the payment decides, not which news came: they may come twice, late, and in any order.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.payments.disputes.models import CardDispute
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.providers.base import DisputeStatus
from fleet.rentals.agreement import closed_as
from fleet.rentals.corrections.models import DisputeState, RentalDispute
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.states import move

DISPUTED: Final = "payment_disputed"
#: A rental that ended, and was paid for.
_ENDED: Final = (RentalState.COMPLETED, RentalState.BOUGHT_OUT)


def follow(session: Session, rental_id: UUID, now: datetime) -> bool:
    """Bring the rental to what its payments' disputes are by now; True when that changed it. Again changes nothing."""
    rental = lock_rentals(session, [rental_id]).get(rental_id)
    if rental is None:
        return False
    query = (
        select(CardDispute)
        .join(PaymentIntent, PaymentIntent.id == CardDispute.intent_id)
        .where(PaymentIntent.rental_id == rental_id)
        .order_by(CardDispute.id)
        .execution_options(populate_existing=True)
    )
    found = list(session.scalars(query))
    open_ = [each for each in found if each.state is DisputeStatus.OPEN]
    if open_ and rental.state in _ENDED:
        evidence = {"payment_dispute": str(open_[-1].id), "reason": open_[-1].reason}
        move(session, rental, RentalState.DISPUTED, why=DISPUTED, evidence=evidence, at=now, now=now)
        return True
    if found and not open_ and rental.state is RentalState.DISPUTED and not _is_decided_here(session, rental):
        last = found[-1]
        to = closed_as(rental)
        evidence = {"payment_dispute": str(last.id)}
        move(session, rental, to, why=f"payment_dispute_{last.state}", evidence=evidence, at=now, now=now)
        return True
    return False


def _is_decided_here(session: Session, rental: Rental) -> bool:
    """The rider's own dispute of the price is open: an operator ends it (`disputes.decide`)."""
    query = select(RentalDispute.id).where(
        RentalDispute.rental_id == rental.id, RentalDispute.state == DisputeState.OPEN
    )
    return session.scalars(query).first() is not None


def is_open(session: Session, rental_id: UUID) -> bool:
    """Whether a bank has not decided yet about a payment for the rental."""
    query = (
        select(CardDispute.id)
        .join(PaymentIntent, PaymentIntent.id == CardDispute.intent_id)
        .where(PaymentIntent.rental_id == rental_id, CardDispute.state == DisputeStatus.OPEN)
    )
    return session.scalars(query).first() is not None
