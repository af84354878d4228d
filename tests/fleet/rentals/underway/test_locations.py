"""Positions only when the rider says so, while they have the bank, and not for long."""

from datetime import timedelta

import pytest

from fleet.common.errors import InvalidInput
from fleet.rentals.errors import LocationNotShared, RentalNotFound
from fleet.rentals.models import Rental
from fleet.rentals.underway import locations
from fleet.rentals.underway.locations import Position
from tests.factories import add_rider
from tests.fleet.rentals.world import HOUR, MINUTE, World

KEEP = timedelta(days=7)


def share(world: World, rental: Rental, *, on: bool = True) -> bool:
    return locations.share(world.session, user_id=rental.user_id, rental_id=rental.id, on=on, now=world.now)


def send(world: World, rental: Rental, *ago: timedelta) -> int:
    positions = [Position(47.37, 8.54, 12.0, world.now - each) for each in ago]
    return locations.add(world.session, user_id=rental.user_id, rental_id=rental.id, positions=positions, now=world.now)


def kept(world: World, rental: Rental) -> int:
    return len(locations.of_rental(world.session, rental.id))


def test_nothing_is_kept_without_leave(world: World) -> None:
    rental = world.rent()
    with pytest.raises(LocationNotShared):
        send(world, rental, timedelta())
    assert share(world, rental)
    world.later(2 * MINUTE)
    for new in (2, 0):
        assert send(world, rental, timedelta(), MINUTE, HOUR) == new, "none of before it was shared, none twice"
    assert kept(world, rental) == 2
    assert not share(world, rental, on=False)
    assert kept(world, rental) == 0, "gone at once"
    with pytest.raises(LocationNotShared):
        send(world, rental, timedelta())


def test_nothing_is_kept_of_a_rental_that_is_over(world: World) -> None:
    rental = world.rent()
    share(world, rental)
    world.later(HOUR)
    send(world, rental, timedelta())
    world.inserted("B", 1, "A1")
    with pytest.raises(LocationNotShared):
        send(world, rental, timedelta())
    with pytest.raises(LocationNotShared):
        share(world, rental)
    assert not share(world, rental, on=False)
    assert kept(world, rental) == 0


def test_nothing_is_kept_for_long(world: World) -> None:
    rental = world.rent()
    share(world, rental)
    world.later(HOUR)
    send(world, rental, timedelta(), MINUTE)
    world.later(KEEP)
    assert [locations.forget(world.session, world.now, KEEP) for _ in range(2)] == [1, 0]
    assert kept(world, rental) == 1


def test_nobody_elses_and_nothing_from_the_future(world: World) -> None:
    rental = world.rent()
    share(world, rental)
    with pytest.raises(InvalidInput):
        send(world, rental, -HOUR)
    stranger = add_rider(world.session, world.now)
    with pytest.raises(RentalNotFound):
        locations.share(world.session, user_id=stranger, rental_id=rental.id, on=True, now=world.now)
    with pytest.raises(RentalNotFound):
        locations.add(world.session, user_id=stranger, rental_id=rental.id, positions=[], now=world.now)
