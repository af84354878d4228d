"""Whatever one event may change is found by indexes, however many rentals, commands and slots there are elsewhere."""

from collections.abc import Collection
from uuid import UUID

import pytest

from fleet.rentals.locking import lock_with_slots
from tests.fleet.rentals.world import World
from tests.statements import asked, scans


@pytest.mark.parametrize("numbers", [None, {1}])
def test_an_event_locks_and_reads_what_it_is_about_only(world: World, numbers: Collection[int] | None) -> None:
    rental = world.rent(slot=1)
    ids: set[UUID] = {rental.id}
    serial, station_id = world.serial(rental), world.stations["A"].id
    with asked(world.session) as statements:
        locked = lock_with_slots(
            world.session, ids, (), station_id=station_id, numbers=numbers, serials={serial}, now=world.now
        )
    assert locked.rentals == {rental.id: rental}
    assert [command.rental_id for command in locked.commands.values()] == [rental.id]
    assert set(locked.picture.slots) == ({1} if numbers else {1, 2, 3, 4, 5})
    assert serial in locked.picture.banks
    assert ["FOR " in sql for sql, _ in statements] == [True] * 5 + [False]
    for sql, values in statements:
        assert scans(world.session, sql, values) == []
