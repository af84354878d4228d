"""Packages and extensions: what is held, what is charged, and what an early or late return makes of them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from fleet.payments.errors import InsufficientFunds
from fleet.rentals import queries
from fleet.rentals.agreement import price_at, set_due
from fleet.rentals.errors import NotExtendable, PackageExists, PackageNotFound, PackageTooDear
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.tariffs import packages
from fleet.rentals.tariffs.models import PackageKind, RentalPackage
from fleet.rentals.tariffs.packages import PackageSpec
from fleet.rentals.underway import deadlines, extensions
from tests.factories import add_rider
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND, World


def offer(world: World, hours: int = 4, price: int = 150, **more: Any) -> RentalPackage:
    spec: dict[str, Any] = {
        "name": f"{hours} hours", "kind": PackageKind.PREPAID, "duration": hours * HOUR, "price_minor": price,
        "currency": "EUR", **more,
    }  # fmt: skip
    return packages.create_package(world.session, PackageSpec(**spec), world.now)


def rent(world: World, package: RentalPackage, rider: UUID | None = None) -> Rental:
    rental = world.start(rider=rider, package_id=package.id)
    command = world.send(rental)
    world.later(SECOND)
    world.ejected("A", rental.slot_out, world.serial(rental), command)
    assert rental.state is RentalState.ACTIVE
    return rental


def extend(world: World, rental: Rental, package: RentalPackage) -> Rental:
    return extensions.extend(
        world.session, user_id=world.rider, rental_id=rental.id, package_id=package.id, now=world.now
    )


def test_a_prepaid_package_is_held_and_charged_however_soon_the_bank_is_back(world: World) -> None:
    rental = rent(world, offer(world))
    assert world.money() == (4850, 150)
    assert rental.started_at is not None
    assert rental.overdue_at == rental.started_at + 4 * HOUR
    world.later(10 * MINUTE)
    world.inserted("B", 1, "A1")
    assert (rental.price_minor, rental.charged_minor) == (150, 150)
    assert world.money() == (4850, 0)
    world.check_everything()


def test_beyond_a_package_the_tariff_counts(world: World) -> None:
    rental = rent(world, offer(world))
    world.later(4 * HOUR + 61 * MINUTE)
    assert deadlines.sweep_rentals(world.session, world.now, world.policy) == 1
    assert rental.state is RentalState.OVERDUE
    world.inserted("B", 1, "A1")
    assert rental.charged_minor == 150 + 3 * 50
    world.check_everything()


def test_a_package_whose_bank_never_came_costs_nothing(world: World) -> None:
    rental = world.start(package_id=offer(world).id)
    world.later(HOUR)
    deadlines.sweep_commands(world.session, world.now, world.policy)
    assert rental.state is RentalState.EJECT_FAILED
    assert world.money() == (5000, 0)
    world.check_everything()


def test_a_postpaid_package_needs_its_minimum_balance_and_holds_what_the_tariff_says(world: World) -> None:
    package = offer(world, 24, 700, kind=PackageKind.POSTPAID, minimum_balance_minor=700)
    poor = add_rider(world.session, world.now, 699)
    with pytest.raises(InsufficientFunds) as refused:
        world.start(rider=poor, package_id=package.id)
    assert refused.value.attributes["needed_minor"] == 700
    rental = rent(world, package)
    assert world.money() == (4500, 500)
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    assert rental.charged_minor == 700
    world.check_everything()


def test_packages_that_are_withdrawn_foreign_or_as_dear_as_the_bank_are_refused(world: World) -> None:
    gone, foreign = offer(world), offer(world, name="dollars", currency="USD")
    packages.withdraw_package(world.session, gone.id, world.now)
    for package in (gone, foreign):
        with pytest.raises(PackageNotFound):
            rent(world, package)
    with pytest.raises(PackageTooDear):
        rent(world, offer(world, name="a fortune", price=3000))
    assert [each.name for each in packages.offers(world.session, "EUR")] == ["a fortune"]
    with pytest.raises(PackageExists):
        offer(world, name="dollars", currency="USD")


def test_an_extension_moves_the_due_time_and_holds_its_price(world: World) -> None:
    package = offer(world)
    rental = rent(world, package)
    assert rental.overdue_at is not None
    first_due = rental.overdue_at
    world.later(3 * HOUR)
    extend(world, rental, package)
    assert rental.overdue_at == first_due + 4 * HOUR
    assert world.money() == (4700, 300)
    world.later(4 * HOUR)
    assert deadlines.sweep_rentals(world.session, world.now, world.policy) == 0
    world.inserted("B", 1, "A1")
    assert (rental.price_minor, rental.charged_minor, world.money()) == (300, 300, (4700, 0))
    assert "extended" in world.whys(rental)
    world.check_everything()


def test_an_extension_bought_after_the_bank_was_back_costs_nothing(world: World) -> None:
    """Its cabinet was offline: the rider paid for more time while the bank lay in a slot already."""
    package = offer(world)
    rental = rent(world, package)
    back_at = world.later(HOUR)
    world.later(HOUR)
    extend(world, rental, package)
    world.later(HOUR)
    world.inserted("B", 1, "A1", at=back_at)
    assert (rental.price_minor, world.money()) == (150, (4850, 0))
    world.check_everything()


def test_an_earlier_return_that_is_told_later_gives_the_extension_back(world: World) -> None:
    package = offer(world)
    rental = rent(world, package)
    world.later(HOUR)
    early = world.now
    seq = world.skip("B")
    world.later(HOUR)
    extend(world, rental, package)
    world.later(HOUR)
    world.inserted("A", 4, "A1")
    assert rental.charged_minor == 300
    world.later(MINUTE)
    world.inserted("B", 1, "A1", at=early, seq=seq)
    assert (rental.ended_at, rental.charged_minor, world.money()) == (early, 150, (4850, 0))
    world.check_everything()


def test_three_extensions_and_no_more(world: World) -> None:
    package = offer(world)
    rental = rent(world, package)
    for _ in range(3):
        extend(world, rental, package)
    with pytest.raises(NotExtendable, match="extended 3 times"):
        extend(world, rental, package)
    assert world.money() == (4400, 600)
    assert len(rental.prepaid) == 4


def test_what_cannot_be_extended(world: World) -> None:
    package = offer(world)
    plain = world.rent()
    with pytest.raises(NotExtendable, match="without a package"):
        extend(world, plain, package)
    world.inserted("B", 1, "A1")
    with pytest.raises(NotExtendable, match="completed"):
        extend(world, plain, package)
    late = rent(world, package)
    world.later(4 * HOUR)
    with pytest.raises(NotExtendable, match="over"):
        extend(world, late, package)


def test_an_extension_without_the_money_changes_nothing(world: World) -> None:
    world.rider = add_rider(world.session, world.now, 200)
    rental = rent(world, offer(world))
    due = rental.overdue_at
    with pytest.raises(InsufficientFunds):
        extend(world, rental, offer(world, 8))
    assert queries.rental_of(world.session, world.rider, rental.id).overdue_at == due
    assert (len(rental.prepaid), world.money(world.rider)) == (1, (50, 150))


def test_a_long_package_is_not_bought_out_while_it_lasts(world: World) -> None:
    """The tariff's word on when a bank is bought never comes before the time that was paid for."""
    package = offer(world, 72, 1000)
    rental = rent(world, package)
    rental.terms = {**rental.terms, "buyout_after": (24 * HOUR).total_seconds()}
    world.now = (rental.started_at or world.now) + timedelta(hours=71)
    set_due(rental)
    assert rental.buyout_at == rental.overdue_at
    assert price_at(rental, world.now).total_minor == 1000
