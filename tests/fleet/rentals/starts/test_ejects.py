"""The table of eject outcomes (rentals-and-money), row by row."""

from datetime import timedelta

import msgspec
import pytest

from firmware_protocol.commands import EjectPowerBank
from firmware_protocol.messages import SlotInventory
from firmware_protocol.types import CommandOutcome, SlotState
from fleet.devices.commands import queue_command
from fleet.devices.models import CommandState, DeviceCommand
from fleet.rentals.cases.models import CaseState
from fleet.rentals.cases.service import QUARANTINE
from fleet.rentals.models import RentalState
from fleet.rentals.underway import deadlines
from fleet.stations.models import PowerBankState
from tests.factories import add_rider
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND, World

FAILED = CommandOutcome.FAILED


@pytest.mark.parametrize("words", ["both", "bank only", "result only", "result first", "twice"])
def test_success_is_active_from_the_time_the_bank_left(world: World, words: str) -> None:
    rental = world.start()
    command = world.send(rental)
    left_at = world.later(2 * SECOND)
    world.later(SECOND)
    for word in {
        "both": "er", "bank only": "e", "result only": "r", "result first": "re", "twice": "erer",
    }[words]:  # fmt: skip
        if word == "e":
            world.ejected("A", 1, "A1", command, at=left_at)
        else:
            world.result("A", command, slot=1, serial="A1")
    assert rental.state is RentalState.ACTIVE
    assert rental.started_at == (world.now if words == "result only" else left_at)
    assert command.state is CommandState.SUCCEEDED
    assert world.place("A1") is None
    assert world.bank("A1").state is PowerBankState.RENTED
    assert world.slot("A", 1).reserved_for is None
    assert world.money() == (4500, 500)
    assert world.cases() == []
    world.check_everything()


def test_a_success_that_is_told_late_by_the_cabinets_journal(world: World) -> None:
    rental = world.start()
    command = world.send(rental)
    left_at = world.later(2 * SECOND)
    world.later(10 * MINUTE)
    world.ejected("A", 1, "A1", command, at=left_at)
    assert (rental.state, rental.started_at) == (RentalState.ACTIVE, left_at)


def test_a_bank_cannot_leave_before_it_was_asked_for(world: World) -> None:
    rental = world.start()
    asked = world.now
    command = world.send(rental)
    world.later(SECOND)
    world.ejected("A", 1, "A1", command, at=asked - HOUR)
    assert rental.started_at == asked


def test_failure_then_the_next_best_slot(world: World) -> None:
    rental = world.start()
    first = world.send(rental)
    world.later(5 * SECOND)
    world.result("A", first, FAILED, "bank_stuck")
    assert (rental.state, world.serial(rental), rental.slot_out) == (RentalState.EJECTING, "A2", 2)
    assert world.money() == (4500, 500)
    assert world.slot("A", 1).reserved_for is None
    assert world.slot("A", 1).watched_until == world.now + world.policy.slot_watch
    second = world.send(rental)
    assert second.id != first.id
    world.ejected("A", 2, "A2", second)
    assert (rental.state, rental.started_at) == (RentalState.ACTIVE, world.now)
    assert world.place("A1") == "A1"
    world.check_everything()


def test_the_next_best_slot_is_tried_once(world: World) -> None:
    rental = world.start()
    for _ in range(2):
        command = world.send(rental)
        world.later(SECOND)
        world.result("A", command, FAILED, "bank_stuck")
    assert (rental.state, rental.failure_code) == (RentalState.EJECT_FAILED, "bank_stuck")
    assert (rental.eject_attempts, rental.charged_minor) == (2, 0)
    assert world.money() == (5000, 0)
    assert world.whys(rental) == ["requested", "next_slot", "eject_failed"]
    world.check_everything()


def test_no_next_slot_when_the_rider_no_longer_waits(world: World) -> None:
    rental = world.start()
    command = world.send(rental)
    world.later(world.policy.eject_deadline + SECOND)
    world.result("A", command, FAILED, "motor_stalled")
    assert rental.state is RentalState.EJECT_FAILED
    assert world.money() == (5000, 0)


def test_no_next_slot_when_there_is_none(world: World) -> None:
    world.inventory("A", {1: ("A1", 90)})
    for case in world.cases():
        case.state = CaseState.RESOLVED
    rental = world.start()
    world.result("A", world.send(rental), FAILED, "motor_stalled")
    assert rental.state is RentalState.EJECT_FAILED


