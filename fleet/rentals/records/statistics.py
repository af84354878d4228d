"""What a rider has done with the fleet, in figures."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Interval, and_, distinct, func, select, type_coerce
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.rentals.models import Rental, RentalState

#: A bank was given, and the rental is over.
_ENDED = (RentalState.COMPLETED, RentalState.BOUGHT_OUT, RentalState.DISPUTED)


@dataclass(frozen=True, slots=True)
class RiderStatistics:
    """Of rentals that are over and had a bank. `paid`: what is left after refunds, by currency."""

    rentals: int
    #: Brought back before they were overdue.
    in_time: int
    bought: int
    total_time: timedelta
    longest: timedelta
    #: At which banks were taken or given back.
    stations: int
    paid: tuple[Money, ...]


def of_rider(session: Session, user_id: UUID) -> RiderStatistics:
    mine = and_(Rental.user_id == user_id, Rental.state.in_(_ENDED), Rental.ended_at.is_not(None))
    took = type_coerce(Rental.ended_at - Rental.started_at, Interval)
    back = Rental.station_in_id.is_not(None)
    rentals, in_time, bought, total, longest = session.execute(
        select(
            func.count(),
            func.count().filter(back, Rental.ended_at <= Rental.overdue_at),
            func.count().filter(Rental.state == RentalState.BOUGHT_OUT),
            func.coalesce(func.sum(took), timedelta()),
            func.coalesce(func.max(took), timedelta()),
        ).where(mine)
    ).one()
    return RiderStatistics(
        rentals=rentals,
        in_time=in_time,
        bought=bought,
        total_time=total,
        longest=longest,
        stations=_stations(session, mine),
        paid=_paid(session, user_id),
    )


def _stations(session: Session, mine: ColumnElement[bool]) -> int:
    visited = (
        select(Rental.station_out_id.label("id"))
        .where(mine)
        .union(select(Rental.station_in_id).where(mine, Rental.station_in_id.is_not(None)))
        .subquery()
    )
    return session.scalar(select(func.count(distinct(visited.c.id)))) or 0


def _paid(session: Session, user_id: UUID) -> tuple[Money, ...]:
    query = (
        select(Rental.currency, func.sum(Rental.charged_minor))
        .where(Rental.user_id == user_id, Rental.charged_minor > 0)
        .group_by(Rental.currency)
        .order_by(Rental.currency)
    )
    return tuple(Money(int(amount), currency) for currency, amount in session.execute(query))
