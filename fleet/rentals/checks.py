"""What stands between a rider and a bank. Each check raises the error that the rider is shown."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.rentals.errors import (
    MoneyOwed,
    NoTariff,
    RiderNotActive,
    StationNotRenting,
    StationOffline,
    TooManyOpenRentals,
)
from fleet.rentals.models import OPEN_STATES, Rental
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.tariffs import InForce, tariff_in_force
from fleet.stations.models import Station, StationStatus
from fleet.users.models import User, UserStatus


def check_rider(session: Session, user_id: UUID) -> None:
    """An active account. Whoever signed in has proved their address. Raises RiderNotActive."""
    status = session.scalar(select(User.status).where(User.id == user_id))
    if status is not UserStatus.ACTIVE:
        raise RiderNotActive("this account cannot rent", status=status)


def check_debts(session: Session, user_id: UUID) -> None:
    """Raises MoneyOwed."""
    query = (
        select(Rental.currency, func.sum(Rental.due_minor))
        .where(Rental.user_id == user_id, Rental.due_minor > 0)
        .group_by(Rental.currency)
    )
    for currency, due in session.execute(query):
        raise MoneyOwed(
            f"{Money(int(due), currency)} of earlier rentals is owed", due_minor=int(due), currency=currency
        )


def free_place(session: Session, user_id: UUID, policy: RentalPolicy) -> int:
    """The lowest of the rider's places 1..n without an open rental. Raises TooManyOpenRentals."""
    taken = set(
        session.scalars(select(Rental.open_place).where(Rental.user_id == user_id, Rental.state.in_(OPEN_STATES)))
    )
    for place in range(1, policy.max_open_rentals + 1):
        if place not in taken:
            return place
    raise TooManyOpenRentals(
        f"{len(taken)} rentals are open, {policy.max_open_rentals} are allowed", limit=policy.max_open_rentals
    )


def check_station(station: Station, policy: RentalPolicy, now: datetime) -> None:
    """In use, connected and heard from lately. Raises StationNotRenting, StationOffline."""
    if station.status is not StationStatus.ACTIVE:
        raise StationNotRenting(f"station {station.code} is out of use", station=station.code, status=station.status)
    heard = station.last_heard_at
    if (
        not station.online
        or heard is None
        or now - heard > policy.silence_allowed(station.heartbeat_s, station.silent_after_s)
    ):
        raise StationOffline(f"station {station.code} is not connected", station=station.code)


def tariff_at(session: Session, station: Station, now: datetime) -> InForce:
    """Raises NoTariff."""
    tariff = tariff_in_force(session, station, now)
    if tariff is None:
        raise NoTariff(f"station {station.code} has no tariff", station=station.code)
    return tariff
