"""The movement and the second word of an eject: what they cost, and when the second changes nothing."""

from dataclasses import replace
from typing import Any

import pytest

from firmware_protocol.messages import CommandResult, PowerBankEjected
from firmware_protocol.types import CommandOutcome
from fleet.common.roundtrips import flush_later
from fleet.devices.facts import DeviceFact
from fleet.devices.models import DeviceCommand
from fleet.rentals.evidence.answers import heard_before
from fleet.rentals.evidence.service import apply_fact
from fleet.rentals.models import Rental, RentalState, StartEvidence
from tests.factories import add_rider
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


def test_a_bank_that_left_is_two_messages_to_the_database(world: World) -> None:
    """Which rentals are near, and all of them locked and read; what it changes goes with whatever comes next."""
    trips = 0
    for slot in (1, 2):  # the first time plans the statements
        rental = world.start(slot=slot, rider=add_rider(world.session, world.now))
        command = world.send(rental)
        world.later(SECOND)
        left = PowerBankEjected(slot=slot, serial=world.serial(rental), command_id=str(command.id))
        fact = world.fact("A", left)
        world.session.expire_all()
        driver: Any = world.session.connection().connection.dbapi_connection
        before = driver.round_trips
        apply_fact(world.session, fact, world.policy, world.now)
        flush_later(world.session)
        trips = driver.round_trips - before
        assert rental.state is RentalState.ACTIVE
    assert trips == 2
