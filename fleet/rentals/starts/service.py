"""The start of a rental: every check, the hold, the reservation and the order to the cabinet in one transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.orm import Session

from fleet.common.prepared import table_of, write_later
from fleet.db import new_id
from fleet.payments.wallets import lock_points
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.pricing.adjustments import Occasion, granted
from fleet.rentals.queries import NEW, Shown
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts import checks, guests, reservations
from fleet.rentals.starts.checks import Admitted
from fleet.rentals.starts.choices import choose
from fleet.rentals.starts.ejects import order_eject
from fleet.rentals.starts.payment_plans import BY_WALLET, PaymentPlan, Purses
from fleet.rentals.starts.queries import Known
from fleet.rentals.starts.securities import set_aside, to_hold
from fleet.rentals.states import note
from fleet.rentals.tariffs import packages
from fleet.rentals.tariffs.models import RentalPackage
from fleet.rentals.tariffs.queries import InForce
from fleet.stations.availability import Offer


@dataclass(frozen=True, slots=True)
class Secured:
    """A card stands for the rental: nothing is held, and it goes by the tariff that the rider was shown."""

    intent_id: UUID
    tariff: InForce
    #: The card, if it is saved.
    method_id: UUID | None = None


def start(
    session: Session,
    *,
    user_id: UUID,
    station_code: str,
    slot: int | None,
    now: datetime,
    policy: RentalPolicy,
    request_id: str | None = None,
    rental_id: UUID | None = None,
    package_id: UUID | None = None,
    secured: Secured | None = None,
    plan: PaymentPlan = BY_WALLET,
    known: Known | None = None,
) -> Shown:
    """An EJECTING rental whose order is on its way; its rows go with the session's next statement, or its commit.

    `slot` None: the best bank of the station; `rental_id`: the id it gets, which no other has; `package_id` None: time
    costs what the tariff says; `plan`: what pays for it; `known`: what `queries.look` has found in this transaction.

    Starts of one rider wait for each other on the wallet; starts for one bank only when no other
    bank is left, and one wins. Raises RiderNotActive, StationNotFound, StationNotRenting, StationOffline, NoTariff,
    TooManyOpenRentals, MoneyOwed, PackageNotFound, PackageTooDear, InsufficientFunds, NoBankAvailable,
    SlotNotAvailable; of guests GuestsNotAllowed, AccountNeeded, PaymentMethodNotFound.
    """
    admitted = checks.admit(
        session,
        user_id=user_id,
        station_code=station_code,
        policy=policy,
        now=now,
        tariff=None if secured is None else secured.tariff,
        by_card=secured is not None,
        known=known,
    )
    if admitted.rider.guest and secured is not None:
        guests.hold_card(session, user_id, secured.method_id)
    station, reservation_id = admitted.station, admitted.rider.reservation_id
    points = None if plan.points_minor == 0 else lock_points(session, user_id, admitted.purse, now)
    purses = Purses(admitted.purse, points)
    package = None if package_id is None else _package(session, package_id, purses, plan, secured=secured is not None)
    offer = choose(session, station, slot, policy=policy, now=now, reserved_for=reservation_id)
    if reservation_id is not None:
        purses = reservations.free_fee(session, reservation_id, station, purses, now)
    rental_id = rental_id or new_id()
    terms = admitted.tariff.terms
    occasion = Occasion(user_id, station.id, terms, now, rental_id, subscribed=admitted.rider.subscribed)
    adjustments = granted(session, policy.sources, occasion)
    money = to_hold(terms, package, adjustments, now)
    held = set_aside(session, purses, rental_id, money, plan, now=now, by_card=secured is not None)
    bought = [] if package is None else [packages.bought(package).to_json()]
    rental = _write(
        session, admitted, offer, id=rental_id, user_id=user_id, requested_at=now, request_id=request_id,
        pay=plan.mode, points_max_minor=plan.points_minor, hold_transfer_id=held,
        intent_id=None if secured is None else secured.intent_id, package_id=package_id, prepaid=bought,
        adjustments=[each.to_json() for each in adjustments],
    )  # fmt: skip
    if reservation_id is not None:
        fetched = offer.reserved_for is not None
        reservations.use(session, reservation_id, rental, fetched=fetched, now=now)
    note(session, rental, None, why="requested", evidence={"request": request_id}, at=now, now=now)
    order_eject(session, rental, offer, policy=policy, now=now)
    return rental


def _package(session: Session, package_id: UUID, purses: Purses, plan: PaymentPlan, *, secured: bool) -> RentalPackage:
    """Raises PackageNotFound, InsufficientFunds."""
    funds = plan.funds(purses.wallet.available_minor, purses.points_minor)
    return packages.chosen(session, package_id, purses.wallet.currency, funds, secured=secured)


_RENTAL: Final = insert(table_of(Rental)).inline()


def _write(session: Session, admitted: Admitted, offer: Offer, **values: Any) -> Shown:
    """The rental's row. The wallet and the slot are locked, so the database can refuse it only because of a bug."""
    station, tariff = admitted.station, admitted.tariff
    values |= {
        "state": RentalState.EJECTING, "open_place": admitted.place, "station_out_id": station.id,
        "slot_out": offer.number, "power_bank_id": offer.bank_id, "charge_out_pct": offer.charge_pct, "paused": [],
        # The tariff as it stands now, whatever becomes of it.
        "tariff_id": tariff.tariff_id, "terms": tariff.terms.to_json(), "currency": tariff.terms.currency,
        "time_zone": station.time_zone,
    }  # fmt: skip
    write_later(session, _RENTAL, values)
    shown = {name: values[name] for name in NEW}
    return Shown(station_out=station.code, power_bank=offer.serial, **shown)
