"""A rider does not agree with what a rental cost: DISPUTED until an operator has decided, once (decision 0147)."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.money import Money
from fleet.common.outbox import publish
from fleet.rentals.agreement import closed_as
from fleet.rentals.closing.charges import reduce_price
from fleet.rentals.corrections import chargebacks
from fleet.rentals.corrections.models import DisputeReason, DisputeState, RentalDispute
from fleet.rentals.corrections.service import Act, locked, noted, snapshot
from fleet.rentals.errors import DisputeDecided, DisputeNotFound, DisputeTooLate, NothingToDispute, RentalNotClosed
from fleet.rentals.events import DisputeSettled, RentalDisputed
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.queries import rental_of
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.states import move

#: A rental that ended, and was paid for.
_DISPUTABLE: Final = (RentalState.COMPLETED, RentalState.BOUGHT_OUT)


def open_dispute(
    session: Session,
    *,
    user_id: UUID,
    rental_id: UUID,
    reason: DisputeReason,
    note: str | None,
    policy: RentalPolicy,
    now: datetime,
) -> RentalDispute:
    """While it is open, the same again is the same dispute: the first words stand.

    Raises RentalNotFound, DisputeDecided, RentalNotClosed, NothingToDispute, DisputeTooLate.
    """
    rental_of(session, user_id, rental_id)
    rental = locked(session, rental_id)
    before = _of(session, rental_id)
    if before is not None:
        if before.state is not DisputeState.OPEN:
            raise DisputeDecided("it was decided already", rental_id=rental_id, state=before.state)
        return before
    _must_be_disputable(rental, policy, now)
    dispute = RentalDispute(
        rental_id=rental_id,
        user_id=user_id,
        reason=reason,
        note=note,
        state=DisputeState.OPEN,
        rental_state=rental.state,
        opened_at=now,
    )
    session.add(dispute)
    session.flush()  # its id goes into what is told of it
    evidence = {"dispute": str(dispute.id), "reason": reason, "user": str(user_id)}
    move(session, rental, RentalState.DISPUTED, why="disputed", evidence=evidence, at=now, now=now)
    publish(session, RentalDisputed(dispute.id, rental_id, user_id, reason), now)
    return dispute


def _must_be_disputable(rental: Rental, policy: RentalPolicy, now: datetime) -> None:
    if rental.state not in _DISPUTABLE or rental.closed_at is None:
        raise RentalNotClosed(f"the rental is {rental.state}", rental_id=rental.id, state=rental.state)
    if not rental.price_minor:
        raise NothingToDispute("the rental cost nothing", rental_id=rental.id)
    if now - rental.closed_at > policy.dispute_within:
        days = policy.dispute_within.days
        raise DisputeTooLate(f"a rental may be disputed for {days} days", rental_id=rental.id, days=days)


def dispute_of(session: Session, user_id: UUID, rental_id: UUID) -> RentalDispute:
    """The rider's dispute of one rental. Raises RentalNotFound, DisputeNotFound."""
    rental_of(session, user_id, rental_id)
    found = _of(session, rental_id)
    if found is None:
        raise DisputeNotFound("the rental is not disputed", rental_id=rental_id)
    return found


def page(
    session: Session, state: DisputeState | None, limit: int, before: UUID | None = None
) -> list[tuple[RentalDispute, str]]:
    """For operators, newest first, each with its currency."""
    query = (
        select(RentalDispute, Rental.currency)
        .join(Rental, Rental.id == RentalDispute.rental_id)
        .order_by(RentalDispute.id.desc())
        .limit(limit)
    )
    if state is not None:
        query = query.where(RentalDispute.state == state)
    if before is not None:
        query = query.where(RentalDispute.id < before)
    return [(dispute, currency) for dispute, currency in session.execute(query)]


def decide(act: Act, refund_minor: int | None) -> RentalDispute:
    """Make the rental cheaper by `refund_minor` (None: by all of it; 0: not at all), and close the dispute.

    What it costs by then counts: evidence may have made it cheaper meanwhile. Raises RentalNotFound, DisputeNotFound,
    DisputeDecided, InvalidInput (more than it costs, or negative).
    """
    rental = locked(act.session, act.rental_id)
    dispute = _of(act.session, act.rental_id)
    if dispute is None:
        raise DisputeNotFound("the rental is not disputed", rental_id=act.rental_id)
    if dispute.state is not DisputeState.OPEN:
        raise DisputeDecided("it was decided already", rental_id=act.rental_id, state=dispute.state)
    price = rental.price_minor or 0
    refund = price if refund_minor is None else refund_minor
    if not 0 <= refund <= price:
        raise InvalidInput(f"the rental costs {Money(price, rental.currency)}", field="amount_minor")
    before = snapshot(act.session, rental)
    dispute.state = _state(refund, price)
    dispute.decided_at, dispute.decided_by = act.now, act.actor.user_id
    dispute.decision, dispute.refund_minor = act.reason[:300], refund
    if refund:
        text = f"Refund after a dispute: {act.reason}"
        reduce_price(act.session, rental, refund, text=text, key=f"dispute:{dispute.id}", now=act.now)
    _close(act, rental, dispute)
    noted(act, rental, "rental.decide_dispute", before)
    return dispute


def _state(refund: int, price: int) -> DisputeState:
    if refund == 0:
        return DisputeState.REJECTED
    return DisputeState.REFUNDED if refund == price else DisputeState.PARTLY_REFUNDED


def _close(act: Act, rental: Rental, dispute: RentalDispute) -> None:
    """The rental is what it was, unless evidence has made something else of it, or its payment is disputed too."""
    refund = dispute.refund_minor or 0
    evidence = {**act.evidence, "dispute": str(dispute.id), "refund_minor": refund}
    if rental.state is RentalState.DISPUTED and not chargebacks.is_open(act.session, rental.id):
        to = closed_as(rental)
        why = f"dispute_{dispute.state}"
        move(act.session, rental, to, why=why, evidence=evidence, at=act.now, now=act.now)
    settled = DisputeSettled(dispute.id, rental.id, rental.user_id, dispute.state, refund, rental.currency)
    publish(act.session, settled, act.now)


def _of(session: Session, rental_id: UUID) -> RentalDispute | None:
    query = select(RentalDispute).where(RentalDispute.rental_id == rental_id)
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()
