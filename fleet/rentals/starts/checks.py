"""What stands between a rider and a bank. Each check raises the error that the rider is shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Select, Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.common.plans import PLANNED
from fleet.payments.wallets import Purse, lock_purse
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
from fleet.rentals.starts.models import Reservation, ReservationState
from fleet.rentals.tariffs.queries import InForce, tariff_in_force
from fleet.stations.models import Station, StationStatus
from fleet.stations.queries import find_station
from fleet.subscriptions import benefits
from fleet.users.errors import AccountNeeded, GuestsNotAllowed
from fleet.users.models import User, UserStatus


@dataclass(frozen=True, slots=True)
class Standing:
    """A rider as a start sees them. `owed`: minor units of earlier rentals by currency."""

    status: UserStatus | None
    places_taken: frozenset[int]
    owed: Mapping[str, int]
    #: A bank is kept for the rider.
    reservation_id: UUID | None = None
    subscribed: bool = False
    #: Without an account.
    guest: bool = False


def standing_of(session: Session, user_id: UUID) -> Standing:
    """One statement. Whoever starts a rental holds the lock of the wallet first."""
    row = session.execute(_STANDING, {"user_id": user_id}).one_or_none()
    if row is None:
        return Standing(None, frozenset(), {})
    status, guest, places, owed, reservation_id, subscribed = row
    return Standing(status, frozenset(places or ()), owed or {}, reservation_id, subscribed, guest)


def _standing() -> Select[UserStatus, bool, list[int] | None, dict[str, int] | None, UUID | None, bool]:
    user_id = bindparam("user_id", type_=Uuid())
    open_places = select(func.array_agg(Rental.open_place)).where(
        Rental.user_id == user_id, Rental.state.in_(OPEN_STATES)
    )
    due = (
        select(Rental.currency, func.sum(Rental.due_minor).label("due"))
        .where(Rental.user_id == user_id, Rental.due_minor > 0)
        .group_by(Rental.currency)
        .subquery()
    )
    owed = select(func.jsonb_object_agg(due.c.currency, due.c.due, type_=JSONB)).select_from(due)
    kept = select(Reservation.id).where(Reservation.user_id == user_id, Reservation.state == ReservationState.ACTIVE)
    parts = (
        open_places.scalar_subquery(), owed.scalar_subquery(), kept.scalar_subquery(), benefits.subscribed(user_id)
    )  # fmt: skip
    return select(User.status, User.guest, *parts).where(User.id == user_id)


#: Built once: every start and quote asks it.
_STANDING: Final = _standing().execution_options(**PLANNED)


def check_rider(rider: Standing) -> None:
    """An active account. Whoever signed in has proved their address, but for guests. Raises RiderNotActive."""
    if rider.status is not UserStatus.ACTIVE:
        raise RiderNotActive("this account cannot rent", status=rider.status)


def check_guest(rider: Standing, policy: RentalPolicy, *, by_card: bool) -> None:
    """Who has no account has one bank at a time, and a card stands for it. Raises GuestsNotAllowed, AccountNeeded,
    TooManyOpenRentals.
    """
    if not rider.guest:
        return
    if not policy.guests_allowed:
        raise GuestsNotAllowed("guests cannot rent here any more: sign up with a phone or an e-mail address")
    if not by_card:
        raise AccountNeeded("a guest rents with a card that stands for it; all else takes an account")
    if rider.places_taken:
        raise TooManyOpenRentals("a guest has one rental at a time", limit=1)


def check_debts(rider: Standing) -> None:
    """Raises MoneyOwed."""
    for currency, due in rider.owed.items():
        raise MoneyOwed(
            f"{Money(int(due), currency)} of earlier rentals is owed: pay it to rent again",
            due_minor=int(due),
            currency=currency,
        )


def free_place(rider: Standing, policy: RentalPolicy) -> int:
    """The lowest of the rider's places 1..n without an open rental. Raises TooManyOpenRentals."""
    for place in range(1, policy.max_open_rentals + 1):
        if place not in rider.places_taken:
            return place
    raise TooManyOpenRentals(
        f"{len(rider.places_taken)} of {policy.max_open_rentals} rentals that may be open at once",
        limit=policy.max_open_rentals,
    )


@dataclass(frozen=True, slots=True)
class Admitted:
    """A rider whom nothing keeps from a bank of the station, as far as rules go; the purse is locked."""

    station: Station
    tariff: InForce
    purse: Purse
    rider: Standing
    #: Which of the rider's allowed open rentals the next one is.
    place: int


def admit(
    session: Session,
    *,
    user_id: UUID,
    station_code: str,
    policy: RentalPolicy,
    now: datetime,
    tariff: InForce | None = None,
    by_card: bool = False,
) -> Admitted:
    """Every check before a bank is chosen. `tariff`: what was promised, instead of what holds now; `by_card`: a card
    stands for it.

    Raises StationNotFound, StationNotRenting, StationOffline, NoTariff, RiderNotActive, GuestsNotAllowed,
    AccountNeeded, TooManyOpenRentals, MoneyOwed.
    """
    station = find_station(session, station_code)
    check_station(station, policy, now)
    tariff = tariff or tariff_at(session, station, now)
    purse = lock_purse(session, user_id, tariff.terms.currency, now)
    rider = standing_of(session, user_id)  # under the lock: what other starts of the rider did is seen
    check_rider(rider)
    check_guest(rider, policy, by_card=by_card)
    place = free_place(rider, policy)
    check_debts(rider)
    return Admitted(station, tariff, purse, rider, place)


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
