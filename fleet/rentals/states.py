"""The only code that changes a rental's state: checked by the table, recorded, told to whoever waits."""

from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from fleet.common.asking import request_id
from fleet.common.notify import Channel, notify
from fleet.common.outbox import publish
from fleet.common.prepared import table_of, write_later
from fleet.rentals import rules
from fleet.rentals.events import RentalClosed, RentalOverdue, RentalStarted, RentalSwapped
from fleet.rentals.models import OPEN_STATES, Rental, RentalEvent, RentalState
from fleet.stations.models import StationSlot

Evidence = dict[str, Any]
_NOTE: Final = insert(table_of(RentalEvent)).inline()


def move(
    session: Session,
    rental: Rental,
    to: RentalState,
    *,
    why: str,
    evidence: Evidence,
    at: datetime,
    now: datetime,
    place: int | None = None,
) -> None:
    """`at`: when it happened; `now`: when it became known; `place`: the rider's place that a closed rental takes again.

    Raises IllegalTransition.
    """
    rules.check(rental.state, to)
    before, rental.state = rental.state, to
    if to not in OPEN_STATES:
        rental.open_place, rental.closed_at = None, rental.closed_at or now
    elif place is not None:
        rental.open_place, rental.closed_at, rental.failure_code = place, None, None
        rental.price_minor = rental.price_lines = None  # what it cost as long as it was thought over
    note(session, rental, before, why=why, evidence=evidence, at=at, now=now)
    if to is RentalState.ACTIVE:
        news = RentalStarted if rental.swapped_at is None else RentalSwapped
        publish(session, news(rental.id, rental.user_id), now)
    elif to is RentalState.OVERDUE:
        publish(session, RentalOverdue(rental.id, rental.user_id), now)
    elif to not in OPEN_STATES and not _is_about_a_dispute(before, to):
        publish(session, RentalClosed(rental.id, rental.user_id, to), now)


def _is_about_a_dispute(before: RentalState, to: RentalState) -> bool:
    """The rental is closed all the time, and disputes have events of their own."""
    return to is RentalState.DISPUTED or (before is RentalState.DISPUTED and to is not RentalState.EJECT_FAILED)


class Noted(Protocol):
    """What is recorded of a rental."""

    @property
    def id(self) -> UUID: ...

    @property
    def state(self) -> RentalState: ...


def note(
    session: Session,
    rental: Noted,
    before: RentalState | None,
    *,
    why: str,
    evidence: Evidence,
    at: datetime,
    now: datetime,
) -> None:
    """Record something about a rental whose state may have stayed, and wake whoever waits for it.

    `before` None: it is new, and nobody can wait for it yet. The request that somebody made is part of the evidence.
    """
    asked = request_id()
    if asked is not None:
        evidence = {"request": asked, **evidence}
    values = {
        "rental_id": rental.id, "from_state": before, "to_state": rental.state, "why": why, "evidence": evidence,
        "at": at, "recorded_at": now,
    }  # fmt: skip
    write_later(session, _NOTE, values, flush=before is None)
    if before is not None:
        notify(session, Channel.RENTAL, str(rental.id))


def unreserve(session: Session, rental: Rental) -> None:
    """Whoever comes next may have the slot, if it still waits for this rental."""
    session.execute(
        update(StationSlot)
        .where(
            StationSlot.station_id == rental.station_out_id,
            StationSlot.number == rental.slot_out,
            StationSlot.reserved_for == rental.id,
        )
        .values(reserved_for=None)
    )
