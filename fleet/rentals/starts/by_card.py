"""A rental that a card stands for: the start answers with a payment, and begins by itself when that is there.

Nothing of the rider's wallet is held; what the wallet lacks in the end is taken from the card (decision 0131).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from fleet.common.errors import FleetError
from fleet.common.money import Money
from fleet.common.outbox import publish
from fleet.payments.errors import InsufficientFunds
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.providers.base import PaymentProvider
from fleet.payments.rental_payments import claim, demand, give_back
from fleet.payments.wallets import Purse, lock_points
from fleet.rentals.errors import NoBankAvailable
from fleet.rentals.events import RentalNotStarted
from fleet.rentals.models import PayMode
from fleet.rentals.pricing.adjustments import Occasion, granted
from fleet.rentals.pricing.terms import TariffTerms
from fleet.rentals.queries import Shown
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts import checks
from fleet.rentals.starts.payment_plans import PaymentPlan
from fleet.rentals.starts.queries import Known
from fleet.rentals.starts.securities import to_hold
from fleet.rentals.starts.service import Secured, start
from fleet.rentals.tariffs import packages
from fleet.rentals.tariffs.queries import InForce
from fleet.stations.availability import best_bank

BY_CARD: Final = PaymentPlan(PayMode.CARD)


class Order(msgspec.Struct, frozen=True):
    """What the rider was shown, frozen into the payment: the rental begins at this price, whatever holds by then."""

    station: str
    slot: int | None
    package: UUID | None
    tariff_id: UUID
    tariff: str
    version: int
    terms: dict[str, Any]
    #: Points money that pays of it first.
    points: int = 0
    #: The HTTP request that asked for the rental, whoever begins it.
    request_id: str | None = None

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        return msgspec.convert(data, cls)

    @property
    def in_force(self) -> InForce:
        return InForce(self.tariff_id, self.tariff, self.version, TariffTerms.from_json(self.terms))


def ask_payment(
    session: Session,
    *,
    user_id: UUID,
    station_code: str,
    slot: int | None,
    package_id: UUID | None,
    provider: PaymentProvider,
    now: datetime,
    policy: RentalPolicy,
    plan: PaymentPlan = BY_CARD,
    request_id: str | None = None,
    known: Known | None = None,
) -> PaymentIntent | None:
    """The payment that the rider has to confirm, of what a start would hold and points do not pay; None: nothing.
    `known`: see `start`.

    Nothing is kept for the rider meanwhile. Raises what `service.start` raises, but for the wallet's money.
    """
    admitted = checks.admit(
        session, user_id=user_id, station_code=station_code, policy=policy, now=now, by_card=True, known=known
    )
    station, tariff, kept = admitted.station, admitted.tariff, admitted.rider.reservation_id
    package = None if package_id is None else packages.offered(session, package_id, tariff.terms.currency)
    best = best_bank(session, station.id, policy.min_charge_pct, now, slot=slot, lock=False, reserved_for=kept)
    if best is None:
        raise NoBankAvailable(f"station {station.code} has no charged bank to give", station=station.code)
    adjustments = granted(session, policy.sources, Occasion(user_id, station.id, tariff.terms, now, None))
    money = to_hold(tariff.terms, package, adjustments, now)
    by_points = plan.for_points(money.amount_minor, 0)
    if by_points:
        _check_points(lock_points(session, user_id, admitted.purse, now), by_points)
    money -= Money(by_points, money.currency)
    if not money.amount_minor:
        return None
    order = Order(
        station.code, slot, package_id, tariff.tariff_id, tariff.name, tariff.version, tariff.terms.to_json(),
        points=plan.points_minor or 0, request_id=request_id,
    )  # fmt: skip
    frozen: dict[str, Any] = msgspec.to_builtins(order)
    return demand(session, user_id=user_id, money=money, order=frozen, provider=provider, now=now)


def _check_points(points: Purse, needed_minor: int) -> None:
    """They are set aside when the rental begins; who has too few learns it now. Raises InsufficientFunds."""
    if points.available_minor < needed_minor:
        needed, there = Money(needed_minor, points.currency), Money(points.available_minor, points.currency)
        raise InsufficientFunds(
            f"{needed} of points needed, {there} available",
            needed_minor=needed_minor,
            available_minor=points.available_minor,
            currency=points.currency,
        )


@dataclass(frozen=True, slots=True)
class Begun:
    """What became of a start whose money is set aside. Neither: it had been decided before."""

    rental: Shown | None = None
    refused: FleetError | None = None


def start_paid(
    session: Session,
    intent_id: UUID,
    now: datetime,
    policy: RentalPolicy,
    *,
    rental_id: UUID | None = None,
) -> Begun:
    """The card's money is set aside: the rental begins, or the money goes back and the rider is told why.

    Again it changes nothing: a payment starts one rental. `rental_id`: the id it gets.
    """
    intent = session.get_one(PaymentIntent, intent_id, populate_existing=True)
    if intent.rental_id is not None or intent.settle_minor is not None or intent.order is None:
        return Begun()
    order = Order.read(intent.order)
    try:
        with session.begin_nested():
            rental = start(
                session,
                user_id=intent.user_id,
                station_code=order.station,
                slot=order.slot,
                now=now,
                policy=policy,
                request_id=order.request_id,
                rental_id=rental_id,
                package_id=order.package,
                secured=Secured(intent_id, order.in_force, intent.method_id),
                plan=PaymentPlan(PayMode.CARD, order.points),
            )
            claim(session, intent_id, rental.id, now)
    except FleetError as refused:
        give_back(session, intent_id, now)
        begun = Begun()
        if intent.rental_id is None:  # else another delivery of the same word was quicker
            publish(session, RentalNotStarted(intent_id, intent.user_id, refused.code), now)
            begun = Begun(refused=refused)
        return begun
    return Begun(rental)
