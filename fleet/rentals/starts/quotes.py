"""What a rental from a station would cost, and whether it could start now. Locks nothing, promises nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.errors import FleetError
from fleet.common.money import Money
from fleet.payments.errors import InsufficientFunds
from fleet.payments.wallets import points_balance, wallet_balance
from fleet.rentals.errors import NoBankAvailable
from fleet.rentals.models import PayMode
from fleet.rentals.pricing.adjustments import Adjustment, Occasion, granted
from fleet.rentals.pricing.example import example
from fleet.rentals.pricing.price import Price
from fleet.rentals.pricing.terms import TariffTerms
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts import checks
from fleet.rentals.starts.payment_plans import BY_WALLET, PaymentPlan
from fleet.rentals.starts.queries import Standing, standing_of
from fleet.rentals.starts.securities import to_hold
from fleet.rentals.tariffs import packages
from fleet.rentals.tariffs.models import RentalPackage
from fleet.stations.availability import best_bank
from fleet.stations.models import Station
from fleet.stations.queries import find_station

#: How long a quote's example lasts when nobody says.
EXAMPLE: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Quote:
    """`reason`: the code of the error that a start would raise now; None when nothing stands in the way."""

    station: Station
    terms: TariffTerms
    #: What a rental costs that begins now and lasts for `duration`, with what the rider is granted.
    price: Price
    duration: timedelta
    available: Money
    #: What the rider has of points money, and what a start would set aside of each purse.
    points: Money
    hold_points: Money
    hold_wallet: Money
    hold_card: Money
    reason: str | None
    #: Of the bank that would be chosen.
    charge_pct: int | None

    @property
    def can_start(self) -> bool:
        return self.reason is None


def quote(
    session: Session,
    *,
    user_id: UUID,
    station_code: str,
    now: datetime,
    policy: RentalPolicy,
    duration: timedelta = EXAMPLE,
    package_id: UUID | None = None,
    plan: PaymentPlan = BY_WALLET,
) -> Quote:
    """Raises StationNotFound, NoTariff and PackageNotFound: without a price there is nothing to quote."""
    station = find_station(session, station_code)
    terms = checks.tariff_at(session, station, now).terms
    available = Money(wallet_balance(session, user_id, terms.currency).available_minor, terms.currency)
    points = Money(points_balance(session, user_id, terms.currency).available_minor, terms.currency)
    rider = standing_of(session, user_id)
    best = best_bank(session, station.id, policy.min_charge_pct, now, lock=False, reserved_for=rider.reservation_id)
    charge = None if best is None else best.charge_pct
    occasion = Occasion(user_id, station.id, terms, now, rental_id=None)
    adjustments = granted(session, policy.sources, occasion)
    package = None if package_id is None else packages.offered(session, package_id, terms.currency)
    hold, refused = _held(terms, package, adjustments, now)
    by_points = plan.for_points(hold, points.amount_minor)
    rest = hold - by_points
    by_card = plan.mode is PayMode.CARD
    enough = by_points <= points.amount_minor and (by_card or rest <= available.amount_minor)
    reason = (
        _refusal(rider, station, policy, now, by_card=by_card and rest > 0)
        or refused
        or (None if enough else InsufficientFunds.code)
    )
    if reason is None and not by_card:
        reason = _too_little(package, plan.funds(available.amount_minor, points.amount_minor))
    if reason is None and best is None:
        reason = NoBankAvailable.code
    prepaid = () if package is None else (packages.bought(package),)
    shown = example(terms, now, now + duration, time_zone=station.time_zone, prepaid=prepaid, adjustments=adjustments)
    return Quote(
        station, terms, shown, duration, available, points, terms.money(by_points),
        terms.money(0 if by_card else rest), terms.money(rest if by_card else 0), reason, charge,
    )  # fmt: skip


def _held(
    terms: TariffTerms, package: RentalPackage | None, adjustments: Sequence[Adjustment], now: datetime
) -> tuple[int, str | None]:
    """What a start would hold, in minor units; or the code of the error why it cannot be said."""
    try:
        return to_hold(terms, package, adjustments, now).amount_minor, None
    except FleetError as refused:
        return 0, refused.code


def _too_little(package: RentalPackage | None, funds_minor: int) -> str | None:
    try:
        if package is not None:
            packages.check_balance(package, funds_minor)
    except FleetError as refused:
        return refused.code
    return None


def _refusal(rider: Standing, station: Station, policy: RentalPolicy, now: datetime, *, by_card: bool) -> str | None:
    try:
        checks.check_rider(rider)
        checks.check_station(station, policy, now)
        checks.check_guest(rider, policy, by_card=by_card)
        checks.free_place(rider, policy)
        checks.check_debts(rider)
    except FleetError as refused:
        return refused.code
    return None
