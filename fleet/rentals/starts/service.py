"""The start of a rental: every check, the hold, the reservation and the order to the cabinet in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from fleet.common.money import Money
from fleet.db import new_id
from fleet.payments.holds import hold_from
from fleet.payments.wallets import lock_points
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.pricing.adjustments import Adjustment, Occasion, granted
from fleet.rentals.pricing.terms import TariffTerms
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts import checks, reservations
from fleet.rentals.starts.choices import choose
from fleet.rentals.starts.ejects import order_eject
from fleet.rentals.starts.payment_plans import BY_WALLET, PaymentPlan, Purses
from fleet.rentals.states import note
from fleet.rentals.tariffs import packages
from fleet.rentals.tariffs.models import PackageKind, RentalPackage
from fleet.rentals.tariffs.queries import InForce
from fleet.stations.models import Station


@dataclass(frozen=True, slots=True)
class Secured:
    """A card stands for the rental: nothing is held, and it goes by the tariff that the rider was shown."""

    intent_id: UUID
    tariff: InForce


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
) -> Rental:
    """An EJECTING rental whose order is on its way, its station and bank loaded. `slot` None: the best bank of the
    station; `rental_id`: the id it gets; `package_id` None: time costs what the tariff says; `plan`: what pays for it.

    Starts of one rider wait for each other on the wallet; starts for one bank only when no other
    bank is left, and one wins. Raises RiderNotActive, StationNotFound, StationNotRenting, StationOffline, NoTariff,
    TooManyOpenRentals, MoneyOwed, PackageNotFound, PackageTooDear, InsufficientFunds, NoBankAvailable,
    SlotNotAvailable.
    """
    promised = None if secured is None else secured.tariff
    admitted = checks.admit(
        session, user_id=user_id, station_code=station_code, policy=policy, now=now, tariff=promised
    )
    station, tariff, purse, rider = admitted.station, admitted.tariff, admitted.purse, admitted.rider
    points = None if plan.points_minor == 0 else lock_points(session, user_id, purse, now)
    package = None
    if package_id is not None:
        funds = plan.funds(purse.available_minor, 0 if points is None else points.available_minor)
        package = packages.chosen(session, package_id, purse.currency, funds, secured=secured is not None)
    rental_id = rental_id or new_id()
    chosen, bank = choose(session, station, slot, policy=policy, now=now, reserved_for=rider.reservation_id)
    kept_for = chosen.reserved_for
    if rider.reservation_id is not None:
        purse = reservations.free_fee(session, rider.reservation_id, station, purse, now)
    adjustments = granted(session, policy.sources, Occasion(user_id, station.id, tariff.terms, now, rental_id))
    money = to_hold(tariff.terms, package, adjustments, now)
    hold_id = set_aside(session, Purses(purse, points), rental_id, money, plan, now=now, by_card=secured is not None)
    rental = Rental(
        id=rental_id,
        user_id=user_id,
        state=RentalState.EJECTING,
        open_place=admitted.place,
        power_bank_id=bank.id,
        station_out_id=station.id,
        slot_out=chosen.number,
        charge_out_pct=bank.charge_pct,
        requested_at=now,
        hold_transfer_id=hold_id,
        pay=plan.mode,
        points_max_minor=plan.points_minor,
        intent_id=None if secured is None else secured.intent_id,
        request_id=request_id,
        **_frozen(tariff, station),
        adjustments=[each.to_json() for each in adjustments],
        package_id=package_id,
        prepaid=[] if package is None else [packages.bought(package).to_json()],
    )
    session.add(rental)
    session.flush()  # what follows refers to it
    if rider.reservation_id is not None:
        reservations.use(session, rider.reservation_id, rental, fetched=kept_for is not None, now=now)
    note(session, rental, None, why="requested", evidence={"request": request_id}, at=now, now=now)
    order_eject(session, rental, bank, chosen, policy=policy, now=now)
    session.flush()  # a refusal of the database belongs to this call, not to the commit
    for name, found in (("station_out", station), ("station_in", None), ("power_bank", bank)):
        set_committed_value(rental, name, found)
    return rental


def to_hold(
    terms: TariffTerms, package: RentalPackage | None, adjustments: Sequence[Adjustment], now: datetime
) -> Money:
    """What a start sets aside: the price of a prepaid package, else what the tariff says. Raises PackageTooDear."""
    if package is None:
        return terms.money(terms.hold_minor)
    due = packages.at_once(terms, (packages.bought(package),), adjustments, now)
    return terms.money(due if package.kind is PackageKind.PREPAID else terms.hold_minor)


def set_aside(
    session: Session,
    purses: Purses,
    rental_id: UUID,
    money: Money,
    plan: PaymentPlan,
    *,
    now: datetime,
    by_card: bool = False,
    key: str | None = None,
) -> UUID | None:
    """Hold `money` as the plan says: of the points first, the rest of the wallet unless a card stands for it.

    Returns the first hold; None: nothing was to be held. `key` tells an extension's from the start's. Raises
    InsufficientFunds: what was held so far goes with the caller's transaction.
    """
    by_points = plan.for_points(money.amount_minor, purses.points_minor)
    by_wallet = 0 if by_card else money.amount_minor - by_points
    first = None
    for purse, minor, name in ((purses.points, by_points, "points"), (purses.wallet, by_wallet, None)):
        if minor and purse is not None:
            names = ":".join(each for each in (key, name) if each) or None
            held = hold_from(session, purse, rental_id, Money(minor, money.currency), now, key=names)
            first = first or held.id
    return first


def _frozen(tariff: InForce, station: Station) -> dict[str, object]:
    """The tariff as it stands now, whatever becomes of it."""
    return {
        "tariff_id": tariff.tariff_id,
        "terms": tariff.terms.to_json(),
        "currency": tariff.terms.currency,
        "time_zone": station.time_zone,
    }
