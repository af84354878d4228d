"""A rider's rentals in figures, and found again."""

from datetime import timedelta

from fleet.common.money import Money
from fleet.rentals import queries
from fleet.rentals.models import RentalState
from fleet.rentals.records import statistics
from fleet.rentals.underway import deadlines
from tests.factories import add_rider
from tests.fleet.rentals.world import HOUR, SECOND, World

DAY = timedelta(days=1)


def heard(world: World) -> None:
    """The stations are there still."""
    for station in world.stations.values():
        station.last_heard_at = world.now
    world.session.flush()


def test_what_a_rider_has_done(world: World) -> None:
    assert statistics.of_rider(world.session, world.rider).rentals == 0
    world.rent()
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    heard(world)
    world.rent(slot=2)
    world.later(DAY + HOUR)
    world.inserted("A", 2, "A2")
    heard(world)
    failed = world.start(slot=3)
    world.later(world.policy.eject_deadline + world.policy.eject_grace + SECOND)
    deadlines.sweep_commands(world.session, world.now, world.policy)
    assert failed.state is RentalState.EJECT_FAILED
    world.rent(rider=add_rider(world.session, world.now), slot=2)
    found = statistics.of_rider(world.session, world.rider)
    assert (found.rentals, found.in_time, found.bought, found.stations) == (2, 1, 0, 2)
    assert (found.total_time, found.longest) == (DAY + 2 * HOUR, DAY + HOUR)
    charged = sum(rental.charged_minor for rental in queries.history(world.session, world.rider, 10))
    assert found.paid == (Money(charged, "EUR"),)


def test_found_again_by_state_and_time(world: World) -> None:
    first = world.rent()
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    heard(world)
    second = world.rent(slot=2)
    all_of_them = queries.history(world.session, world.rider, 10)
    assert [each.id for each in all_of_them] == [second.id, first.id]
    open_ones = queries.history(world.session, world.rider, 10, state=RentalState.ACTIVE)
    assert [each.id for each in open_ones] == [second.id]
    late = queries.history(world.session, world.rider, 10, since=second.requested_at)
    early = queries.history(world.session, world.rider, 10, until=second.requested_at)
    assert ([each.id for each in late], [each.id for each in early]) == ([second.id], [first.id])
