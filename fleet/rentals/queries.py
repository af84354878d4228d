"""What riders and operators ask of rentals. Station codes and serials come with them (`station_out`, `power_bank`)."""

from datetime import datetime
from functools import cache
from uuid import UUID

from sqlalchemy import Select, Uuid, bindparam, select
from sqlalchemy.orm import Session, joinedload

from fleet.common.plans import PLANNED
from fleet.rentals.agreement import price_at, terms_of
from fleet.rentals.errors import RentalNotFound
from fleet.rentals.models import OPEN_STATES, Rental, RentalState
from fleet.rentals.pricing.price import Price, PriceLine, recorded


def _rentals() -> Select[Rental]:
    return (
        select(Rental)
        .options(joinedload(Rental.station_out), joinedload(Rental.station_in), joinedload(Rental.power_bank))
        .execution_options(populate_existing=True)
    )


@cache
def _of_rider() -> Select[Rental]:
    """Built once: every app asks it again and again."""
    asked = (Rental.id == bindparam("rental_id", type_=Uuid()), Rental.user_id == bindparam("user_id", type_=Uuid()))
    return _rentals().where(*asked).execution_options(**PLANNED)


def rental_of(session: Session, user_id: UUID, rental_id: UUID) -> Rental:
    """Raises RentalNotFound, also when it is another rider's."""
    rental = session.scalars(_of_rider(), {"rental_id": rental_id, "user_id": user_id}).one_or_none()
    if rental is None:
        raise RentalNotFound("no such rental", rental_id=rental_id)
    return rental


def rental_by_id(session: Session, rental_id: UUID) -> Rental:
    """For operators. Raises RentalNotFound."""
    rental = session.scalars(_rentals().where(Rental.id == rental_id)).one_or_none()
    if rental is None:
        raise RentalNotFound("no such rental", rental_id=rental_id)
    return rental


def current(session: Session, user_id: UUID) -> list[Rental]:
    """The rider's open rentals, oldest first."""
    query = _rentals().where(Rental.user_id == user_id, Rental.state.in_(OPEN_STATES)).order_by(Rental.id)
    return list(session.scalars(query))


def history(
    session: Session,
    user_id: UUID,
    limit: int,
    before: UUID | None = None,
    *,
    state: RentalState | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Rental]:
    """The rider's rentals, newest first, open ones too; `before` is the id of the last one seen.

    `since`, `until`: those that were asked for from then, and before then.
    """
    return find_rentals(session, limit=limit, before=before, user_id=user_id, state=state, since=since, until=until)


def find_rentals(
    session: Session,
    *,
    limit: int,
    before: UUID | None = None,
    user_id: UUID | None = None,
    state: RentalState | None = None,
    station_id: int | None = None,
    power_bank_id: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Rental]:
    """Newest first. `station_id`: where the bank left."""
    query = _rentals().order_by(Rental.id.desc()).limit(limit)
    for column, value in (
        (Rental.user_id, user_id),
        (Rental.state, state),
        (Rental.station_out_id, station_id),
        (Rental.power_bank_id, power_bank_id),
    ):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(Rental.id < before)
    if since is not None:
        query = query.where(Rental.requested_at >= since)
    if until is not None:
        query = query.where(Rental.requested_at < until)
    return list(session.scalars(query))


def price_now(rental: Rental, now: datetime) -> Price:
    """The final price of a closed rental; of an open one, what it would cost if the bank came back now."""
    if rental.price_minor is None:
        return price_at(rental, rental.closed_at or now)
    lines = tuple(PriceLine(**line) for line in rental.price_lines or [])
    return recorded(terms_of(rental), rental.price_minor, lines)