@pytest.mark.parametrize(
    "outcome", [CommandOutcome.BUSY, CommandOutcome.EXPIRED, CommandOutcome.INVALID, CommandOutcome.UNSUPPORTED]
)
def test_every_refusal_is_a_failure(world: World, outcome: CommandOutcome) -> None:
    rental = world.start()
    for _ in range(2):
        world.result("A", world.send(rental), outcome)
    assert (rental.state, rental.failure_code) == (RentalState.EJECT_FAILED, outcome.value)
    assert world.money() == (5000, 0)


def test_a_picture_that_was_wrong_is_asked_for_again(world: World) -> None:
    rental = world.start()
    world.result("A", world.send(rental), FAILED, "slot_empty")
    assert world.asked("A").created_at == world.now
    assert rental.state is RentalState.EJECTING


def test_the_bank_counts_more_than_a_failed_result(world: World) -> None:
    """Protocol 9.2.4: it left although something failed."""
    rental = world.start()
    command = world.send(rental)
    world.ejected("A", 1, "A1", command)
    world.result("A", command, FAILED, "sensor_unclear")
    assert rental.state is RentalState.ACTIVE
    assert command.state is CommandState.SUCCEEDED


def test_an_order_that_never_went_out_fails(world: World) -> None:
    rental = world.start()
    world.later(world.policy.eject_deadline + SECOND)
    assert deadlines.sweep_commands(world.session, world.now, world.policy) == 1
    assert (rental.state, rental.failure_code) == (RentalState.EJECT_FAILED, "not_sent")
    assert world.command(rental).state is CommandState.EXPIRED
    assert world.money() == (5000, 0)
    assert deadlines.sweep_commands(world.session, world.now, world.policy) == 0


def test_no_answer_is_unknown_and_the_cabinet_is_asked(world: World) -> None:
    _, command = world.unknown()
    assert command.state is CommandState.UNKNOWN
    assert world.money() == (4500, 500)
    assert world.asked("A").created_at == world.now
    world.check_everything()


def test_within_the_grace_nothing_is_decided(world: World) -> None:
    world.send(world.start())
    world.later(world.policy.eject_deadline + world.policy.eject_grace)
    assert deadlines.sweep_commands(world.session, world.now, world.policy) == 0


def test_unknown_and_the_bank_is_gone(world: World) -> None:
    rental, command = world.unknown()
    world.later(SECOND)
    world.inventory("A", {2: ("A2", 80), 3: ("A3", 70)}, command=world.asked("A"))
    assert (rental.state, rental.started_at) == (RentalState.ACTIVE, command.sent_at)
    assert command.state is CommandState.SUCCEEDED
    assert world.cases() == []
    world.check_everything()


def test_unknown_and_the_bank_is_still_there(world: World) -> None:
    rental, command = world.unknown()
    world.later(SECOND)
    world.inventory("A", {1: ("A1", 90), 2: ("A2", 80), 3: ("A3", 70)}, command=world.asked("A"))
    assert (rental.state, rental.failure_code) == (RentalState.EJECT_FAILED, "still_there")
    assert (command.state, command.code) == (CommandState.FAILED, "still_there")
    assert world.money() == (5000, 0)
    world.start()


def test_an_inventory_from_before_the_deadline_is_no_verdict(world: World) -> None:
    """The bank was still there then; the eject may have come after."""
    rental, command = world.unknown()
    assert command.sent_at is not None
    full = {1: ("A1", 90), 2: ("A2", 80), 3: ("A3", 70)}
    world.inventory("A", full, at=command.sent_at + SECOND)
    assert command.state is CommandState.UNKNOWN
    world.inventory("A", full, at=command.deadline + SECOND)
    assert rental.state is RentalState.EJECT_FAILED


@pytest.mark.parametrize("outcome", [CommandOutcome.SUCCEEDED, FAILED])
def test_unknown_and_the_answer_comes_late(world: World, outcome: CommandOutcome) -> None:
    rental, command = world.unknown()
    world.later(HOUR)
    world.result("A", command, outcome, None if outcome is CommandOutcome.SUCCEEDED else "interrupted")
    expected = RentalState.ACTIVE if outcome is CommandOutcome.SUCCEEDED else RentalState.EJECT_FAILED
    assert rental.state is expected
    assert world.money() == ((4500, 500) if expected is RentalState.ACTIVE else (5000, 0))
    assert rental.eject_attempts == 1


