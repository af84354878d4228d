"""A start that was deduced, against the cabinet's own word that its order moved nothing."""

import pytest

from firmware_protocol.types import CommandOutcome
from fleet.devices.models import CommandState
from fleet.payments import holds
from fleet.payments.invoices import invoices_of_rental
from fleet.payments.models import AccountKind
from fleet.rentals.closing.annulment import annul
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import PayMode, RentalState
from fleet.rentals.starts.payment_plans import BY_WALLET, PaymentPlan, plan_of
from tests.fleet.rentals.starts.test_payment_plans import give_points
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


@pytest.mark.parametrize("plan", [BY_WALLET, plan_of(PayMode.SPLIT)], ids=["wallet", "points and wallet"])
@pytest.mark.parametrize("later_hours", [1, 2, 5], ids=["as much as before", "more", "much more"])
def test_a_bank_that_leaves_after_what_was_charged_came_back_is_charged_anew(
    world: World, plan: PaymentPlan, later_hours: int
) -> None:
    points = 60 if plan.mode is PayMode.SPLIT else 0
    if points:
        give_points(world, points)
    rental, command = world.unknown(plan)
    world.inventory("A", {2: ("A2", 80), 3: ("A3", 70)})
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    world.result("A", command, CommandOutcome.FAILED, "slot_empty")
    assert (world.money(), rental.state) == ((5000, 0), RentalState.EJECT_FAILED)
    world.inventory("B", {})
    world.later(MINUTE)
    world.inserted("A", 1, "A1")
    world.later(MINUTE)
    world.ejected("A", 1, "A1", command)
    assert (rental.state, rental.price_minor) == (RentalState.ACTIVE, None)
    world.later(later_hours * HOUR)
    world.inserted("B", 1, "A1")
    price = rental.price_minor
    assert rental.state is RentalState.COMPLETED
    assert price is not None
    assert (rental.charged_minor, rental.due_minor) == (price, 0)
    assert world.money() == (5000 - price + points, 0)
    assert holds.paid_by(world.session, rental.id) == {
        kind: minor for kind, minor in {AccountKind.WALLET: price - points, AccountKind.BONUS: points}.items() if minor
    }
    bills = invoices_of_rental(world.session, rental.id, world.rider)
    assert sum(bill.total_minor for bill in bills) == price
    world.check_everything()


def test_what_is_charged_anew_comes_back_once_more(world: World) -> None:
    """A correction that lowers the price to what it was lowered to before is another refund."""
    rental, command = world.unknown()
    world.inventory("A", {2: ("A2", 80), 3: ("A3", 70)})
    for _ in range(2):
        world.later(HOUR)
        world.inserted("B", 1, "A1")
        assert rental.state is RentalState.COMPLETED
        assert world.money() == (5000 - rental.charged_minor, 0) != (5000, 0)
        [rental] = lock_rentals(world.session, [rental.id], [command.id]).values()
        annul(world.session, rental, why="again", code="again", evidence={}, at=world.now, now=world.now)
        assert (rental.charged_minor, world.money()) == (0, (5000, 0))
        world.inventory("B", {})
        world.later(MINUTE)
        world.inserted("A", 1, "A1")
        world.later(MINUTE)
        world.ejected("A", 1, "A1", command)
        assert rental.state is RentalState.ACTIVE
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
