"""A rider does not agree; an operator decides, once, and the money follows."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select

from firmware_protocol.messages import PowerBankEjected
from fleet.common.errors import InvalidInput
from fleet.common.models import OutboxEvent
from fleet.payments import holds
from fleet.payments.invoices import invoices_of_rental
from fleet.rentals import queries
from fleet.rentals.cases.places import Place
from fleet.rentals.corrections import disputes
from fleet.rentals.corrections import service as corrections
from fleet.rentals.corrections.models import DisputeReason, DisputeState, RentalDispute
from fleet.rentals.corrections.service import Act
from fleet.rentals.errors import (
    DisputeDecided,
    DisputeNotFound,
    DisputeTooLate,
    NothingToDispute,
    RentalNotClosed,
    RentalNotFound,
)
from fleet.rentals.events import RentalClosed
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.pricing.price import LineKind
from fleet.rentals.underway import deadlines
from fleet.users.audit import Actor
from tests.factories import add_rider
from tests.fleet.rentals.world import HOUR, SECOND, World

BOSS = Actor(console="root")
DAY = timedelta(days=1)


def dispute(world: World, rental: Rental, rider: UUID | None = None) -> RentalDispute:
    return disputes.open_dispute(
        world.session,
        user_id=rider or rental.user_id,
        rental_id=rental.id,
        reason=DisputeReason.OVERCHARGED,
        note="I gave it back at noon",
        policy=world.policy,
        now=world.now,
    )


def decide(world: World, rental: Rental, refund: int | None) -> RentalDispute:
    return disputes.decide(Act(world.session, rental.id, "he is right", BOSS, world.now), refund)


def closings(world: World) -> int:
    world.session.flush()
    query = select(func.count()).where(OutboxEvent.name == RentalClosed.name)
    return world.session.scalar(query) or 0


def completed(world: World) -> Rental:
    """A rental of an hour: 2.00."""
    rental = world.rent()
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    assert rental.charged_minor == 200
    return rental


@pytest.mark.parametrize(
    ("refund", "state", "back"),
    [
        (None, DisputeState.REFUNDED, 200),
        (200, DisputeState.REFUNDED, 200),
        (80, DisputeState.PARTLY_REFUNDED, 80),
        (0, DisputeState.REJECTED, 0),
    ],
)
def test_decided_once(world: World, refund: int | None, state: DisputeState, back: int) -> None:
    rental = completed(world)
    closed_at, told = rental.closed_at, closings(world)
    first, again = dispute(world, rental), dispute(world, rental)
    assert (first.id, rental.state, rental.closed_at) == (again.id, RentalState.DISPUTED, closed_at)
    world.later(DAY)
    found = decide(world, rental, refund)
    assert (found.state, found.refund_minor, rental.state) == (state, back, RentalState.COMPLETED)
    assert (rental.price_minor, rental.charged_minor, rental.due_minor) == (200 - back, 200 - back, 0)
    assert world.money() == (4800 + back, 0)
    assert holds.refunded_for(world.session, rental.id) == back
    assert sum(each.total_minor for each in invoices_of_rental(world.session, rental.id, rental.user_id)) == 200 - back
    price = queries.price_now(rental, world.now)
    assert (price.total_minor, sum(line.amount_minor for line in price.lines)) == (200 - back, 200 - back)
    assert [line.kind for line in price.lines].count(LineKind.REFUND) == (1 if back else 0)
    assert closings(world) == told, "nobody is told again that the rental is over"
    with pytest.raises(DisputeDecided):
        decide(world, rental, None)
    with pytest.raises(DisputeDecided):
        dispute(world, rental)
    assert world.money() == (4800 + back, 0)
    world.check_everything()


def test_what_is_owed_gives_way_before_what_was_paid(world: World) -> None:
    poor = add_rider(world.session, world.now, 500)
    rental = world.rent(rider=poor)
    world.later(10 * HOUR)
    world.inserted("B", 1, "A1")
    assert (rental.price_minor, rental.charged_minor, rental.due_minor) == (1100, 500, 600)
    dispute(world, rental)
    disputes.decide(Act(world.session, rental.id, "x" * 300, BOSS, world.now), 700)
    assert (rental.price_minor, rental.charged_minor, rental.due_minor) == (400, 400, 0)
    assert world.money(poor) == (100, 0)
    world.check_everything()


def test_evidence_makes_it_cheaper_while_it_is_disputed(world: World) -> None:
    rental = world.rent()
    back_at = world.later(HOUR)
    world.later(4 * HOUR)
    corrections.force_complete(Act(world.session, rental.id, "it must be over", BOSS, world.now))
    dispute(world, rental)
    world.inserted("B", 1, "A1", at=back_at)
    assert (rental.state, rental.ended_at, rental.charged_minor) == (RentalState.DISPUTED, back_at, 200)
    with pytest.raises(InvalidInput):
        decide(world, rental, 201)
    decide(world, rental, 0)
    assert (rental.state, rental.charged_minor, world.money()) == (RentalState.COMPLETED, 200, (4800, 0))
    world.check_everything()


def test_evidence_after_the_refund_gives_no_more_than_it_cost(world: World) -> None:
    rental = world.rent()
    back_at = world.later(HOUR)
    world.later(4 * HOUR)
    corrections.force_complete(Act(world.session, rental.id, "it must be over", BOSS, world.now))
    dispute(world, rental)
    decide(world, rental, None)
    world.inserted("B", 1, "A1", at=back_at)
    assert (rental.price_minor, rental.charged_minor, world.money()) == (0, 0, (5000, 0))
    world.check_everything()


def test_a_bank_that_was_bought(world: World) -> None:
    rental = world.rent()
    world.later(30 * DAY)
    deadlines.sweep_rentals(world.session, world.now, world.policy)
    assert rental.state is RentalState.BOUGHT_OUT
    dispute(world, rental)
    decide(world, rental, 1000)
    assert (rental.state, rental.charged_minor, world.money()) == (RentalState.BOUGHT_OUT, 2000, (3000, 0))
    world.check_everything()


def lost(world: World) -> Rental:
    """A bank that counts as lost after a day and a half; its rider does not agree."""
    rental = world.start()
    rental.terms = {**rental.terms, "lost_after": 12 * HOUR.total_seconds(), "lost_fee_minor": 700}
    world.ejected("A", rental.slot_out, "A1", world.send(rental))
    world.later(40 * HOUR)
    deadlines.sweep_rentals(world.session, world.now, world.policy)
    assert (rental.state, rental.charged_minor) == (RentalState.BOUGHT_OUT, 100 + 2 * 1000 + 700)
    dispute(world, rental)
    return rental


def test_a_bank_that_was_lost_comes_back_while_it_is_disputed(world: World) -> None:
    rental = lost(world)
    fact = world.inserted("B", 1, "A1")
    world.apply(fact)
    assert (rental.state, rental.charged_minor, rental.slot_in) == (RentalState.DISPUTED, 2100, 1)
    assert world.whys(rental).count("brought_back") == 1
    decide(world, rental, 100)
    assert (rental.state, rental.charged_minor, world.money()) == (RentalState.COMPLETED, 2000, (3000, 0))
    world.check_everything()


def test_an_operator_says_that_a_disputed_bank_was_back(world: World) -> None:
    rental = lost(world)
    assert rental.started_at is not None
    at = rental.started_at + HOUR
    corrections.back_date(Act(world.session, rental.id, "on a table", BOSS, world.now), at, place=Place("B", 2))
    assert (rental.state, rental.charged_minor, rental.ended_at) == (RentalState.DISPUTED, 200, at)
    decide(world, rental, 0)
    assert (rental.state, rental.slot_in) == (RentalState.COMPLETED, 2)
    world.check_everything()


def test_better_word_of_the_start_gives_no_disputed_bank_away(world: World) -> None:
    rental = world.start()
    rental.terms = {**rental.terms, "lost_after": 12 * HOUR.total_seconds(), "lost_fee_minor": 700}
    command = world.send(rental)
    world.later(10 * SECOND)
    world.result("A", command, serial="A1", slot=1)
    late = world.fact("A", PowerBankEjected(slot=1, serial="A1", command_id=str(command.id)), at=world.now - SECOND)
    world.later(40 * HOUR)
    deadlines.sweep_rentals(world.session, world.now, world.policy)
    dispute(world, rental)
    world.apply(late)
    assert rental.charged_minor == 100 + 2 * 1000 + 700
    decide(world, rental, 0)
    assert rental.state is RentalState.BOUGHT_OUT
    world.check_everything()


def test_refused_when_there_is_nothing_to_dispute(world: World) -> None:
    rental = world.rent()
    with pytest.raises(RentalNotClosed):
        dispute(world, rental)
    with pytest.raises(DisputeNotFound):
        decide(world, rental, None)
    world.later(30 * SECOND)
    world.inserted("A", 1, "A1")
    assert rental.price_minor == 0
    with pytest.raises(NothingToDispute):
        dispute(world, rental)
    with pytest.raises(DisputeNotFound):
        disputes.dispute_of(world.session, rental.user_id, rental.id)


def test_nobody_elses_and_not_for_ever(world: World) -> None:
    rental = completed(world)
    with pytest.raises(RentalNotFound):
        dispute(world, rental, add_rider(world.session, world.now))
    world.later(world.policy.dispute_within)
    world.later(SECOND)
    with pytest.raises(DisputeTooLate):
        dispute(world, rental)
    assert disputes.page(world.session, None, 10) == []