def test_a_silent_station_keeps_the_hold_until_the_limit(world: World) -> None:
    rental, command = world.unknown()
    world.later(world.policy.eject_unknown_limit - MINUTE)
    assert deadlines.sweep_rentals(world.session, world.now, world.policy) == 0
    assert world.money() == (4500, 500)
    world.later(MINUTE)
    assert deadlines.sweep_rentals(world.session, world.now, world.policy) == 1
    assert (rental.state, rental.failure_code) == (RentalState.EJECT_FAILED, "eject_unknown_limit")
    assert command.state is CommandState.ABANDONED
    assert (world.money(), rental.charged_minor) == ((5000, 0), 0)
    assert deadlines.sweep_rentals(world.session, world.now, world.policy) == 0
    world.check_everything()


def test_a_cabinet_in_doubt_is_asked_again_while_it_is_there(world: World) -> None:
    world.unknown()
    first = world.asked("A")
    world.later(world.policy.inventory_again - SECOND)
    deadlines.sweep_rentals(world.session, world.now, world.policy)
    assert world.asked("A").id == first.id
    world.later(SECOND)
    deadlines.sweep_rentals(world.session, world.now, world.policy)
    assert world.asked("A").id != first.id


def test_a_late_eject_reopens_the_rental(world: World) -> None:
    rental, command = world.unknown()
    world.later(world.policy.eject_unknown_limit)
    deadlines.sweep_rentals(world.session, world.now, world.policy)
    left_at = world.now - HOUR
    world.ejected("A", 1, "A1", command, at=left_at)
    assert (rental.state, rental.started_at) == (RentalState.ACTIVE, left_at)
    assert (rental.failure_code, rental.closed_at, rental.open_place) == (None, None, 1)
    assert command.state is CommandState.SUCCEEDED
    world.check_everything()
    world.inserted("B", 1, "A1")
    # Two intervals begun, and the unlock fee; the hold had been released.
    assert (rental.state, rental.charged_minor) == (RentalState.COMPLETED, 200)
    assert world.money() == (4800, 0)
    world.check_everything()


def test_a_late_eject_of_a_rider_who_has_another_bank_is_a_case(world: World) -> None:
    rental, command = world.unknown()
    world.later(SECOND)
    world.inventory("A", {1: ("A1", 90), 2: ("A2", 80), 3: ("A3", 70)}, command=world.asked("A"))
    world.stations["A"].last_heard_at = world.now
    world.rent(slot=2)
    world.ejected("A", 1, "A1", command)
    assert rental.state is RentalState.EJECT_FAILED
    [case] = world.cases()
    assert (case.reason, case.rental_id) == ("late_eject", rental.id)
    assert world.money() == (4500, 500)
    world.check_everything()


def test_a_late_eject_of_another_bank_is_a_case(world: World) -> None:
    rental, command = world.unknown()
    world.later(SECOND)
    world.result("A", command, FAILED, "interrupted")
    world.ejected("A", 3, "A3", command)
    assert rental.state is RentalState.EJECT_FAILED
    [case] = world.cases()
    assert (case.reason, case.rental_id) == ("late_eject", rental.id)
    assert world.money() == (5000, 0)


def test_the_rental_follows_the_bank_that_left(world: World) -> None:
    rental = world.start()
    command = world.send(rental)
    world.ejected("A", 2, "A2", command)
    world.result("A", command, slot=2, serial="A2")
    assert (rental.state, world.serial(rental), rental.slot_out) == (RentalState.ACTIVE, "A2", 2)
    assert world.place("A1") == "A1"
    assert world.slot("A", 1).reserved_for is None
    world.check_everything()
    world.later(HOUR)
    world.inserted("B", 1, "A2")
    assert rental.state is RentalState.COMPLETED


def test_the_wrong_bank_was_meant_for_somebody_else(world: World) -> None:
    """Their order waits for its turn: it is taken back, and they get the next best bank."""
    rental = world.start()
    command = world.send(rental)
    other = world.start(rider=add_rider(world.session, world.now))
    assert world.serial(other) == "A2"
    world.ejected("A", 2, "A2", command)
    assert (world.serial(rental), rental.state) == ("A2", RentalState.ACTIVE)
    assert (world.serial(other), other.state) == ("A3", RentalState.EJECTING)
    assert world.command(other).state is CommandState.QUEUED
    world.ejected("A", 3, "A3", world.send(other))
    assert other.state is RentalState.ACTIVE
    world.check_everything()


