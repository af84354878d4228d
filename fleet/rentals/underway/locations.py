"""Positions that riders share while they have a bank: only when they say so, only then, and not for long."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.rentals.errors import LocationNotShared
from fleet.rentals.models import Rental
from fleet.rentals.queries import rental_of
from fleet.rentals.rules import RIDING
from fleet.rentals.underway.models import LocationSharing, RentalLocation

#: Positions in one request, and rows in one sweep.
POSITIONS_MAX: Final = 100
BATCH: Final = 10_000
#: A phone's clock may be ahead by so much.
_AHEAD: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Position:
    """Degrees (WGS 84), metres, and when by the phone's clock."""

    latitude: float
    longitude: float
    accuracy_m: float | None
    at: datetime


def share(session: Session, *, user_id: UUID, rental_id: UUID, on: bool, now: datetime) -> bool:
    """Allow to keep positions of this rental, or stop it: then those that are kept are deleted.

    Returns whether they are shared now. Raises RentalNotFound, LocationNotShared (allowed of a rental that is over).
    """
    rental = rental_of(session, user_id, rental_id)
    if not on:
        session.execute(delete(LocationSharing).where(LocationSharing.rental_id == rental_id))
        return False
    _must_ride(rental)
    session.execute(insert(LocationSharing).values(rental_id=rental_id, since=now).on_conflict_do_nothing())
    return True


def add(session: Session, *, user_id: UUID, rental_id: UUID, positions: Sequence[Position], now: datetime) -> int:
    """Keep positions since sharing began; one that is sent again is kept once. Returns how many are new.

    Raises RentalNotFound, LocationNotShared, InvalidInput (a time to come).
    """
    rental = rental_of(session, user_id, rental_id)
    _must_ride(rental)
    # Locked, so that no position comes after the rider said stop.
    query = select(LocationSharing.since).where(LocationSharing.rental_id == rental_id).with_for_update(read=True)
    since = session.scalar(query)
    if since is None:
        raise LocationNotShared("the rider has not allowed it", rental_id=rental_id, state=rental.state)
    if any(each.at > now + _AHEAD for each in positions):
        raise InvalidInput("a position from the future", field="at")
    rows = [
        {
            "rental_id": rental_id,
            "latitude": each.latitude,
            "longitude": each.longitude,
            "accuracy_m": each.accuracy_m,
            "at": min(each.at, now),
        }
        for each in positions
        if each.at >= since
    ]
    if not rows:
        return 0
    kept = insert(RentalLocation).values(rows).on_conflict_do_nothing().returning(RentalLocation.id)
    return len(session.scalars(kept).all())


def _must_ride(rental: Rental) -> None:
    if rental.state not in RIDING:
        raise LocationNotShared("the rider has no bank", rental_id=rental.id, state=rental.state)


def of_rental(session: Session, rental_id: UUID, limit: int = POSITIONS_MAX) -> list[Position]:
    """The newest ones, newest first."""
    query = select(RentalLocation).where(RentalLocation.rental_id == rental_id)
    rows = session.scalars(query.order_by(RentalLocation.at.desc()).limit(limit))
    return [Position(row.latitude, row.longitude, row.accuracy_m, row.at) for row in rows]


def forget(session: Session, now: datetime, keep: timedelta, limit: int = BATCH) -> int:
    """Delete what is older than `keep`; safe twice at once. Returns how many."""
    old = select(RentalLocation.id).where(RentalLocation.at < now - keep).order_by(RentalLocation.id).limit(limit)
    gone = delete(RentalLocation).where(RentalLocation.id.in_(old.with_for_update(skip_locked=True)))
    return len(session.scalars(gone.returning(RentalLocation.id)).all())
