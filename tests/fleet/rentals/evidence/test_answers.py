"""The second word of an eject: when it changes nothing, and when it still does."""

from dataclasses import replace

import pytest

from firmware_protocol.messages import CommandResult
from firmware_protocol.types import CommandOutcome
from fleet.devices.facts import DeviceFact
from fleet.devices.models import DeviceCommand
from fleet.rentals.evidence.answers import heard_before
from fleet.rentals.models import Rental, RentalState, StartEvidence
from tests.fleet.rentals.world import SECOND, World


def word(world: World, command: DeviceCommand, outcome: CommandOutcome = CommandOutcome.SUCCEEDED) -> DeviceFact:
    return world.fact("A", CommandResult(command_id=str(command.id), outcome=outcome))


def heard(world: World, fact: DeviceFact) -> bool:
    assert isinstance(fact.message, CommandResult)
    return heard_before(world.session, fact, fact.message)


def sent(world: World) -> tuple[Rental, DeviceCommand]:
    rental = world.start()
    command = world.send(rental)
    world.later(SECOND)
    return rental, command


def test_after_the_movement_the_result_says_nothing_new(world: World) -> None:
    rental, command = sent(world)
    assert not heard(world, word(world, command))
    world.ejected("A", rental.slot_out, world.serial(rental), command)
    assert heard(world, word(world, command))


@pytest.mark.parametrize("outcome", [CommandOutcome.FAILED, CommandOutcome.EXPIRED])
def test_a_result_that_contradicts_the_movement_is_looked_at(world: World, outcome: CommandOutcome) -> None:
    rental, command = sent(world)
    world.ejected("A", rental.slot_out, world.serial(rental), command)
    assert not heard(world, word(world, command, outcome))


def test_a_success_that_was_only_deduced_is_still_told_better(world: World) -> None:
    rental, command = world.unknown()
    world.inventory("A", {2: ("A2", 80), 3: ("A3", 70)})
    assert (rental.state, rental.start_evidence) == (RentalState.ACTIVE, StartEvidence.ORDER)
    assert not heard(world, word(world, command))
    world.result("A", command, slot=rental.slot_out, serial=world.serial(rental))
    assert rental.start_evidence is StartEvidence.RESULT
    assert heard(world, word(world, command))


def test_another_stations_word_and_nonsense_are_not_this_commands(world: World) -> None:
    rental, command = sent(world)
    world.ejected("A", rental.slot_out, world.serial(rental), command)
    fact = word(world, command)
    assert not heard(world, replace(fact, station_id=world.stations["B"].id))
    assert not heard(world, replace(fact, message=CommandResult(command_id="x", outcome=CommandOutcome.SUCCEEDED)))


def test_an_order_of_another_station_moves_nothing_here(world: World) -> None:
    """A cabinet that names a command which is not its own has merely lost a bank."""
    rental, command = sent(world)
    world.ejected("B", 1, "B1", command)
    assert (rental.state, command.settled_at) == (RentalState.EJECTING, None)
    [case] = world.cases()
    assert case.reason == "no_command"
