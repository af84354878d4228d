"""Orphan-bank cases worked off: each act puts bank, slot and rental right, and closes the case once."""

import pytest

from firmware_protocol.types import SlotState
from fleet.rentals.cases.models import CaseState, OrphanBankCase
from fleet.rentals.cases.places import Place
from fleet.rentals.corrections import desk
from fleet.rentals.corrections.desk import CaseAct
from fleet.rentals.errors import (
    BankIsHere,
    CaseClosed,
    CaseNotFound,
    RentalNotAssignable,
    SlotTaken,
    TooManyOpenRentals,
)
from fleet.rentals.models import Rental, RentalState
from fleet.stations.models import PowerBankState
from fleet.users.audit import Actor
from tests.fleet.rentals.corrections.test_corrections import acts
from tests.fleet.rentals.world import HOUR, MINUTE, World

BOSS = Actor(console="root")


def work(world: World, case: OrphanBankCase) -> CaseAct:
    return CaseAct(world.session, case.id, "looked into it", BOSS, world.now)


def stolen(world: World, serial: str = "A2") -> OrphanBankCase:
    world.ejected("A", int(serial[1]), serial)
    [case] = world.cases()
    return case


def failed(world: World) -> tuple[Rental, OrphanBankCase]:
    """A rental that failed, and a case of the bank that it was about."""
    rental, command = world.unknown()
    world.inventory("A", {1: ("A1", 90), 2: ("A2", 80), 3: ("A3", 70)}, command=world.asked("A"))
    assert (rental.state, command.state) == (RentalState.EJECT_FAILED, "failed")
    world.later(MINUTE)
    world.ejected("A", 1, "A1")
    [case] = world.cases()
    return rental, case


def test_found_in_a_slot(world: World) -> None:
    case = stolen(world)
    with pytest.raises(SlotTaken):
        desk.found(work(world, case), Place("A", 3))
    closed = desk.found(work(world, case), Place("B", 2))
    assert (closed.state, closed.resolution) == (CaseState.RESOLVED, "found: looked into it")
    assert (world.place("A2"), world.bank("A2").state) == ("B2", PowerBankState.AVAILABLE)
    assert [name for name, _ in acts(world, "bank:A2")] == ["orphan_case.found"]
    world.check_everything()


def test_found_in_somebodys_hands_it_is_held_until_it_is_released(world: World) -> None:
    case = stolen(world)
    desk.found(work(world, case))
    assert world.bank("A2").state is PowerBankState.MAINTENANCE
    world.inserted("B", 1, "A2")
    assert (world.place("A2"), world.bank("A2").state) == ("B1", PowerBankState.MAINTENANCE)


def test_lost_and_not_twice(world: World) -> None:
    case = stolen(world)
    desk.lost(work(world, case))
    assert world.bank("A2").state is PowerBankState.LOST
    for again in (desk.lost, desk.foreign, desk.found):
        with pytest.raises(CaseClosed):
            again(work(world, case))
    assert world.bank("A2").state is PowerBankState.LOST
    with pytest.raises(CaseNotFound):
        desk.lost(CaseAct(world.session, world.rider, "no such case", BOSS, world.now))


def test_not_ours(world: World) -> None:
    case = stolen(world)
    desk.foreign(work(world, case))
    assert not world.bank("A2").known
    assert world.cases() == []


def test_a_failed_rental_has_the_bank_after_all(world: World) -> None:
    rental, case = failed(world)
    left_at = world.now
    world.later(HOUR)
    closed = desk.assign(work(world, case), rental.id, world.policy)
    assert (closed.state, rental.state, rental.started_at) == (CaseState.RESOLVED, RentalState.ACTIVE, left_at)
    assert world.bank("A1").state is PowerBankState.RENTED
    world.check_everything()
    world.inserted("B", 1, "A1")
    assert (rental.state, rental.charged_minor) == (RentalState.COMPLETED, 200)
    assert [name for name, _ in acts(world, f"rental:{rental.id}")] == ["rental.assign_case"]
    world.check_everything()


def test_an_open_rental_follows_the_bank(world: World) -> None:
    rental = world.rent()
    case = stolen(world)
    closed = desk.assign(work(world, case), rental.id, world.policy)
    assert (closed.state, world.serial(rental)) == (CaseState.RESOLVED, "A2")
    assert [(each.reason, each.rental_id) for each in world.cases()] == [("bank_reassigned", rental.id)]
    world.check_everything()


def test_refused_where_it_cannot_be(world: World) -> None:
    rental, case = failed(world)
    world.stations["A"].last_heard_at = world.now
    other = world.rent(slot=2)
    with pytest.raises(TooManyOpenRentals):
        desk.assign(work(world, case), rental.id, world.policy)
    world.later(HOUR)
    world.inserted("B", 1, "A2")
    assert other.state is RentalState.COMPLETED
    with pytest.raises(RentalNotAssignable):
        desk.assign(work(world, case), other.id, world.policy)
    assert world.cases() == [case]


def test_a_bank_that_is_in_a_slot_is_neither_lost_nor_assigned(world: World) -> None:
    rental, case = failed(world)
    slot, bank = world.slot("B", 1), world.bank("A1")
    slot.state, slot.power_bank_id = SlotState.OCCUPIED, bank.id
    world.session.flush()
    with pytest.raises(BankIsHere):
        desk.lost(work(world, case))
    with pytest.raises(BankIsHere):
        desk.assign(work(world, case), rental.id, world.policy)
