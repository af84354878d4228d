"""Time that costs nothing: what the price, the due times and the database make of it."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from fleet.rentals import queries
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.pricing.meter import FOREVER, put_off
from fleet.rentals.underway import deadlines, pauses
from fleet.rentals.underway.models import PauseKind, RentalPause
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND, World

DAY = timedelta(days=1)
KIND = PauseKind.OPERATOR


def check_at_commit(world: World) -> None:
    world.session.flush()
    world.session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    world.session.execute(text("SET CONSTRAINTS ALL DEFERRED"))


def begin(world: World, rental: Rental, *, until: timedelta | None) -> RentalPause:
    ends = None if until is None else world.now + until
    return pauses.begin(world.session, rental, KIND, at=world.now, until=ends, by=None, now=world.now)


def test_a_paused_hour_costs_nothing_and_puts_off_what_is_due(world: World) -> None:
    rental = world.rent()
    before = rental.overdue_at, rental.buyout_at
    world.later(10 * MINUTE)
    begin(world, rental, until=HOUR)
    assert before[0] is not None
    assert before[1] is not None
    assert (rental.overdue_at, rental.buyout_at) == (before[0] + HOUR, before[1] + HOUR)
    check_at_commit(world)
    world.later(HOUR + 15 * MINUTE)
    assert queries.price_now(rental, world.now).total_minor == 100 + 50
    world.inserted("B", 1, "A1")
    assert (rental.state, rental.charged_minor) == (RentalState.COMPLETED, 150)
    assert pauses.PAUSED in world.whys(rental)
    world.check_everything()


def test_a_pause_without_end_keeps_the_sweeps_away_until_it_ends(world: World) -> None:
    rental = world.rent()
    pause = begin(world, rental, until=None)
    assert (rental.overdue_at, rental.buyout_at) == (None, None)
    world.later(30 * DAY)
    assert deadlines.sweep_rentals(world.session, world.now, world.policy) == 0
    pauses.end(world.session, rental, pause, at=world.now, now=world.now)
    check_at_commit(world)
    assert rental.overdue_at == world.now + DAY
    pauses.end(world.session, rental, pause, at=world.now + HOUR, now=world.now)
    assert rental.overdue_at == world.now + DAY, "an end that was said is not put off"
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    assert rental.charged_minor == 100 + 2 * 50


def test_a_pause_that_is_voided_was_never_there(world: World) -> None:
    rental = world.rent()
    due = rental.overdue_at
    pause = begin(world, rental, until=None)
    world.later(HOUR)
    pauses.void(world.session, rental, pause, why="claim_refuted", now=world.now)
    check_at_commit(world)
    assert (rental.overdue_at, rental.paused) == (due, [])
    assert queries.price_now(rental, world.now).total_minor == 100 + 2 * 50
    assert pauses.running(world.session, rental, KIND, world.now) is None


def test_a_start_that_is_corrected_counts_only_what_was_paused_after_it(world: World) -> None:
    rental = world.start()
    command = world.send(rental)
    world.later(SECOND)
    world.result("A", command, slot=1, serial="A1")
    pause = begin(world, rental, until=HOUR)
    world.later(HOUR)
    world.ejected("A", 1, "A1", command, at=pause.began_at + HOUR)
    assert rental.started_at == pause.began_at + HOUR
    assert rental.overdue_at == rental.started_at + DAY
    check_at_commit(world)


def test_the_database_holds_list_and_rows_together(world: World) -> None:
    rental = world.rent()
    begin(world, rental, until=HOUR)
    check_at_commit(world)
    rental.paused = []
    with pytest.raises(IntegrityError, match="is not its pauses"):
        check_at_commit(world)


def test_the_database_knows_no_two_pauses_of_a_kind_at_once(world: World) -> None:
    rental = world.rent()
    begin(world, rental, until=None)
    world.later(HOUR)
    with pytest.raises(IntegrityError, match="ex_rental_pause_overlap"):
        begin(world, rental, until=HOUR)


def test_when_a_due_time_falls_that_open_pauses_put_off(world: World) -> None:
    start = world.now
    assert put_off(start, HOUR, []) == start + HOUR
    assert put_off(start, HOUR, [(start, start + HOUR)]) == start + 2 * HOUR
    assert put_off(start, HOUR, [(start + 2 * HOUR, FOREVER)]) == start + HOUR
    assert put_off(start, HOUR, [(start + 59 * MINUTE, FOREVER)]) is None
    # The clock stands still already when the endless one begins.
    assert put_off(start, HOUR, [(start + 30 * MINUTE, start + 2 * HOUR), (start + HOUR, FOREVER)]) is None
