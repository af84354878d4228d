"""What stands between a rider and a bank. Each check raises the error that the rider is shown."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments.wallets import Purse, open_wallet
from fleet.rentals.errors import (
    MoneyOwed,
    NoTariff,
    RiderNotActive,
    StationNotRenting,
    StationOffline,
    TooManyOpenRentals,
)
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts.queries import Known, Renting, Standing, look
from fleet.rentals.tariffs.queries import InForce, tariff_in_force
from fleet.stations.errors import StationNotFound
from fleet.stations.models import Station, StationStatus
from fleet.users.errors import AccountNeeded, GuestsNotAllowed
from fleet.users.models import UserStatus


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

    station: Renting
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
    known: Known | None = None,
) -> Admitted:
    """Every check before a bank is chosen. `tariff`: what was promised, instead of what holds now; `by_card`: a card
    stands for it; `known`: what `look` has found in this transaction, by the tariff that holds now.

    Raises StationNotFound, StationNotRenting, StationOffline, NoTariff, RiderNotActive, GuestsNotAllowed,
    AccountNeeded, TooManyOpenRentals, MoneyOwed.
    """
    currency = None if tariff is None else tariff.terms.currency
    known = known or look(session, user_id=user_id, station_code=station_code, now=now, currency=currency)
    station, tariff = known.station, tariff or known.tariff
    if station is None:
        raise StationNotFound(f"no station {station_code}", station=station_code)
    check_station(station, policy, now)
    if tariff is None:
        raise _no_tariff(station)
    if known.purse is None:
        open_wallet(session, user_id, tariff.terms.currency, now)
        known = look(session, user_id=user_id, station_code=station_code, now=now, currency=tariff.terms.currency)
    purse, rider = known.purse, known.rider
    assert purse is not None
    check_rider(rider)
    check_guest(rider, policy, by_card=by_card)
    place = free_place(rider, policy)
    check_debts(rider)
    return Admitted(station, tariff, purse, rider, place)


def check_station(station: Renting | Station, policy: RentalPolicy, now: datetime) -> None:
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
        raise _no_tariff(station)
    return tariff


def _no_tariff(station: Renting | Station) -> NoTariff:
    return NoTariff(f"station {station.code} has no tariff", station=station.code)
