"""A bank leaves without an order for a rental: what that says of a rental that had it."""

import pytest

from firmware_protocol.commands import EjectPowerBank
from fleet.devices.commands import queue_command
from fleet.devices.models import CommandState
from fleet.rentals.models import RentalState
from tests.fleet.rentals.underway.test_swaps import give_back
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND, World


def test_a_bank_that_leaves_by_force_had_come_back(world: World) -> None:
    """Its return was lost with a journal: who took it then is not the rider, and it is asked for."""
    rental = world.rent()
    world.later(30 * MINUTE)
    world.inventory("B", {})
    empty_at = world.now
    world.later(2 * HOUR)
    fact = world.ejected("B", 3, "A1")
    assert (rental.state, rental.ended_at, rental.slot_in) == (RentalState.COMPLETED, empty_at, 3)
    assert rental.station_in_id == world.stations["B"].id
    assert [case.reason for case in world.cases()] == ["no_command"]
    price = rental.price_minor
    world.apply(fact)
    world.later(HOUR)
    world.inserted("A", 1, "A1")
    assert (rental.price_minor, rental.ended_at, world.cases()) == (price, empty_at, [])
    world.check_everything()


def test_a_bank_that_an_operator_takes_out_had_come_back(world: World) -> None:
    rental = world.rent()
    world.later(2 * HOUR)
    order = queue_command(
        world.session, station_id=world.stations["B"].id, command=EjectPowerBank(slot=3),
        deadline=world.now + MINUTE, now=world.now,
    )  # fmt: skip
    order.state, order.sent_at = CommandState.SENT, world.now
    world.later(SECOND)
    world.ejected("B", 3, "A1", order)
    assert rental.state is RentalState.COMPLETED
    assert rental.started_at == rental.ended_at, "nobody has looked into that slot since before the rental"
    assert [case.reason for case in world.cases()] == ["operator_eject"]
    world.check_everything()


def test_that_a_bank_was_back_and_left_by_force_is_told_after_it_came_elsewhere(world: World) -> None:
    rental = world.rent()
    world.later(30 * MINUTE)
    world.inventory("B", {})
    empty_at = world.now
    world.later(HOUR)
    left_at = world.now
    world.later(4 * HOUR)
    world.inserted("A", 1, "A1")
    before = rental.charged_minor
    world.later(HOUR)
    fact = world.ejected("B", 3, "A1", at=left_at)
    for _ in range(2):
        assert (rental.state, rental.ended_at) == (RentalState.COMPLETED, empty_at)
        assert rental.charged_minor < before
        assert (world.place("A1"), world.cases()) == ("A1", [])
        world.apply(fact)
    world.check_everything()


@pytest.mark.parametrize("where", ["the slot that it left", "another slot, before the rental"])
def test_what_says_nothing_of_a_return(world: World, where: str) -> None:
    """The departure told twice, and a theft before the bank was carried to where the rider got it."""
    stolen_at = world.now - MINUTE
    rental = world.rent()
    world.later(MINUTE)
    if where == "the slot that it left":
        world.ejected("A", 1, "A1")
    else:
        world.ejected("B", 3, "A1", at=stolen_at)
    assert (rental.state, rental.ended_at, world.cases()) == (RentalState.ACTIVE, None, [])
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    assert (rental.state, rental.ended_at) == (RentalState.COMPLETED, world.now)
    world.later(MINUTE)
    if where != "the slot that it left":
        world.ejected("B", 3, "A1", at=stolen_at, seq=1000)
    assert rental.ended_at is not None
    assert rental.ended_at > stolen_at + HOUR
    world.check_everything()


def test_what_became_of_a_bank_before_it_was_given_in_an_exchange(world: World) -> None:
    rental = give_back(world)
    stolen_at = world.now - MINUTE
    assert rental.started_at is not None
    assert rental.started_at < stolen_at
    command = world.send(rental)
    world.later(SECOND)
    world.ejected("A", 2, "A2", command)
    world.later(HOUR)
    world.inserted("B", 1, "A2")
    assert rental.ended_at == world.now
    world.later(MINUTE)
    world.ejected("B", 3, "A2", at=stolen_at)
    assert (rental.state, rental.ended_at) == (RentalState.COMPLETED, world.now - MINUTE)
    world.check_everything()
