"""The station cannot take the bank: the clock stands still, and nobody has to decide anything."""

import pytest

from fleet.rentals import queries
from fleet.rentals.errors import IssueNotFound, RentalNotFound, RentalNotOpen
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.underway import issues, problems
from fleet.rentals.underway.models import IssueKind, IssueState, RentalIssue
from fleet.rentals.underway.problems import ProblemKind, ReturnProblem
from fleet.stations.errors import StationNotFound
from tests.factories import add_rider, add_station
from tests.fleet.rentals.world import HOUR, MINUTE, World


def problem(world: World, rental: Rental, code: str = "B") -> ReturnProblem:
    return problems.report_return_problem(
        world.session,
        user_id=rental.user_id,
        rental_id=rental.id,
        station_code=code,
        kind=ProblemKind.FULL,
        note=None,
        policy=world.policy,
        now=world.now,
    )


def test_back_in_time_nothing_was_charged_since(world: World) -> None:
    rental = world.rent()
    world.later(10 * MINUTE)
    found = problem(world, rental)
    assert found.paused_until == world.now + world.policy.return_grace
    assert [station.code for station in found.stations] == ["A"], "where the bank can go, and not where it cannot"
    world.later(world.policy.return_grace)
    world.inserted("A", 5, "A1")
    assert (rental.state, rental.charged_minor) == (RentalState.COMPLETED, 150)
    world.check_everything()


def test_not_back_in_time_billing_goes_on(world: World) -> None:
    rental = world.rent()
    problem(world, rental)
    world.later(world.policy.return_grace + HOUR)
    assert queries.price_now(rental, world.now).total_minor == 100 + 2 * 50


def test_said_again_nothing_changes_and_after_so_many_times_nothing_is_paused(world: World) -> None:
    rental = world.rent()
    first = problem(world, rental)
    world.later(MINUTE)
    again = problem(world, rental)
    assert (again.paused_until, again.pauses_left, len(rental.paused)) == (first.paused_until, first.pauses_left, 1)
    for _ in range(2):
        world.later(HOUR)
        last = problem(world, rental)
    assert (last.paused_until, last.pauses_left, len(rental.paused)) == (None, 0, world.policy.return_problems_max)
    assert [station.code for station in last.stations] == ["A"]


def test_the_nearest_first_and_only_those_that_can_take_it(world: World) -> None:
    rental = world.rent()
    near = add_station(world.session, world.now, "NEAR", 2, latitude=47.371)
    add_station(world.session, world.now, "DARK", 2, latitude=47.3705, online=False)
    world.stations["NEAR"] = near
    world.inventory("NEAR", {})
    add_station(world.session, world.now, "FAR", 2, latitude=48.5)
    assert [station.code for station in problem(world, rental).stations] == ["A", "NEAR"]


def test_refused_when_it_makes_no_sense(world: World) -> None:
    rental = world.rent()
    with pytest.raises(StationNotFound):
        problem(world, rental, "Z")
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    with pytest.raises(RentalNotOpen):
        problem(world, rental)


def test_operators_hear_of_it_once_and_close_the_report(world: World) -> None:
    rental = world.rent()
    for _ in range(2):
        problem(world, rental)
    [report] = issues.page(world.session, IssueState.OPEN, 10)
    assert (report.kind, report.rental_id, report.station and report.station.code) == (
        IssueKind.RETURN, rental.id, "B",
    )  # fmt: skip
    for reason in ("emptied", "emptied again"):
        assert issues.resolve(world.session, report.id, reason, world.now).resolution == "emptied"
    assert issues.page(world.session, IssueState.OPEN, 10) == []
    with pytest.raises(IssueNotFound):
        issues.resolve(world.session, rental.id, "nothing", world.now)


def test_a_rider_reports_what_is_broken_and_nobody_elses_rental(world: World) -> None:
    rental = world.rent()

    def report(kind: IssueKind, note: str) -> RentalIssue:
        return issues.report(
            world.session, user_id=rental.user_id, rental_id=rental.id, kind=kind, note=note, now=world.now
        )

    first, second = report(IssueKind.DAMAGED, "bent"), report(IssueKind.DAMAGED, "still bent")
    assert (first.id, second.note) == (second.id, "bent")
    report(IssueKind.NOT_CHARGING, "no light")
    kinds = [each.kind for each in issues.of_rental(world.session, rental.user_id, rental.id)]
    assert kinds == [IssueKind.DAMAGED, IssueKind.NOT_CHARGING]
    stranger = add_rider(world.session, world.now)
    with pytest.raises(RentalNotFound):
        issues.of_rental(world.session, stranger, rental.id)
    with pytest.raises(RentalNotFound):
        issues.report(
            world.session, user_id=stranger, rental_id=rental.id, kind=IssueKind.LOST, note=None, now=world.now
        )
