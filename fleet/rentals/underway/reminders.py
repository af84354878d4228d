"""Riders are told a little before their rental is due."""

from datetime import datetime

from sqlalchemy import Interval, literal, or_, select
from sqlalchemy.orm import Session

from fleet.common.outbox import publish
from fleet.rentals.events import RentalDueSoon
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.states import note

_BATCH = 200


def sweep_reminders(session: Session, now: datetime, policy: RentalPolicy) -> int:
    """Once per due time; again when an extension or a pause has put it off by more than `policy.remind_before`.

    Nobody is reminded of a rental that is shorter than that as a whole. Returns how many were. Rows that another
    transaction holds are left to the next sweep.
    """
    early = policy.remind_before
    span = literal(early, Interval)
    query = (
        select(Rental)
        .where(
            Rental.state == RentalState.ACTIVE,
            Rental.overdue_at > now,
            Rental.overdue_at <= now + early,
            Rental.overdue_at > Rental.started_at + span,
            or_(Rental.reminded_of.is_(None), Rental.reminded_of < Rental.overdue_at - span),
        )
        .order_by(Rental.overdue_at)
        .limit(_BATCH)
        .with_for_update(skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    )
    found = session.scalars(query).all()
    for rental in found:
        assert rental.overdue_at is not None
        rental.reminded_of = rental.overdue_at
        publish(session, RentalDueSoon(rental.id, rental.user_id, rental.overdue_at), now)
        evidence = {"sweep": "reminders", "due": rental.overdue_at.isoformat()}
        note(session, rental, rental.state, why="reminded", evidence=evidence, at=now, now=now)
    session.flush()  # what the database refuses must fail here
    return len(found)
