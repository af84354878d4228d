"""A start that was deduced, against the cabinet's own word that its order moved nothing."""

import pytest

from firmware_protocol.types import CommandOutcome
from fleet.devices.models import CommandState
from fleet.payments import holds
from fleet.rentals.models import RentalState
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND, World

EXPIRED = CommandOutcome.EXPIRED


def test_the_order_moved_nothing_after_all_and_the_bank_is_out(world: World) -> None:
    rental, command = world.unknown()
    world.inventory("A", {2: ("A2", 80), 3: ("A3", 70)})
    assert rental.state is RentalState.ACTIVE
    world.result("A", command, EXPIRED, "deadline_passed")
    assert (rental.state, rental.failure_code) == (RentalState.EJECT_FAILED, "deadline_passed")
    assert command.state is CommandState.EXPIRED
    assert world.money() == (5000, 0)
    [case] = world.cases()
    assert (case.reason, case.rental_id) == ("vanished", rental.id)
    assert world.whys(rental)[-1] == "order_moved_nothing"
    world.check_everything()


def test_what_was_charged_comes_back(world: World) -> None:
    rental, command = world.unknown()
    world.inventory("A", {2: ("A2", 80), 3: ("A3", 70)})
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    assert (rental.state, world.money()) == (RentalState.COMPLETED, (4750, 0))
    for _ in range(2):  # told twice, given back once
        world.result("A", command, CommandOutcome.FAILED, "slot_empty")
    assert (rental.state, rental.failure_code) == (RentalState.EJECT_FAILED, "slot_empty")
    assert (rental.charged_minor, rental.due_minor, rental.price_minor) == (0, 0, 0)
    assert world.money() == (5000, 0)
    assert holds.charged_for(world.session, rental.id) == holds.refunded_for(world.session, rental.id)
    assert world.cases() == []
    world.check_everything()


@pytest.mark.parametrize("word", ["movement", "result"])
def test_a_start_by_the_cabinets_own_word_stands(world: World, word: str) -> None:
    rental = world.start()
    command = world.send(rental)
    world.later(SECOND)
    if word == "movement":
        world.ejected("A", 1, "A1", command)
    else:
        world.result("A", command, slot=1, serial="A1")
    world.result("A", command, EXPIRED, "deadline_passed")
    assert (rental.state, command.state) == (RentalState.ACTIVE, CommandState.SUCCEEDED)


def test_a_theft_before_the_order_is_not_its_doing(world: World) -> None:
    stolen_at = world.now
    world.later(MINUTE)
    rental = world.start()
    command = world.send(rental)
    world.later(SECOND)
    world.ejected("A", 1, "A1", at=stolen_at)
    assert rental.state is not RentalState.ACTIVE
    assert [case.reason for case in world.cases()] == ["no_command"]
    assert command.state is not CommandState.SUCCEEDED
    world.check_everything()
