"""Packages: time at a fixed price. What riders may choose, and what operators offer (decision 0140)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg2.errors import UniqueViolation
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments.errors import InsufficientFunds
from fleet.rentals.errors import PackageExists, PackageNotFound, PackageTooDear
from fleet.rentals.pricing.adjustments import Adjustment
from fleet.rentals.pricing.price import price
from fleet.rentals.pricing.terms import Prepaid, TariffTerms
from fleet.rentals.tariffs.models import PackageKind, RentalPackage


@dataclass(frozen=True, slots=True)
class PackageSpec:
    """`minimum_balance_minor`: what the wallet must have for a postpaid one."""

    name: str
    kind: PackageKind
    duration: timedelta
    price_minor: int
    currency: str
    minimum_balance_minor: int = 0


def offered(session: Session, package_id: UUID, currency: str) -> RentalPackage:
    """Raises PackageNotFound, also when it was withdrawn or is priced in another currency."""
    package = session.get(RentalPackage, package_id)
    if package is None or package.withdrawn_at is not None or package.currency != currency:
        raise PackageNotFound(f"no such package in {currency}", package_id=package_id)
    return package


def chosen(session: Session, package_id: UUID, currency: str, funds_minor: int, *, secured: bool) -> RentalPackage:
    """`funds_minor`: what the rider has to pay with; `secured`: it was chosen before, and a card stands for it.

    Raises PackageNotFound, InsufficientFunds.
    """
    if secured:
        return session.get_one(RentalPackage, package_id)
    package = offered(session, package_id, currency)
    check_balance(package, funds_minor)
    return package


def offers(session: Session, currency: str) -> Sequence[RentalPackage]:
    """What a rider may choose, shortest first."""
    query = (
        select(RentalPackage)
        .where(RentalPackage.currency == currency, RentalPackage.withdrawn_at.is_(None))
        .order_by(RentalPackage.duration, RentalPackage.price_minor, RentalPackage.id)
    )
    return session.scalars(query).all()


def all_packages(session: Session) -> Sequence[RentalPackage]:
    """Newest first, withdrawn ones too."""
    return session.scalars(select(RentalPackage).order_by(RentalPackage.id.desc())).all()


def create_package(session: Session, spec: PackageSpec, now: datetime) -> RentalPackage:
    """Raises PackageExists."""
    package = RentalPackage(
        name=spec.name,
        kind=spec.kind,
        duration=spec.duration,
        price_minor=spec.price_minor,
        currency=spec.currency,
        minimum_balance_minor=spec.minimum_balance_minor,
        created_at=now,
    )
    try:
        with session.begin_nested():
            session.add(package)
    except IntegrityError as error:
        if not isinstance(error.orig, UniqueViolation):
            raise
        raise PackageExists(f"{spec.name!r} is offered in {spec.currency} already", name=spec.name) from None
    return package


def withdraw_package(session: Session, package_id: UUID, now: datetime) -> RentalPackage:
    """Nobody can choose it from now on; rentals that have it keep it. Again changes nothing. Raises PackageNotFound."""
    package = session.get(RentalPackage, package_id, with_for_update=True)
    if package is None:
        raise PackageNotFound("no such package", package_id=package_id)
    package.withdrawn_at = package.withdrawn_at or now
    return package


def bought(package: RentalPackage, at: datetime | None = None) -> Prepaid:
    """What is frozen into the rental. `at`: when, unless it was with the start."""
    return Prepaid(package.name, package.duration, package.price_minor, at)


def at_once(terms: TariffTerms, prepaid: tuple[Prepaid, ...], adjustments: Sequence[Adjustment], at: datetime) -> int:
    """What is due however soon the bank is back, tax and adjustments included: what is set aside for packages.

    Raises PackageTooDear when that is what the bank itself costs.
    """
    if terms.total_cap_minor and sum(each.price_minor for each in prepaid) >= terms.total_cap_minor:
        cap = terms.total_cap_minor
        raise PackageTooDear(f"for {terms.money(cap)} the power bank is bought", total_cap_minor=cap)
    return price(terms, at, at, prepaid=prepaid, adjustments=adjustments).total_minor


def check_balance(package: RentalPackage, available_minor: int) -> None:
    """Raises InsufficientFunds when the wallet has less than a postpaid package asks for."""
    least = package.minimum_balance_minor if package.kind is PackageKind.POSTPAID else 0
    if available_minor < least:
        raise InsufficientFunds(
            f"{package.name} needs a balance of {Money(least, package.currency)}",
            needed_minor=least,
            available_minor=available_minor,
            currency=package.currency,
        )