def test_the_wrong_bank_was_with_another_rider_as_far_as_we_knew(world: World) -> None:
    """It must have come back unseen: their rental ends when it can have been there at the earliest."""
    other = world.rent(slot=2, rider=add_rider(world.session, world.now))
    world.later(3 * HOUR)
    world.stations["A"].last_heard_at = world.now
    rental = world.start()
    world.ejected("A", 5, "A2", world.send(rental))
    assert (world.serial(rental), rental.state) == ("A2", RentalState.ACTIVE)
    assert (other.state, other.ended_at) == (RentalState.COMPLETED, other.started_at)
    world.check_everything()


def test_both_banks_left_for_one_rental(world: World) -> None:
    rental = world.start()
    first = world.send(rental)
    world.later(5 * SECOND)
    world.result("A", first, FAILED, "bank_stuck")
    second = world.send(rental)
    world.ejected("A", 1, "A1", first)
    assert (rental.state, world.serial(rental)) == (RentalState.ACTIVE, "A1")
    world.ejected("A", 2, "A2", second)
    assert world.serial(rental) == "A1"
    [case] = world.cases()
    assert (case.reason, case.rental_id) == ("second_bank", rental.id)
    world.check_everything()


def test_the_wrong_bank_was_ordered_from_another_station(world: World) -> None:
    """Their cabinet has the order, and not the bank: nothing will move there, and they are not charged."""
    world.inserted("B", 1, "A1", 95)
    other = world.start("B", rider=add_rider(world.session, world.now))
    theirs = world.send(other)
    rental = world.start()
    world.later(SECOND)
    world.ejected("A", 1, "A1", world.send(rental))
    assert (world.serial(rental), rental.state) == ("A1", RentalState.ACTIVE)
    assert (other.state, other.failure_code) == (RentalState.EJECT_FAILED, "bank_gone")
    world.result("B", theirs, FAILED, "slot_empty")
    world.check_everything()


@pytest.mark.parametrize("seen_by", ["event", "inventory"])
def test_not_taken_is_free(world: World, seen_by: str) -> None:
    rental = world.rent()
    world.later(timedelta(seconds=20))
    if seen_by == "event":
        world.inserted("A", 1, "A1", 90)
    else:
        world.inventory("A", {1: ("A1", 90), 2: ("A2", 80), 3: ("A3", 70)})
    assert (rental.state, rental.failure_code) == (RentalState.COMPLETED, "not_taken")
    assert (rental.price_minor, rental.charged_minor) == (0, 0)
    assert world.money() == (5000, 0)
    assert world.slot("A", 1).watched_until == world.now + world.policy.slot_watch
    assert world.serial(world.start()) == "A2"
    world.check_everything()


def test_back_in_the_same_slot_after_more_than_a_minute_is_a_return(world: World) -> None:
    rental = world.rent()
    world.later(timedelta(seconds=61))
    world.inserted("A", 1, "A1")
    assert (rental.state, rental.charged_minor) == (RentalState.COMPLETED, 150)


def test_back_in_another_slot_within_a_minute_is_a_return(world: World) -> None:
    rental = world.rent()
    world.later(timedelta(seconds=20))
    world.inserted("A", 4, "A1")
    assert (rental.state, rental.charged_minor) == (RentalState.COMPLETED, 150)


def test_a_bank_that_leaves_with_no_command(world: World) -> None:
    world.ejected("A", 1, "A1")
    [case] = world.cases()
    assert (case.reason, case.slot_number, case.rental_id) == ("no_command", 1, None)
    assert world.slot("A", 1).disabled_reason == QUARANTINE
    assert world.bank("A1").state is PowerBankState.MISSING
    world.check_everything()
    world.inserted("B", 2, "A1")
    assert world.cases() == []
    assert world.cases(CaseState.RESOLVED)[0].resolution == "back in B, slot 2"
    assert world.bank("A1").state is PowerBankState.AVAILABLE
    assert world.slot("A", 1).disabled_reason == QUARANTINE


def test_the_bank_of_a_rental_that_waits_leaves_with_no_command(world: World) -> None:
    """Its order is not out yet: it is taken back, and the next best bank is ordered."""
    rental = world.start()
    lost = world.command(rental)
    world.ejected("A", 1, "A1", None)
    world.session.refresh(lost)
    assert lost.state is CommandState.CANCELLED
    assert (rental.state, world.serial(rental)) == (RentalState.EJECTING, "A2")
    assert [case.reason for case in world.cases()] == ["no_command"]
    world.check_everything()


def test_a_cabinet_without_command_ids(world: World) -> None:
    """One eject is in flight per station: slot and serial tell that it is this one."""
    rental = world.start()
    world.send(rental)
    world.ejected("A", 1, "A1", None)
    assert rental.state is RentalState.ACTIVE
    assert world.cases() == []


