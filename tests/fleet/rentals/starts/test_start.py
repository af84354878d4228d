"""What stands in a rider's way, and what a start leaves behind."""

from datetime import timedelta

import pytest

from firmware_protocol.messages import SlotFault
from firmware_protocol.types import SlotFaultKind
from fleet.common.errors import FleetError
from fleet.devices.models import CommandState
from fleet.payments.errors import InsufficientFunds
from fleet.rentals.errors import (
    MoneyOwed,
    NoBankAvailable,
    NoTariff,
    RentalNotCancellable,
    RentalNotFound,
    RiderNotActive,
    SlotNotAvailable,
    StationNotRenting,
    StationOffline,
    TooManyOpenRentals,
)
from fleet.rentals.models import RentalState
from fleet.rentals.starts import quotes
from fleet.rentals.underway import cancels
from fleet.stations.errors import StationNotFound
from fleet.stations.models import PowerBankState, StationStatus
from fleet.users.models import User, UserStatus
from tests.factories import add_rider
from tests.fleet.rentals.world import HOUR, World


def refusal(world: World, error: type[FleetError], *, slot: int | None = None, code: str = "A") -> FleetError:
    """The error of a start; a quote names it before."""
    reason = quotes.quote(
        world.session, user_id=world.rider, station_code=code, now=world.now, policy=world.policy
    ).reason
    with pytest.raises(error) as raised, world.session.begin_nested():
        world.start(code, slot)
    assert reason == (error.code if slot is None else None)
    return raised.value


def test_a_start_holds_reserves_and_orders(world: World) -> None:
    rental = world.start()
    command = world.command(rental)
    assert rental.state is RentalState.EJECTING
    assert (world.serial(rental), rental.slot_out) == ("A1", 1)
    assert command.args == {"slot": 1, "serial": "A1"}
    assert (command.state, command.deadline) == (CommandState.QUEUED, world.now + world.policy.eject_deadline)
    assert command.requested_by == world.rider
    assert world.slot("A", 1).reserved_for == rental.id
    assert world.money() == (4500, 500)
    assert world.whys(rental) == ["requested"]
    world.check_everything()


def test_the_best_bank_is_the_fullest_then_the_least_worn(world: World) -> None:
    world.inventory("A", {1: ("A1", 80), 2: ("A2", 80), 3: ("A3", 70)})
    world.bank("A1").cycles, world.bank("A2").cycles = 300, 20
    assert world.serial(world.start()) == "A2"


def test_a_slot_can_be_asked_for(world: World) -> None:
    assert world.serial(world.start(slot=3)) == "A3"


def test_a_slot_without_a_bank_cannot(world: World) -> None:
    refusal(world, SlotNotAvailable, slot=4)


@pytest.mark.parametrize("trouble", ["disabled", "watched", "fault", "locked", "unhealthy", "reserved", "quarantined"])
def test_a_bad_slot_is_passed_over(world: World, trouble: str) -> None:
    slot = world.slot("A", 1)
    if trouble == "disabled":
        slot.disabled_reason = "broken"
    elif trouble == "watched":
        slot.watched_until = world.now + timedelta(minutes=1)
    elif trouble == "fault":
        world.say("A", SlotFault(slot=1, kind=SlotFaultKind.JAM))
    elif trouble == "locked":
        slot.locked = True
    elif trouble == "unhealthy":
        slot.health_score = 0
    elif trouble == "reserved":
        slot.reserved_for = world.rider
    else:
        world.bank("A1").state = PowerBankState.QUARANTINED
    assert world.serial(world.start()) == "A2"


def test_a_fault_that_is_over_is_over(world: World) -> None:
    world.say("A", SlotFault(slot=1, kind=SlotFaultKind.JAM))
    world.say("A", SlotFault(slot=1, kind=SlotFaultKind.JAM, cleared=True))
    assert world.serial(world.start()) == "A1"


def test_empty_banks_are_not_given(world: World) -> None:
    world.inventory("A", {1: ("A1", 19), 2: ("A2", 0), 3: ("A3", 5)})
    refusal(world, NoBankAvailable)


def test_foreign_banks_are_not_given(world: World) -> None:
    world.inventory("B", {1: ("STRANGER", 99)})
    refusal(world, NoBankAvailable, code="B")


def test_not_enough_money_to_hold(world: World) -> None:
    world.rider = add_rider(world.session, world.now, 499)
    error = refusal(world, InsufficientFunds)
    assert error.attributes["needed_minor"] == 500
    assert world.slot("A", 1).reserved_for is None


def test_one_open_rental(world: World) -> None:
    world.start()
    assert refusal(world, TooManyOpenRentals).attributes == {"limit": 1}


def test_a_rider_who_owes(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    rental.due_minor = 30
    world.stations["A"].last_heard_at = world.now
    assert refusal(world, MoneyOwed).attributes == {"due_minor": 30, "currency": "EUR"}


def test_a_suspended_rider(world: World) -> None:
    world.session.get_one(User, world.rider).status = UserStatus.SUSPENDED
    refusal(world, RiderNotActive)


def test_a_station_out_of_use(world: World) -> None:
    world.stations["A"].status = StationStatus.MAINTENANCE
    refusal(world, StationNotRenting)


def test_a_station_that_is_offline(world: World) -> None:
    world.stations["A"].online = False
    refusal(world, StationOffline)


def test_a_station_that_has_been_silent_too_long(world: World) -> None:
    world.later(timedelta(seconds=80))
    world.start()
    world.rider = add_rider(world.session, world.now)
    world.later(timedelta(seconds=1))
    refusal(world, StationOffline)


def test_a_station_that_nobody_knows(world: World) -> None:
    with pytest.raises(StationNotFound):
        world.start("NOWHERE")


def test_a_station_without_a_tariff(world: World) -> None:
    world.later(timedelta(days=-366))
    world.stations["A"].last_heard_at = world.now
    with pytest.raises(NoTariff):
        world.start()


def test_a_quote(world: World) -> None:
    quote = quotes.quote(world.session, user_id=world.rider, station_code="A", now=world.now, policy=world.policy)
    assert quote.can_start
    assert (quote.available.amount_minor, quote.charge_pct, quote.terms.unlock_minor) == (5000, 90, 100)


def test_cancelling_before_the_order_is_out(world: World) -> None:
    rental = world.start()
    for _ in range(2):
        again = cancels.cancel(
            world.session, user_id=world.rider, rental_id=rental.id, now=world.now, policy=world.policy
        )
        assert again.state is RentalState.CANCELLED
    assert world.money() == (5000, 0)
    assert world.command(rental).state is CommandState.CANCELLED
    world.start()
    world.check_everything()


def test_cancelling_while_the_eject_is_in_flight(world: World) -> None:
    rental = world.start()
    world.send(rental)
    with pytest.raises(RentalNotCancellable) as refused:
        cancels.cancel(world.session, user_id=world.rider, rental_id=rental.id, now=world.now, policy=world.policy)
    assert refused.value.attributes["state"] is RentalState.EJECTING
    assert world.money() == (4500, 500)


def test_somebody_elses_rental_cannot_be_seen(world: World) -> None:
    rental = world.start()
    other = add_rider(world.session, world.now)
    with pytest.raises(RentalNotFound):
        cancels.cancel(world.session, user_id=other, rental_id=rental.id, now=world.now, policy=world.policy)
