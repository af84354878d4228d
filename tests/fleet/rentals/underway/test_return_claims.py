"""A rider says that the bank is in a slot; the station, or an operator, says whether that is so."""

from datetime import datetime, timedelta

import pytest

from firmware_protocol.messages import SlotInventory
from firmware_protocol.types import SlotState
from fleet.devices.models import CommandPurpose
from fleet.rentals import queries
from fleet.rentals.cases.places import Place
from fleet.rentals.corrections import service as corrections
from fleet.rentals.corrections.service import Act
from fleet.rentals.errors import ClaimNotFound, ClaimPending, RentalNotFound, RentalNotOpen, SlotTaken, TooManyClaims
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.underway import claims, deadlines
from fleet.rentals.underway.models import ClaimState, ReturnClaim
from fleet.stations.errors import SlotNotFound, StationNotFound
from fleet.users.audit import Actor
from tests.factories import add_rider
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND, World

BOSS = Actor(console="root")


def claim(world: World, rental: Rental, code: str = "B", slot: int = 1) -> ReturnClaim:
    return claims.claim_return(
        world.session,
        user_id=rental.user_id,
        rental_id=rental.id,
        station_code=code,
        slot=slot,
        policy=world.policy,
        now=world.now,
    )


def offline(world: World, code: str = "B") -> None:
    world.stations[code].online = False
    world.session.flush()


def act(world: World, rental: Rental) -> Act:
    return Act(world.session, rental.id, "looked", BOSS, world.now)


def claimed(world: World) -> tuple[Rental, ReturnClaim, datetime]:
    """A rental of an hour whose bank is said to be in slot 1 of station B, which is offline."""
    rental = world.rent()
    offline(world)
    at = world.later(HOUR)
    found = claim(world, rental)
    assert found.state is ClaimState.PENDING
    return rental, found, at


def test_true_and_told_by_the_journal(world: World) -> None:
    rental, found, at = claimed(world)
    world.later(48 * HOUR)
    assert deadlines.sweep_rentals(world.session, world.now, world.policy) == 0, "nothing is due while it is open"
    assert queries.price_now(rental, world.now).total_minor == 200
    world.inserted("B", 1, "A1", at=at - SECOND)
    assert (rental.state, rental.ended_at, rental.charged_minor) == (RentalState.COMPLETED, at - SECOND, 200)
    assert (found.state, world.whys(rental)[-2:]) == (ClaimState.CONFIRMED, ["claim_confirmed", "returned"])
    world.check_everything()


def test_true_in_another_slot_and_shown_by_an_inventory(world: World) -> None:
    rental, found, _ = claimed(world)
    world.later(HOUR)
    world.inventory("B", {3: ("A1", 40)})
    assert (rental.state, found.state) == (RentalState.COMPLETED, ClaimState.CONFIRMED)
    assert rental.charged_minor <= 200
    world.check_everything()


def test_shown_too_soon_to_be_believed_the_station_is_asked(world: World) -> None:
    """It starts again a minute later and shows its slots by itself: the rider may just have put the bank in."""
    rental, found, _ = claimed(world)
    world.later(MINUTE)
    world.inventory("B", {})
    assert (rental.state, found.state) == (RentalState.ACTIVE, ClaimState.PENDING)
    question = world.asked("B")
    assert question.purpose is CommandPurpose.DOUBT
    world.later(SECOND)
    world.inventory("B", {}, command=question)
    assert found.state is ClaimState.REFUTED


def test_false_and_shown_by_an_inventory(world: World) -> None:
    rental, found, _ = claimed(world)
    due = rental.requested_at + SECOND + timedelta(days=1)
    world.later(HOUR)
    for _ in range(2):
        world.inventory("B", {})
    assert (rental.state, found.state) == (RentalState.ACTIVE, ClaimState.REFUTED)
    assert rental.overdue_at == due
    assert queries.price_now(rental, world.now).total_minor == 100 + 4 * 50, "the paused hour costs what it costs"
    assert world.whys(rental).count("claim_refuted") == 1
    world.inserted("B", 1, "A1")
    assert rental.charged_minor == 300
    world.check_everything()


