"""A bank is exchanged: the old one back, the new one out, one rental, one price; and all that may go wrong between."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import pytest
from sqlalchemy import func, select

from firmware_protocol.messages import PowerBankEjected, PowerBankInserted
from firmware_protocol.types import CommandOutcome
from fleet.common.models import OutboxEvent
from fleet.db import session_scope
from fleet.devices.models import DeviceCommand
from fleet.rentals.errors import NoBankAvailable, NotSwappable, RentalNotCancellable
from fleet.rentals.events import RentalStarted, RentalSwapped
from fleet.rentals.models import Rental, RentalState, RentalSwap, SwapReason, SwapState
from fleet.rentals.underway import cancels, deadlines, swaps
from fleet.stations.models import PowerBankState, StationSlot
from tests.databases import Database
from tests.factories import add_rider
from tests.fleet.parallel import together, wide_engine
from tests.fleet.rentals.test_races import Town
from tests.fleet.rentals.world import HOUR, MINUTE, POLICY, SECOND, World

MANY = 50


def ask(world: World, rental: Rental, reason: SwapReason = SwapReason.LOW_BATTERY) -> Rental:
    return swaps.ask_swap(
        world.session, user_id=world.rider, rental_id=rental.id, station_code="A", reason=reason, now=world.now,
        policy=world.policy,
    )  # fmt: skip


def give_back(world: World, reason: SwapReason = SwapReason.LOW_BATTERY) -> Rental:
    """A rental whose bank A1 went back into slot 4 after two minutes; A2 is ordered."""
    rental = world.rent()
    world.later(MINUTE)
    ask(world, rental, reason)
    world.later(MINUTE)
    world.inserted("A", 4, "A1", 70)
    assert (rental.state, world.serial(rental), rental.slot_out) == (RentalState.EJECTING, "A2", 2)
    return rental


def swap_of(world: World, rental: Rental) -> RentalSwap:
    query = select(RentalSwap).where(RentalSwap.rental_id == rental.id).order_by(RentalSwap.id.desc()).limit(1)
    return world.session.scalars(query.execution_options(populate_existing=True)).one()


def events(world: World, name: str) -> int:
    return world.session.scalar(select(func.count()).where(OutboxEvent.name == name)) or 0


def test_the_old_one_back_the_new_one_out_one_rental_one_price(world: World) -> None:
    rental = world.rent()
    started = rental.started_at
    world.later(MINUTE)
    ask(world, rental)
    assert world.slot("A", 2).reserved_for == rental.id
    other = world.start(rider=add_rider(world.session, world.now))
    assert other.slot_out == 3, "the other bank is kept"
    cancels.cancel(world.session, user_id=other.user_id, rental_id=other.id, now=world.now, policy=world.policy)
    world.later(MINUTE)
    world.inserted("A", 4, "A1", 70)
    assert (rental.state, world.serial(rental), rental.slot_out) == (RentalState.EJECTING, "A2", 2)
    assert (world.place("A1"), world.bank("A1").discharged_pct) == ("A4", 20)
    command = world.send(rental)
    world.later(SECOND)
    world.ejected("A", 2, "A2", command)
    world.result("A", command, slot=2, serial="A2")
    assert (rental.state, rental.started_at, rental.swaps) == (RentalState.ACTIVE, started, 1)
    assert (swap_of(world, rental).state, rental.swap_id) == (SwapState.DONE, None)
    assert (events(world, RentalStarted.name), events(world, RentalSwapped.name)) == (1, 1)
    assert world.money() == (4500, 500)
    world.check_everything()
    world.later(HOUR)
    world.inserted("B", 1, "A2", 50)
    assert (rental.state, rental.charged_minor, rental.discharged_pct) == (RentalState.COMPLETED, 250, 30)
    assert world.money() == (4750, 0)
    world.check_everything()


def test_everything_told_again_changes_nothing(world: World) -> None:
    rental = give_back(world)
    command = world.send(rental)
    world.later(SECOND)
    world.ejected("A", 2, "A2", command)
    started = rental.started_at
    said = list(world.said)
    world.later(SECOND)
    for fact in (*said, *reversed(said)):
        world.apply(fact)
    assert (rental.state, world.serial(rental), rental.started_at) == (RentalState.ACTIVE, "A2", started)
    assert (world.place("A1"), world.cases()) == ("A4", [])
    world.check_everything()


def test_a_bank_with_a_defect_is_given_to_nobody(world: World) -> None:
    give_back(world, SwapReason.DEFECT)
    bank = world.bank("A1")
    assert (bank.state, bank.state_set_by, bank.quarantine_reason) == (
        PowerBankState.QUARANTINED, "swap", "a rider gave it back: defect",
    )  # fmt: skip


def test_the_bank_that_was_given_back_is_not_given_out_for_itself(world: World) -> None:
    """It has more charge than the one that is left; when that does not come either, none does."""
    rental = give_back(world)
    world.result("A", world.send(rental), CommandOutcome.FAILED, "motor_stalled", slot=2)
    assert (world.serial(rental), rental.slot_out) == ("A3", 3)
    world.result("A", world.send(rental), CommandOutcome.FAILED, "motor_stalled", slot=3)
    assert (rental.state, world.serial(rental), rental.slot_in) == (RentalState.COMPLETED, "A1", 4)


def test_no_other_bank_comes_and_the_rental_ends_when_the_first_one_was_back(world: World) -> None:
    rental = give_back(world)
    back_at = world.now
    for slot, failure in ((2, "motor_stalled"), (3, "motor_stalled")):
        command = world.send(rental)
        assert command.args["slot"] == rental.slot_out
        world.result("A", command, CommandOutcome.FAILED, failure, slot=slot)
    assert (rental.state, rental.ended_at, rental.charged_minor) == (RentalState.COMPLETED, back_at, 150)
    assert (world.serial(rental), rental.slot_in, rental.swap_id) == ("A1", 4, None)
    assert (swap_of(world, rental).state, world.money()) == (SwapState.FAILED, (4850, 0))
    assert world.whys(rental)[-1] == "swap_failed"
    world.check_everything()
    world.heard()
    world.later(MINUTE)
    assert cancels.cancel(
        world.session, user_id=world.rider, rental_id=rental.id, now=world.now, policy=world.policy
    ).charged_minor == 0  # fmt: skip
    world.check_everything()


def test_nobody_knows_whether_the_other_one_came(world: World) -> None:
    """Unknown, released after the limit; the bank that leaves late belongs to nobody, and is asked for."""
    rental = give_back(world)
    back_at = world.now
    command = world.send(rental)
    world.later(world.policy.eject_deadline + world.policy.eject_grace + SECOND)
    deadlines.sweep_commands(world.session, world.now, world.policy)
    assert rental.state is RentalState.EJECT_UNKNOWN
    world.later(world.policy.eject_unknown_limit)
    assert deadlines.sweep_rentals(world.session, world.now, world.policy) == 1
    assert (rental.state, rental.ended_at, rental.charged_minor) == (RentalState.COMPLETED, back_at, 150)
    world.check_everything()
    world.ejected("A", 2, "A2", command)
    assert (rental.state, rental.charged_minor) == (RentalState.COMPLETED, 150)
    assert [case.reason for case in world.cases()] == ["second_bank"]
    world.check_everything()


def test_another_bank_than_the_kept_one_leaves_and_the_rental_follows_it(world: World) -> None:
    rental = give_back(world)
    started = rental.started_at
    command = world.send(rental)
    world.ejected("A", 3, "A3", command)
    assert (rental.state, world.serial(rental), rental.started_at) == (RentalState.ACTIVE, "A3", started)
    assert world.slot("A", 2).reserved_for is None
    world.check_everything()


def test_the_other_one_comes_back_before_anybody_knew_that_it_left(world: World) -> None:
    rental = give_back(world)
    world.send(rental)
    world.later(10 * MINUTE)
    world.inserted("B", 1, "A2", 60)
    assert (rental.state, rental.ended_at, rental.swaps) == (RentalState.COMPLETED, world.now, 1)
    world.check_everything()


def test_a_rider_who_does_not_put_it_back_goes_on_with_it(world: World) -> None:
    rental = world.rent()
    ask(world, rental)
    assert ask(world, rental).swap_id == rental.swap_id
    world.later(world.policy.swap_window + SECOND)
    assert (swaps.sweep_swaps(world.session, world.now), swaps.sweep_swaps(world.session, world.now)) == (1, 0)
    assert (rental.state, rental.swap_id, world.slot("A", 2).reserved_for) == (RentalState.ACTIVE, None, None)
    world.inserted("A", 4, "A1", 70)
    assert (rental.state, swap_of(world, rental).state) == (RentalState.COMPLETED, SwapState.EXPIRED)
    world.check_everything()


def test_put_back_elsewhere_it_is_a_return(world: World) -> None:
    rental = world.rent()
    ask(world, rental)
    world.later(MINUTE)
    world.inserted("B", 1, "A1", 70)
    assert rental.state is RentalState.COMPLETED
    world.later(HOUR)
    assert swaps.sweep_swaps(world.session, world.now) == 1
    assert world.slot("A", 2).reserved_for is None
    world.check_everything()


def test_what_cannot_be_exchanged(world: World) -> None:
    rental = world.start()
    with pytest.raises(NotSwappable, match="ejecting"):
        ask(world, rental)
    cancels.cancel(world.session, user_id=world.rider, rental_id=rental.id, now=world.now, policy=world.policy)
    rental = world.rent()
    world.later(world.policy.swap_window + SECOND)
    world.heard()
    with pytest.raises(NotSwappable, match="too long"):
        ask(world, rental)


def test_once_per_rental_and_not_to_be_cancelled_on_its_way(world: World) -> None:
    rental = give_back(world)
    command = world.send(rental)
    with pytest.raises(RentalNotCancellable):
        cancels.cancel(world.session, user_id=world.rider, rental_id=rental.id, now=world.now, policy=world.policy)
    world.ejected("A", 2, "A2", command)
    with pytest.raises(NotSwappable, match="before"):
        ask(world, rental)


def test_cancelled_before_the_other_one_is_ordered_it_ends_with_the_first_one(world: World) -> None:
    rental = give_back(world)
    cancels.cancel(world.session, user_id=world.rider, rental_id=rental.id, now=world.now, policy=world.policy)
    assert (rental.state, rental.charged_minor, world.serial(rental)) == (RentalState.COMPLETED, 150, "A1")
    assert world.slot("A", 2).reserved_for is None
    world.check_everything()


# Many at once, with real commits


@pytest.fixture
def town(clean_database: Database, now: datetime) -> Iterator[Town]:
    with wide_engine(clean_database.url, MANY) as engine:
        yield Town(engine, now)


def riding(town: Town, riders: list[UUID]) -> list[Rental]:
    found = []
    for rider in riders:
        rental_id = town.start(rider, "A")
        assert town.send(rental_id)
        with session_scope(town.engine) as session:
            rental = session.get_one(Rental, rental_id)
            serial = session.scalars(
                select(DeviceCommand.args["serial"].astext).where(DeviceCommand.rental_id == rental_id)
            ).one()
        command = PowerBankEjected(slot=rental.slot_out, serial=serial)
        town.apply(town.fact(rental.station_out_id, "A", command))
        found.append(rental)
    return found


def asked(town: Town, rental: Rental, code: str) -> str:
    with session_scope(town.engine) as session:
        swaps.ask_swap(
            session, user_id=rental.user_id, rental_id=rental.id, station_code=code, now=town.now,
            reason=SwapReason.DEFECT, policy=POLICY,
        )  # fmt: skip
    return "won"


def test_fifty_swaps_of_one_rental_keep_one_bank(town: Town) -> None:
    town.station("A", 12, banks=10)
    [rental] = riding(town, town.riders(1))
    assert together(MANY, lambda _: asked(town, rental, "A")) == ["won"] * MANY
    with session_scope(town.engine) as session:
        assert session.scalar(select(func.count()).select_from(RentalSwap)) == 1
        assert session.scalar(select(func.count()).where(StationSlot.reserved_for.is_not(None))) == 1


def test_fifty_riders_want_the_last_other_bank(town: Town) -> None:
    town.station("A", MANY + 1, banks=MANY)
    town.station("B", 2, banks=1)
    rentals = riding(town, town.riders(MANY))
    results = together(MANY, lambda n: asked(town, rentals[n], "B"))
    names = Counter("won" if result == "won" else type(result).__name__ for result in results)
    assert names == {"won": 1, NoBankAvailable.__name__: MANY - 1}


def test_the_bank_is_put_back_while_the_exchange_runs_out(town: Town) -> None:
    """Either the other bank is ordered, or the rental is over; never both, never neither."""
    station_id = town.station("A", 12, banks=10)
    rentals = riding(town, town.riders(5))
    for rental in rentals:
        asked(town, rental, "A")
    facts = [
        town.fact(station_id, "A", PowerBankInserted(slot=12 - n // 3, serial=f"A-{rental.slot_out}", charge_pct=9))
        for n, rental in enumerate(rentals[:1])
    ]
    late = town.now + POLICY.swap_window + SECOND

    def act(n: int) -> None:
        if n % 2:
            town.apply(facts[0])
        else:
            with session_scope(town.engine) as session:
                swaps.sweep_swaps(session, late)

    for result in together(MANY, act):
        assert result is None, result
    with session_scope(town.engine) as session:
        first = session.get_one(Rental, rentals[0].id)
        swap = session.scalars(select(RentalSwap).where(RentalSwap.rental_id == first.id)).one()
        ordered = (first.state, swap.state) == (RentalState.EJECTING, SwapState.EJECTING)
        over = (first.state, swap.state) == (RentalState.COMPLETED, SwapState.EXPIRED)
        assert ordered or over, (first.state, swap.state)
    town.check_books()


def test_none_comes_and_the_one_given_back_is_with_its_next_rider(world: World) -> None:
    rental = give_back(world)
    command = world.send(rental)
    world.slot("A", 4).watched_until = None
    world.heard()
    next_one = world.start(slot=4, rider=add_rider(world.session, world.now))
    assert world.serial(next_one) == "A1"
    world.later(world.policy.eject_deadline)
    world.result("A", command, CommandOutcome.FAILED, "motor_stalled")
    assert (rental.state, world.serial(rental), rental.charged_minor) == (RentalState.COMPLETED, "A1", 150)
    assert next_one.state is RentalState.EJECTING
    world.check_everything()
