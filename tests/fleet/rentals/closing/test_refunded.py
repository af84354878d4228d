"""What comes late about a rental that an operator has refunded."""

from datetime import timedelta

from fleet.common.money import Money
from fleet.payments import holds
from tests.fleet.rentals.world import HOUR, World


def test_an_earlier_return_gives_back_only_what_was_not_given_back_before(world: World) -> None:
    rental = world.rent()
    returned_at = world.later(HOUR)
    journaled = world.skip("B")
    world.later(timedelta(hours=5))
    world.inserted("A", 4, world.serial(rental))
    paid = rental.charged_minor
    before = world.money()[0]
    for_all = Money(paid, "EUR")
    holds.refund_rental(
        world.session, rental_id=rental.id, money=for_all, reason="complaint", key="operator", now=world.now
    )
    world.inserted("B", 1, world.serial(rental), at=returned_at, seq=journaled)
    assert (rental.ended_at, world.money()[0]) == (returned_at, before + paid)
    world.check_everything()
