"""The start of a rental: every check, the hold, the reservation and the order to the cabinet in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from fleet.common.roundtrips import flush_later
from fleet.db import new_id
from fleet.payments.wallets import lock_points
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.pricing.adjustments import Adjustment, Occasion, granted
from fleet.rentals.pricing.terms import TariffTerms
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts import checks, guests, reservations
from fleet.rentals.starts.choices import choose
from fleet.rentals.starts.ejects import order_eject
from fleet.rentals.starts.payment_plans import BY_WALLET, PaymentPlan, Purses
from fleet.rentals.starts.securities import set_aside, to_hold
from fleet.rentals.states import note
from fleet.rentals.tariffs import packages
from fleet.rentals.tariffs.models import RentalPackage
from fleet.rentals.tariffs.queries import InForce
from fleet.stations.models import PowerBank, Station, StationSlot


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
) -> Rental:
    """An EJECTING rental whose order is on its way, its station and bank loaded. `slot` None: the best bank of the
    station; `rental_id`: the id it gets; `package_id` None: time costs what the tariff says; `plan`: what pays for it.

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
    )
    if admitted.rider.guest and secured is not None:
        guests.hold_card(session, user_id, secured.method_id)
    station, reservation_id = admitted.station, admitted.rider.reservation_id
    points = None if plan.points_minor == 0 else lock_points(session, user_id, admitted.purse, now)
    purses = Purses(admitted.purse, points)
    package = None if package_id is None else _package(session, package_id, purses, plan, secured=secured is not None)
    chosen, bank = choose(session, station, slot, policy=policy, now=now, reserved_for=reservation_id)
    if reservation_id is not None:
        purses = reservations.free_fee(session, reservation_id, station, purses, now)
    rental = Rental(
        id=rental_id or new_id(),
        user_id=user_id,
        state=RentalState.EJECTING,
        open_place=admitted.place,
        power_bank_id=bank.id,
        station_out_id=station.id,
        slot_out=chosen.number,
        charge_out_pct=bank.charge_pct,
        requested_at=now,
        pay=plan.mode,
        points_max_minor=plan.points_minor,
        intent_id=None if secured is None else secured.intent_id,
        request_id=request_id,
        **_frozen(admitted.tariff, station),
    )
    terms = admitted.tariff.terms
    occasion = Occasion(user_id, station.id, terms, now, rental.id, subscribed=admitted.rider.subscribed)
    adjustments = granted(session, policy.sources, occasion)
    _secure(session, rental, terms, purses, adjustments, package=package, plan=plan)
    _begin(session, rental, bank, chosen, reservation_id, policy=policy, now=now)
    for name, found in (("station_out", station), ("station_in", None), ("power_bank", bank)):
        set_committed_value(rental, name, found)
    return rental


def _package(session: Session, package_id: UUID, purses: Purses, plan: PaymentPlan, *, secured: bool) -> RentalPackage:
    """Raises PackageNotFound, InsufficientFunds."""
    funds = plan.funds(purses.wallet.available_minor, purses.points_minor)
    return packages.chosen(session, package_id, purses.wallet.currency, funds, secured=secured)


def _secure(
    session: Session,
    rental: Rental,
    terms: TariffTerms,
    purses: Purses,
    adjustments: Sequence[Adjustment],
    *,
    package: RentalPackage | None,
    plan: PaymentPlan,
) -> None:
    """What the rider is granted, what they buy with it, and what is held for both. Raises PackageTooDear,
    InsufficientFunds.
    """
    now = rental.requested_at
    money = to_hold(terms, package, adjustments, now)
    by_card = rental.intent_id is not None
    rental.hold_transfer_id = set_aside(session, purses, rental.id, money, plan, now=now, by_card=by_card)
    rental.adjustments = [each.to_json() for each in adjustments]
    rental.package_id = None if package is None else package.id
    rental.prepaid = [] if package is None else [packages.bought(package).to_json()]


def _begin(
    session: Session,
    rental: Rental,
    bank: PowerBank,
    slot: StationSlot,
    reservation_id: UUID | None,
    *,
    policy: RentalPolicy,
    now: datetime,
) -> None:
    """The rental is written, and its order given."""
    fetched = slot.reserved_for is not None
    session.add(rental)
    flush_later(session)  # what follows refers to it
    if reservation_id is not None:
        reservations.use(session, reservation_id, rental, fetched=fetched, now=now)
    note(session, rental, None, why="requested", evidence={"request": rental.request_id}, at=now, now=now)
    order_eject(session, rental, bank, slot, policy=policy, now=now)
    session.flush()  # a refusal of the database belongs to this call, not to the commit


def _frozen(tariff: InForce, station: Station) -> dict[str, object]:
    """The tariff as it stands now, whatever becomes of it."""
    return {
        "tariff_id": tariff.tariff_id,
        "terms": tariff.terms.to_json(),
        "currency": tariff.terms.currency,
        "time_zone": station.time_zone,
    }
