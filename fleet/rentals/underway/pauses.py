"""Time of a rental that costs nothing. The rental is locked by the caller (`locking.lock_rentals`).

A pause stops the rental's clock: its price, and when it is overdue or bought out, follow at once (decision 0120).
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from fleet.rentals.agreement import set_due
from fleet.rentals.models import OPEN_STATES, Rental
from fleet.rentals.pricing.meter import instant
from fleet.rentals.states import note
from fleet.rentals.underway.models import PauseKind, RentalPause

PAUSED = "billing_paused"
RESUMED = "billing_resumed"
VOIDED = "pause_voided"


def running(session: Session, rental: Rental, kind: PauseKind, at: datetime) -> RentalPause | None:
    """The pause of this kind that holds at that time."""
    query = select(RentalPause).where(
        RentalPause.rental_id == rental.id,
        RentalPause.kind == kind,
        RentalPause.voided_at.is_(None),
        RentalPause.began_at <= at,
        or_(RentalPause.ends_at.is_(None), RentalPause.ends_at > at),
    )
    return session.scalars(query).one_or_none()


def begin(
    session: Session,
    rental: Rental,
    kind: PauseKind,
    *,
    at: datetime,
    until: datetime | None,
    by: UUID | None,
    now: datetime,
    reason: str | None = None,
) -> RentalPause:
    """Stop the clock from `at` on; `until` None: until the pause is ended. There is none of the kind at that time."""
    pause = RentalPause(
        rental_id=rental.id, kind=kind, began_at=at, ends_at=until, reason=reason, asked_by=by, created_at=now
    )
    session.add(pause)
    _follow(session, rental)
    _tell(session, rental, pause, PAUSED, at=at, now=now)
    return pause


def end(session: Session, rental: Rental, pause: RentalPause, *, at: datetime, now: datetime) -> None:
    """The clock goes on at `at`, which is brought after the pause's beginning; never later than was said before."""
    wanted = max(at, pause.began_at)
    pause.ends_at = wanted if pause.ends_at is None else min(wanted, pause.ends_at)
    _follow(session, rental)
    _tell(session, rental, pause, RESUMED, at=pause.ends_at, now=now)


def void(session: Session, rental: Rental, pause: RentalPause, *, why: str, now: datetime) -> None:
    """It was without cause: as if it had never been."""
    pause.voided_at, pause.voided_why = now, why
    _follow(session, rental)
    _tell(session, rental, pause, VOIDED, at=now, now=now)


def _follow(session: Session, rental: Rental) -> None:
    session.flush()  # what is read here must be what is written
    query = select(RentalPause.began_at, RentalPause.ends_at).where(
        RentalPause.rental_id == rental.id, RentalPause.voided_at.is_(None)
    )
    rows = session.execute(query.order_by(RentalPause.began_at, RentalPause.id)).all()
    rental.paused = [[instant(began), None if ends is None else instant(ends)] for began, ends in rows]
    if rental.started_at is not None and rental.state in OPEN_STATES:
        set_due(rental)


def _tell(session: Session, rental: Rental, pause: RentalPause, why: str, *, at: datetime, now: datetime) -> None:
    evidence = {
        "pause": str(pause.id),
        "kind": pause.kind,
        "from": pause.began_at.isoformat(),
        "until": None if pause.ends_at is None else pause.ends_at.isoformat(),
        "by": None if pause.asked_by is None else str(pause.asked_by),
        "reason": pause.voided_why or pause.reason,
    }
    note(session, rental, rental.state, why=why, evidence=evidence, at=at, now=now)
