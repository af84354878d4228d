"""What riders report of their rentals, for operators to look at."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

from fleet.common.outbox import publish
from fleet.db import new_id
from fleet.rentals.errors import IssueNotFound
from fleet.rentals.events import RentalIssueReported
from fleet.rentals.models import Rental
from fleet.rentals.queries import rental_of
from fleet.rentals.underway.models import IssueKind, IssueState, RentalIssue


def report(
    session: Session,
    *,
    user_id: UUID,
    rental_id: UUID,
    kind: IssueKind,
    note: str | None,
    now: datetime,
    station_id: int | None = None,
) -> RentalIssue:
    """While one of this kind is open, it is the same report: the first one stands. Raises RentalNotFound."""
    return noted(session, rental_of(session, user_id, rental_id), kind, note, now, station_id=station_id)


def noted(
    session: Session, rental: Rental, kind: IssueKind, note: str | None, now: datetime, *, station_id: int | None = None
) -> RentalIssue:
    """As `report`, for a rental that is known to be the rider's."""
    issue_id = session.scalar(
        insert(RentalIssue)
        .values(
            id=new_id(),
            rental_id=rental.id,
            user_id=rental.user_id,
            kind=kind,
            station_id=station_id,
            note=note,
            state=IssueState.OPEN,
            reported_at=now,
        )
        .on_conflict_do_nothing()
        .returning(RentalIssue.id)
    )
    if issue_id is not None:
        publish(session, RentalIssueReported(issue_id, rental.id, rental.user_id, kind), now)
    query = select(RentalIssue).where(
        RentalIssue.rental_id == rental.id, RentalIssue.kind == kind, RentalIssue.state == IssueState.OPEN
    )
    return session.scalars(query.options(joinedload(RentalIssue.station))).one()


def of_rental(session: Session, user_id: UUID, rental_id: UUID) -> list[RentalIssue]:
    """The rider's reports of one rental, oldest first. Raises RentalNotFound."""
    rental_of(session, user_id, rental_id)
    query = select(RentalIssue).where(RentalIssue.rental_id == rental_id).order_by(RentalIssue.id)
    return list(session.scalars(query.options(joinedload(RentalIssue.station))))


def page(session: Session, state: IssueState | None, limit: int, before: UUID | None = None) -> list[RentalIssue]:
    """Newest first."""
    query = select(RentalIssue).order_by(RentalIssue.id.desc()).limit(limit)
    if state is not None:
        query = query.where(RentalIssue.state == state)
    if before is not None:
        query = query.where(RentalIssue.id < before)
    return list(session.scalars(query.options(joinedload(RentalIssue.station))))


def resolve(session: Session, issue_id: UUID, resolution: str, now: datetime) -> RentalIssue:
    """An operator has looked; again, the first resolution stands. Raises IssueNotFound."""
    query = select(RentalIssue).where(RentalIssue.id == issue_id).with_for_update(of=RentalIssue)
    query = query.options(joinedload(RentalIssue.station)).execution_options(populate_existing=True)
    issue = session.scalars(query).one_or_none()
    if issue is None:
        raise IssueNotFound("no such report", issue_id=issue_id)
    if issue.state is IssueState.OPEN:
        issue.state, issue.resolved_at, issue.resolution = IssueState.RESOLVED, now, resolution[:300]
    return issue