def test_false_as_the_bank_comes_back_elsewhere(world: World) -> None:
    rental, found, _ = claimed(world)
    world.later(HOUR)
    world.inserted("A", 5, "A1")
    assert (found.state, rental.charged_minor) == (ClaimState.REFUTED, 300)
    world.check_everything()


def test_said_before_it_was_put_in(world: World) -> None:
    rental, found, _ = claimed(world)
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    assert (found.state, rental.charged_minor) == (ClaimState.REFUTED, 300)


def state(found: ReturnClaim) -> ClaimState:
    return found.state


def test_an_older_or_unreadable_picture_decides_nothing(world: World) -> None:
    rental, found, at = claimed(world)
    world.later(HOUR)
    world.inventory("B", {}, at=at - MINUTE)
    unreadable = SlotInventory(slot=1, state=SlotState.OCCUPIED, serial=None, charge_pct=None)
    world.inventory("B", {}, other=[unreadable])
    assert (state(found), rental.state) == (ClaimState.PENDING, RentalState.ACTIVE)
    world.inventory("B", {})
    assert state(found) is ClaimState.REFUTED


def test_a_station_that_is_online_is_asked_at_once(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    found = claim(world, rental)
    world.later(MINUTE)
    world.inventory("B", {}, command=world.asked("B"))
    assert found.state is ClaimState.REFUTED


def test_said_twice_it_is_one_claim(world: World) -> None:
    rental, found, _ = claimed(world)
    world.later(MINUTE)
    assert claim(world, rental).id == found.id
    with pytest.raises(ClaimPending):
        claim(world, rental, slot=2)
    assert len(rental.paused) == 1


def test_so_often_and_no_more(world: World) -> None:
    rental = world.rent()
    for _ in range(world.policy.return_claims_max):
        world.later(HOUR)
        claim(world, rental)
        world.later(HOUR)
        world.inventory("B", {})
    with pytest.raises(TooManyClaims):
        claim(world, rental)
    assert rental.paused == []


def test_refused_when_it_makes_no_sense(world: World) -> None:
    rental = world.rent()
    with pytest.raises(StationNotFound):
        claim(world, rental, "Z")
    with pytest.raises(SlotNotFound):
        claim(world, rental, "B", 99)
    with pytest.raises(RentalNotFound):
        claims.claim_return(
            world.session,
            user_id=add_rider(world.session, world.now),
            rental_id=rental.id,
            station_code="B",
            slot=1,
            policy=world.policy,
            now=world.now,
        )
    with pytest.raises(ClaimNotFound):
        claims.of_rental(world.session, rental.user_id, rental.id)
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    with pytest.raises(RentalNotOpen):
        claim(world, rental)


def test_an_operator_confirms_it(world: World) -> None:
    rental, found, at = claimed(world)
    world.later(5 * HOUR)
    with pytest.raises(SlotTaken):
        corrections.confirm_claim(act(world, rental), place=Place("A", 2))
    corrections.confirm_claim(act(world, rental))
    assert (rental.state, rental.ended_at, rental.charged_minor) == (RentalState.COMPLETED, at, 200)
    assert (found.state, world.place("A1")) == (ClaimState.CONFIRMED, "B1")
    with pytest.raises(RentalNotOpen):
        corrections.confirm_claim(act(world, rental))
    world.check_everything()


def test_an_operator_refutes_it(world: World) -> None:
    rental, found, _ = claimed(world)
    world.later(HOUR)
    corrections.refute_claim(act(world, rental))
    assert (rental.state, found.state) == (RentalState.ACTIVE, ClaimState.REFUTED)
    with pytest.raises(ClaimNotFound):
        corrections.refute_claim(act(world, rental))
    assert queries.price_now(rental, world.now).total_minor == 300


def test_closed_otherwise_by_an_operator(world: World) -> None:
    rental, found, _ = claimed(world)
    corrections.force_cancel(act(world, rental))
    assert (rental.state, found.state) == (RentalState.CANCELLED, ClaimState.OVERTAKEN)
    world.check_everything()
