"""Operators stop a rental's clock, from any time since its start, and let it go on."""

from datetime import datetime

from sqlalchemy import or_, select

from fleet.common.errors import InvalidInput
from fleet.rentals.corrections.service import Act, locked, noted, snapshot
from fleet.rentals.errors import PauseOverlaps, RentalNotOpen
from fleet.rentals.models import Rental
from fleet.rentals.rules import RIDING
from fleet.rentals.underway import pauses
from fleet.rentals.underway.models import PauseKind, RentalPause


def pause_billing(act: Act, *, since: datetime | None = None, until: datetime | None = None) -> Rental:
    """From `since` (now) until `until` (None: until it is resumed) nothing is charged. The same again changes nothing.

    Raises RentalNotFound, RentalNotOpen, InvalidInput, PauseOverlaps (with another pause by operators).
    """
    rental = _riding(act)
    since = since or act.now
    assert rental.started_at is not None
    if not rental.started_at <= since <= act.now:
        raise InvalidInput("between the start of the rental and now", field="since")
    if until is not None and until <= since:
        raise InvalidInput("after the pause began", field="until")
    overlapping = select(RentalPause).where(
        RentalPause.rental_id == rental.id,
        RentalPause.kind == PauseKind.OPERATOR,
        RentalPause.voided_at.is_(None),
        or_(RentalPause.ends_at.is_(None), RentalPause.ends_at > since),
    )
    if until is not None:
        overlapping = overlapping.where(RentalPause.began_at < until)
    for other in act.session.scalars(overlapping):
        if other.began_at <= since and other.ends_at == until:
            return rental
        raise PauseOverlaps("billing is paused in a part of that time", since=other.began_at.isoformat())
    before = snapshot(act.session, rental)
    pauses.begin(
        act.session,
        rental,
        PauseKind.OPERATOR,
        at=since,
        until=until,
        by=act.actor.user_id,
        now=act.now,
        reason=act.reason,
    )
    return noted(act, rental, "rental.pause_billing", before)


def resume_billing(act: Act) -> Rental:
    """What operators paused goes on now; when nothing is paused, nothing changes.

    Raises RentalNotFound, RentalNotOpen.
    """
    rental = _riding(act)
    pause = pauses.running(act.session, rental, PauseKind.OPERATOR, act.now)
    if pause is None:
        return rental
    before = snapshot(act.session, rental)
    pauses.end(act.session, rental, pause, at=act.now, now=act.now)
    return noted(act, rental, "rental.resume_billing", before)


def _riding(act: Act) -> Rental:
    rental = locked(act.session, act.rental_id)
    if rental.state not in RIDING:
        raise RentalNotOpen(f"the rental is {rental.state}", rental_id=rental.id, state=rental.state)
    return rental