def test_an_eject_by_an_operator(world: World) -> None:
    command = queue_command(
        world.session,
        station_id=world.stations["A"].id,
        command=EjectPowerBank(slot=2),
        deadline=world.now + 30 * SECOND,
        now=world.now,
        requested_by=world.rider,
    )
    command.state, command.sent_at = CommandState.SENT, world.now
    world.session.flush()
    world.ejected("A", 2, "A2", command)
    world.result("A", command, slot=2, serial="A2")
    [case] = world.cases()
    assert (case.reason, case.evidence["command"]) == ("operator_eject", str(command.id))
    assert world.slot("A", 2).disabled_reason is None
    assert command.state is CommandState.SUCCEEDED
    world.check_everything()
    world.inserted("A", 2, "A2")
    assert world.cases() == []


def operators_unknown_eject(world: World, **order: int | str) -> DeviceCommand:
    command = queue_command(
        world.session,
        station_id=world.stations["A"].id,
        command=msgspec.convert(order or {"slot": 2}, EjectPowerBank),
        deadline=world.now + 30 * SECOND,
        now=world.now,
    )
    command.state, command.sent_at = CommandState.SENT, world.now
    world.session.flush()
    world.later(MINUTE)
    deadlines.sweep_commands(world.session, world.now, world.policy)
    assert command.state is CommandState.UNKNOWN
    return command


def test_an_operators_eject_that_nobody_answered(world: World) -> None:
    command = operators_unknown_eject(world)
    world.inventory("A", {1: ("A1", 90), 3: ("A3", 70)}, command=world.asked("A"))
    assert command.state is CommandState.SUCCEEDED
    assert [case.reason for case in world.cases()] == ["operator_eject"]
    world.check_everything()


def test_an_operators_eject_that_moved_nothing(world: World) -> None:
    command = operators_unknown_eject(world)
    world.inventory("A", {1: ("A1", 90), 2: ("A2", 80), 3: ("A3", 70)}, command=world.asked("A"))
    assert command.state is CommandState.FAILED
    assert world.cases() == []


@pytest.mark.parametrize("order", [{"serial": "A2"}, {"serial": "NOT-HERE"}, {"slot": 4}])
def test_no_doubt_is_left_by_a_full_picture(world: World, order: dict[str, int | str]) -> None:
    command = operators_unknown_eject(world, **order)
    world.inventory("A", {1: ("A1", 90), 2: ("A2", 80), 3: ("A3", 70)}, command=world.asked("A"))
    assert (command.state, command.code) == (CommandState.FAILED, "still_there")


def test_a_slot_of_which_the_cabinet_is_not_sure_proves_nothing(world: World) -> None:
    rental, command = world.unknown()
    unsure = SlotInventory(slot=1, state=SlotState.UNKNOWN)
    rest = {2: ("A2", 80), 3: ("A3", 70)}
    world.inventory("A", rest, command=world.asked("A"), other=[unsure])
    assert (rental.state, command.state) == (RentalState.EJECT_UNKNOWN, CommandState.UNKNOWN)
    assert world.place("A1") == "A1"
    stuck = SlotInventory(slot=1, state=SlotState.FAULT)
    world.inventory("A", rest, command=world.asked("A"), other=[stuck])
    assert (rental.state, world.place("A1")) == (RentalState.EJECT_FAILED, "A1")


def test_an_operators_eject_in_doubt_does_not_block_the_station_for_ever(world: World) -> None:
    command = operators_unknown_eject(world)
    world.later(world.policy.eject_unknown_limit)
    deadlines.sweep_rentals(world.session, world.now, world.policy)
    assert command.state is CommandState.ABANDONED


def test_a_command_of_another_station_proves_nothing(world: World) -> None:
    """A cabinet cannot speak for another one."""
    rental = world.start()
    command = world.send(rental)
    world.inserted("B", 1, "B1")
    world.ejected("B", 1, "B1", command)
    world.result("B", command)
    assert (rental.state, command.state) == (RentalState.EJECTING, CommandState.SENT)


def test_an_unknown_command_id_changes_nothing(world: World) -> None:
    rental = world.start()
    command = world.send(rental)
    stranger = DeviceCommand(id=world.rider, station_id=world.stations["A"].id)
    world.result("A", stranger)
    assert (rental.state, command.state) == (RentalState.EJECTING, CommandState.SENT)
