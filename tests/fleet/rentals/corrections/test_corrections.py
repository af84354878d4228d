"""What operators put right: bank, slot and money together, once however often it is clicked."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from firmware_protocol.messages import PowerBankInserted
from fleet.common.errors import InvalidInput
from fleet.payments import holds
from fleet.rentals import queries
from fleet.rentals.cases.places import Place
from fleet.rentals.corrections import clocks as clock_corrections
from fleet.rentals.corrections import service as corrections
from fleet.rentals.corrections.service import Act
from fleet.rentals.errors import (
    BankIsHere,
    BankTaken,
    PauseOverlaps,
    RentalNotClosed,
    RentalNotFound,
    RentalNotOpen,
    SlotTaken,
)
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.records.trace import trace
from fleet.rentals.underway import deadlines
from fleet.stations.errors import BankNotFound, NoSuchSlot, StationNotFound
from fleet.stations.models import PowerBankState
from fleet.users.audit import Actor
from fleet.users.models import UserAuditLog
from tests.factories import add_banks, add_rider
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND, World

BOSS = Actor(console="root")
DAY = timedelta(days=1)


def act(world: World, rental: Rental, reason: str = "seen by staff") -> Act:
    return Act(world.session, rental.id, reason, BOSS, world.now)


def acts(world: World, target: str) -> list[tuple[str, dict[str, Any]]]:
    world.session.flush()
    query = select(UserAuditLog).where(UserAuditLog.target == target).order_by(UserAuditLog.id)
    return [(row.action, row.detail) for row in world.session.scalars(query)]


def test_completed_by_force_with_its_bank_in_a_slot(world: World) -> None:
    rental = world.rent()
    world.later(2 * HOUR)
    at = world.now - HOUR
    corrections.force_complete(act(world, rental), at=at, place=Place("B", 3))
    assert (rental.state, rental.ended_at, rental.charged_minor) == (RentalState.COMPLETED, at, 200)
    assert (rental.station_in_id, rental.slot_in) == (world.stations["B"].id, 3)
    assert (world.place("A1"), world.bank("A1").state) == ("B3", PowerBankState.AVAILABLE)
    assert (world.cases(), world.money()) == ([], (4800, 0))
    [(name, detail)] = acts(world, f"rental:{rental.id}")
    assert (name, detail["reason"]) == ("rental.force_complete", "seen by staff")
    assert (detail["before"]["state"], detail["before"]["bank_in"], detail["before"]["charged_minor"]) == (
        "active", None, 0,
    )  # fmt: skip
    assert (detail["after"]["state"], detail["after"]["bank_in"], detail["after"]["charged_minor"]) == (
        "completed", "B/3", 200,
    )  # fmt: skip
    assert [name for name, _ in acts(world, "bank:A1")] == ["rental.force_complete"]
    assert "act" in [entry.kind for entry in trace(world.session, rental.id)]
    world.check_everything()


def test_a_second_click_finds_it_closed_and_changes_nothing(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    corrections.force_complete(act(world, rental), place=Place("B", 3))
    before = corrections.snapshot(world.session, rental)
    world.later(HOUR)
    with pytest.raises(RentalNotOpen):
        corrections.force_complete(act(world, rental), place=Place("B", 4))
    with pytest.raises(RentalNotOpen):
        corrections.force_cancel(act(world, rental))
    with pytest.raises(RentalNotOpen):
        corrections.reassign_bank(act(world, rental), "A2")
    assert corrections.snapshot(world.session, rental) == before
    world.check_everything()


def test_completed_without_knowing_where_the_bank_is(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    corrections.force_complete(act(world, rental))
    [case] = world.cases()
    assert (case.reason, case.rental_id) == ("force_completed", rental.id)
    assert world.bank("A1").state is PowerBankState.MISSING
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    assert (world.cases(), rental.charged_minor) == ([], 200)
    world.check_everything()


def test_the_cabinet_tells_later_that_it_was_back_before(world: World) -> None:
    """Never billed after giving it back, whoever said when that was."""
    rental = world.rent()
    back_at = world.later(30 * MINUTE - SECOND)
    world.later(5 * HOUR)
    corrections.force_complete(act(world, rental), place=Place("B", 1))
    assert world.money() == (5000 - 100 - 11 * 50, 0)
    for _ in range(2):
        world.inserted("B", 1, "A1", at=back_at, seq=7)
    assert (rental.ended_at, rental.charged_minor, world.money()) == (back_at, 150, (4850, 0))
    assert world.place("A1") == "B1"
    world.check_everything()


def test_the_cabinet_tells_later_and_the_next_rider_waits_for_the_bank_already(world: World) -> None:
    rental = world.rent()
    back = world.later(HOUR)
    told_late = world.fact("B", PowerBankInserted(slot=2, serial="A1", charge_pct=90), at=back)
    world.later(3 * HOUR)
    corrections.force_complete(act(world, rental), place=Place("B", 2))
    assert rental.charged_minor == 100 + 8 * 50
    world.heard()
    following = world.start("B", rider=add_rider(world.session, world.now))
    assert following.power_bank_id == rental.power_bank_id
    world.apply(told_late)
    assert (rental.ended_at, rental.charged_minor) == (back, 100 + 2 * 50)
    assert following.started_at is None
    world.ejected("B", 2, "A1", world.send(following))
    assert following.state is RentalState.ACTIVE
    world.check_everything()


def test_a_bank_that_was_carried_to_another_station_gives_no_money_back(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    world.inventory("A", {2: ("A2", 80), 3: ("A3", 70)})
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    assert rental.charged_minor == 300
    world.later(HOUR)
    world.inventory("B", {})
    world.later(MINUTE)
    world.inventory("A", {1: ("A1", 50), 2: ("A2", 80), 3: ("A3", 70)})
    assert (world.place("A1"), rental.charged_minor, world.money()) == ("A1", 300, (4700, 0))
    world.check_everything()


def test_a_bank_that_an_operator_could_not_place_is_found(world: World) -> None:
    rental = world.rent()
    seen_empty = world.later(HOUR)
    world.inventory("B", {})
    world.later(HOUR)
    corrections.force_complete(act(world, rental))
    world.later(HOUR)
    world.inventory("B", {1: ("A1", 50)})
    assert (rental.ended_at, rental.charged_minor) == (seen_empty, 200), "the doubt is not the rider's"
    world.check_everything()


def test_an_inventory_that_does_not_show_it_asks_for_it(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    corrections.force_complete(act(world, rental), place=Place("B", 1))
    world.later(MINUTE)
    world.inventory("B", {})
    assert world.place("A1") is None
    assert [case.reason for case in world.cases()] == ["vanished"]
    assert rental.state is RentalState.COMPLETED
    world.check_everything()


def test_refused_when_time_or_place_make_no_sense(world: World) -> None:
    rental = world.rent()
    assert rental.started_at is not None
    world.later(HOUR)
    for at in (rental.started_at - SECOND, world.now + SECOND):
        with pytest.raises(InvalidInput):
            corrections.force_complete(act(world, rental), at=at)
    for place, error in (
        (Place("A", 2), SlotTaken),
        (Place("A", 99), NoSuchSlot),
        (Place("Z", 1), StationNotFound),
    ):
        with pytest.raises(error):
            corrections.force_complete(act(world, rental), place=place)
    assert (rental.state, rental.charged_minor) == (RentalState.ACTIVE, 0)
    with pytest.raises(RentalNotFound):
        corrections.force_complete(Act(world.session, world.rider, "no such rental", BOSS, world.now))


def test_cancelled_by_force_while_the_order_waits(world: World) -> None:
    rental = world.start()
    corrections.force_cancel(act(world, rental))
    assert (rental.state, world.money()) == (RentalState.CANCELLED, (5000, 0))
    assert world.slot("A", 1).reserved_for is None
    assert world.command(rental).state == "cancelled"
    world.check_everything()


def test_cancelled_by_force_and_the_bank_leaves_after_all(world: World) -> None:
    rental, command = world.unknown()
    corrections.force_cancel(act(world, rental))
    assert (rental.state, world.money()) == (RentalState.CANCELLED, (5000, 0))
    world.ejected("A", 1, "A1", command)
    assert rental.state is RentalState.ACTIVE, "the rider has it: the books follow the metal"
    world.check_everything()


@pytest.mark.parametrize("place", [Place("A", 1), None])
def test_cancelled_by_force_as_the_rider_never_had_it(world: World, place: Place | None) -> None:
    rental = world.rent()
    world.later(HOUR)
    corrections.force_cancel(act(world, rental), place=place)
    assert (rental.state, rental.started_at, rental.charged_minor) == (RentalState.CANCELLED, None, 0)
    assert world.money() == (5000, 0)
    assert holds.charged_for(world.session, rental.id) == 0
    if place is None:
        assert [(case.reason, case.rental_id) for case in world.cases()] == [("force_cancelled", rental.id)]
    else:
        assert (world.place("A1"), world.cases()) == ("A1", [])
    world.check_everything()
    world.inserted("A", 1, "A1")
    assert (rental.state, world.money(), world.cases()) == (RentalState.CANCELLED, (5000, 0), [])


def test_the_rider_has_another_bank(world: World) -> None:
    rental = world.rent()
    world.ejected("A", 2, "A2")
    assert [case.reason for case in world.cases()] == ["no_command"]
    for _ in range(2):
        corrections.reassign_bank(act(world, rental), "A2", place=Place("A", 1))
    assert (world.serial(rental), world.bank("A2").state) == ("A2", PowerBankState.RENTED)
    assert (world.place("A1"), world.cases()) == ("A1", [])
    assert [name for name, _ in acts(world, "bank:A2")] == ["rental.reassign_bank"]
    world.check_everything()
    world.later(HOUR)
    world.inserted("B", 1, "A2")
    assert (rental.state, rental.charged_minor) == (RentalState.COMPLETED, 200)
    world.check_everything()


def test_a_bank_that_is_elsewhere_is_assigned_to_nobody(world: World) -> None:
    rental = world.rent()
    with pytest.raises(BankIsHere):
        corrections.reassign_bank(act(world, rental), "A2")
    with pytest.raises(BankNotFound):
        corrections.reassign_bank(act(world, rental), "nothing")
    other = world.rent(rider=add_rider(world.session, world.now))
    with pytest.raises(BankTaken):
        corrections.reassign_bank(act(world, rental), world.serial(other))
    add_banks(world.session, world.now, ["N1"])
    corrections.reassign_bank(act(world, rental), "N1")
    assert [(case.reason, case.rental_id) for case in world.cases()] == [("bank_reassigned", rental.id)]
    world.check_everything()


def test_back_dated_gives_back_what_was_too_much(world: World) -> None:
    rental = world.rent()
    back_at = world.now + HOUR
    world.later(5 * HOUR)
    world.inserted("B", 1, "A1")
    assert rental.charged_minor == 100 + 10 * 50
    for _ in range(2):
        corrections.back_date(act(world, rental), back_at)
    assert (rental.ended_at, rental.charged_minor, world.money()) == (back_at, 200, (4800, 0))
    assert (world.place("A1"), rental.slot_in) == ("B1", 1)
    with pytest.raises(InvalidInput):
        corrections.back_date(act(world, rental), world.now)
    world.check_everything()


def test_back_dated_after_it_was_bought(world: World) -> None:
    rental = world.rent()
    back_at = world.now + HOUR
    world.later(30 * DAY)
    deadlines.sweep_rentals(world.session, world.now, world.policy)
    assert rental.state is RentalState.BOUGHT_OUT
    corrections.back_date(act(world, rental), back_at, place=Place("B", 2))
    assert (rental.state, rental.charged_minor, world.money()) == (RentalState.COMPLETED, 200, (4800, 0))
    assert (world.place("A1"), rental.slot_in) == ("B2", 2)
    world.check_everything()


def test_an_open_rental_is_not_back_dated(world: World) -> None:
    with pytest.raises(RentalNotClosed):
        corrections.back_date(act(world, world.rent()), world.now)


def test_billing_is_paused_from_a_time_that_has_passed_and_resumed(world: World) -> None:
    rental = world.rent()
    since = world.now + 10 * MINUTE
    world.later(HOUR)
    for _ in range(2):
        clock_corrections.pause_billing(act(world, rental), since=since)
    world.later(HOUR)
    assert queries.price_now(rental, world.now).total_minor == 150
    for _ in range(2):
        clock_corrections.resume_billing(act(world, rental))
    with pytest.raises(PauseOverlaps):
        clock_corrections.pause_billing(act(world, rental), since=since + MINUTE)
    assert [name for name, _ in acts(world, f"rental:{rental.id}")] == [
        "rental.pause_billing", "rental.resume_billing",
    ]  # fmt: skip
    world.later(HOUR)
    assert queries.price_now(rental, world.now).total_minor == 100 + 3 * 50


def test_a_pause_that_makes_no_sense_is_refused(world: World) -> None:
    rental = world.rent()
    assert rental.started_at is not None
    for since, until in (
        (rental.started_at - SECOND, None),
        (world.now + SECOND, None),
        (world.now, world.now),
    ):
        with pytest.raises(InvalidInput):
            clock_corrections.pause_billing(act(world, rental), since=since, until=until)
    corrections.force_complete(act(world, rental))
    with pytest.raises(RentalNotOpen):
        clock_corrections.pause_billing(act(world, rental))
    with pytest.raises(RentalNotOpen):
        clock_corrections.resume_billing(act(world, rental))
