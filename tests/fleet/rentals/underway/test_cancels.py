"""Cancelled with the bank back at once; what a quick return says of a bank; what use does to its cycles."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from fleet.common.money import Money
from fleet.payments.debts import service as debts
from fleet.rentals.errors import RentalNotCancellable
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.underway import cancels
from fleet.stations.models import HealthEvent, HealthKind
from fleet.stations.rules import cycles_after
from tests.factories import add_rider
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND, World


def cancel(world: World, rental: Rental) -> Rental:
    return cancels.cancel(world.session, user_id=world.rider, rental_id=rental.id, now=world.now, policy=world.policy)


def back(world: World, after: timedelta, slot: int = 1) -> Rental:
    """A rental whose bank came back to B so long after it left."""
    world.heard()
    rental = world.rent()
    world.later(after)
    world.inserted("B", slot, world.serial(rental), 88)
    assert rental.state is RentalState.COMPLETED
    return rental


def suspicions(world: World) -> list[int | None]:
    query = select(HealthEvent.power_bank_id).where(HealthEvent.kind == HealthKind.QUICK_RETURN)
    return list(world.session.scalars(query))


def test_a_bank_that_is_back_at_once_may_be_cancelled(world: World) -> None:
    rental = back(world, 4 * MINUTE)
    assert rental.charged_minor == 150
    world.later(4 * MINUTE)
    assert cancel(world, rental).state is RentalState.CANCELLED
    assert (rental.price_minor, rental.charged_minor, rental.due_minor, world.money()) == (0, 0, 0, (5000, 0))
    assert cancel(world, rental).state is RentalState.CANCELLED
    assert world.whys(rental).count("cancelled_by_rider") == 1
    world.check_everything()


def test_what_was_owed_of_a_cancelled_rental_is_owed_no_more(world: World) -> None:
    world.rider = add_rider(world.session, world.now, 500)
    rental = back(world, MINUTE)
    rental.charged_minor, rental.due_minor = 100, 50  # as if the wallet had had no more
    owed = Money(50, "EUR")
    debts.incur(world.session, user_id=world.rider, rental_id=rental.id, money=owed, now=world.now)
    cancel(world, rental)
    assert (rental.charged_minor, rental.due_minor, world.money(world.rider)) == (0, 0, (450, 0))


def test_not_while_the_bank_is_out(world: World) -> None:
    rental = world.rent()
    with pytest.raises(RentalNotCancellable, match="active"):
        cancel(world, rental)


def test_neither_after_five_minutes_of_use_nor_five_minutes_after_the_return(world: World) -> None:
    rental = back(world, 5 * MINUTE + SECOND)
    with pytest.raises(RentalNotCancellable, match="completed"):
        cancel(world, rental)
    rental = back(world, MINUTE, 2)
    world.later(5 * MINUTE + SECOND)
    with pytest.raises(RentalNotCancellable, match="completed"):
        cancel(world, rental)
    assert world.money() == (4700, 0)


def test_a_cabinet_that_was_offline_takes_no_time_from_the_rider(world: World) -> None:
    rental = world.rent()
    back_at = world.later(MINUTE)
    world.later(3 * HOUR)
    world.inserted("B", 1, "A1", at=back_at)
    assert cancel(world, rental).state is RentalState.CANCELLED


def test_three_a_day(world: World) -> None:
    for slot in (1, 2, 3):
        cancel(world, back(world, MINUTE, slot))
    world.inventory("A", {1: ("A1", 90)})
    rental = back(world, MINUTE, 4)
    with pytest.raises(RentalNotCancellable, match="within a day"):
        cancel(world, rental)


def test_what_comes_again_or_late_leaves_a_cancelled_rental_alone(world: World) -> None:
    rental = back(world, MINUTE)
    said = list(world.said)
    cancel(world, rental)
    world.later(SECOND)
    for fact in (*said, *reversed(said)):
        world.apply(fact)
    assert (rental.state, world.place("A1"), world.money(), world.cases()) == (
        RentalState.CANCELLED, "B1", (5000, 0), [],
    )  # fmt: skip
    world.check_everything()


def test_a_quick_return_is_noted_once_and_a_bank_that_was_not_taken_is_not(world: World) -> None:
    rental = back(world, 4 * MINUTE)
    assert suspicions(world) == [rental.power_bank_id]
    world.apply(world.said[-1])
    assert suspicions(world) == [rental.power_bank_id]
    world.heard()
    other = world.rent()
    world.later(20 * SECOND)
    world.inserted("A", other.slot_out, world.serial(other))
    assert other.failure_code == "not_taken"
    assert len(suspicions(world)) == 1


def test_a_bank_counts_a_cycle_for_every_hundred_per_cent_that_riders_took(world: World) -> None:
    for slot, charge in ((1, 30), (2, 50)):
        world.heard()
        rental = world.rent()
        assert world.serial(rental) == "A1"
        world.later(HOUR)
        world.inserted("B", slot, "A1", charge)
        assert rental.discharged_pct == 90 - charge
        world.later(MINUTE)
        world.inserted("A", 1, "A1", 90)
    bank = world.bank("A1")
    assert (bank.discharged_pct, bank.cycles) == (100, 1)


def test_a_better_word_of_the_charge_corrects_what_was_counted(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    early, seq = world.now, world.skip("B")
    world.later(HOUR)
    world.inserted("A", 4, "A1", 40)
    assert world.bank("A1").discharged_pct == 50
    world.inserted("B", 1, "A1", 45, at=early, seq=seq)
    assert (rental.discharged_pct, world.bank("A1").discharged_pct) == (45, 45)


def test_cycles() -> None:
    assert cycles_after(None, 0, 99) is None
    assert cycles_after(None, 99, 1) == 1
    assert cycles_after(7, 250, 250) == 10
    assert cycles_after(1, 100, -1) == 0
