"""Inventory against database, whatever was lost on the way: each way in which the two may differ, by name."""

from datetime import timedelta
from itertools import permutations

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from firmware_protocol.messages import Inventory, PowerBankEjected, PowerBankInserted, SlotInventory
from firmware_protocol.types import CommandOutcome, SlotState
from fleet.devices.models import CommandState, StationReconciliation
from fleet.rentals.cases.models import CaseState, OrphanBankCase
from fleet.rentals.evidence.conflicts import QUARANTINE_REASON
from fleet.rentals.models import RentalState
from fleet.stations import service
from fleet.stations.models import PowerBankMovement, PowerBankState, StationStatus
from tests.factories import add_station
from tests.fleet.rentals.starts.test_ejects import operators_unknown_eject
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND, World

A_FULL = {1: ("A1", 90), 2: ("A2", 80), 3: ("A3", 70)}


def places(world: World) -> dict[str, str | None]:
    return {serial: world.place(serial) for serial in ("A1", "A2", "A3")}


# Returns that no event told of


def test_a_missed_return_ends_just_after_the_last_proof_that_the_slot_was_empty(world: World) -> None:
    rental = world.rent()
    world.later(20 * MINUTE)
    world.inventory("B", {})
    empty_at = world.now
    world.later(4 * HOUR)
    world.inventory("B", {3: ("A1", 20)})
    assert (rental.state, rental.ended_at) == (RentalState.COMPLETED, empty_at)
    world.check_everything()


@pytest.mark.parametrize("unreadable", [SlotState.OCCUPIED, SlotState.FAULT, SlotState.UNKNOWN])
def test_a_slot_that_could_not_be_read_meanwhile_may_have_held_the_bank_all_along(
    world: World, unreadable: SlotState
) -> None:
    """The doubt is the operator's: an inventory that could not read the slot does not prove that the bank was away."""
    rental = world.rent()
    world.later(20 * MINUTE)
    world.inventory("B", {})
    empty_at = world.now
    for _ in range(3):
        world.later(HOUR)
        world.inventory("B", {}, other=[SlotInventory(slot=3, state=unreadable)])
    world.later(HOUR)
    world.inventory("B", {3: ("A1", 20)})
    assert (rental.state, rental.ended_at) == (RentalState.COMPLETED, empty_at)
    world.check_everything()


def test_another_bank_that_could_not_be_read_meanwhile_proves_nothing_either(world: World) -> None:
    world.inserted("B", 3, "STRANGER")
    rental = world.rent()
    world.later(20 * MINUTE)
    world.inventory("B", {3: ("STRANGER", 50)})
    read_at = world.now
    world.later(HOUR)
    world.inventory("B", {}, other=[SlotInventory(slot=3, state=SlotState.FAULT)])
    world.later(HOUR)
    world.inventory("B", {3: ("A1", 20)})
    assert (rental.state, rental.ended_at) == (RentalState.COMPLETED, read_at)


def test_a_missed_return_told_again_and_again_changes_nothing(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    fact = world.inventory("B", {3: ("A1", 20)})
    ended, charged = rental.ended_at, rental.charged_minor
    moves = world.session.scalar(select(func.count()).select_from(PowerBankMovement))
    for _ in range(3):
        world.later(HOUR)
        world.apply(fact)
        world.inventory("B", {3: ("A1", 99)})
    assert (rental.ended_at, rental.charged_minor) == (ended, charged)
    assert world.session.scalar(select(func.count()).select_from(PowerBankMovement)) == moves
    world.check_everything()


# Banks that have gone


def test_a_bank_that_is_gone_without_a_word_is_an_orphan_until_it_comes_back(world: World) -> None:
    world.inventory("A", {1: ("A1", 90), 2: ("A2", 80)})
    assert [(case.reason, case.slot_number) for case in world.cases()] == [("vanished", 3)]
    assert world.bank("A3").state is PowerBankState.MISSING
    world.later(HOUR)
    world.inventory("B", {4: ("A3", 60)})
    assert (world.cases(), world.place("A3"), world.bank("A3").state) == ([], "B4", PowerBankState.AVAILABLE)
    world.check_everything()


def test_a_late_eject_seen_by_the_inventory_only_is_a_case_that_names_the_rental(world: World) -> None:
    """The cabinet said that it failed, and let go of the bank after that."""
    rental = world.start()
    world.result("A", world.send(rental), CommandOutcome.FAILED, "motor_stalled")
    second = world.send(rental)
    world.result("A", second, CommandOutcome.FAILED, "motor_stalled")
    assert rental.state is RentalState.EJECT_FAILED
    world.later(MINUTE)
    world.inventory("A", {1: ("A1", 90), 3: ("A3", 70)})
    [case] = world.cases()
    assert (case.reason, case.rental_id) == ("vanished", rental.id)
    assert world.money() == (5000, 0)
    world.check_everything()


def test_a_partial_inventory_proves_nothing_about_what_it_leaves_out(world: World) -> None:
    rental, command = world.unknown()
    left_out = tuple(SlotInventory(slot=n, state=SlotState.EMPTY) for n in (4, 5))
    asked = str(world.asked("A").id)
    world.say("A", Inventory(slots=left_out, complete=False, command_id=asked))
    assert (rental.state, command.state) == (RentalState.EJECT_UNKNOWN, CommandState.UNKNOWN)
    assert places(world) == {"A1": "A1", "A2": "A2", "A3": "A3"}
    assert world.cases() == []


def test_an_inventory_that_claims_to_be_complete_and_leaves_the_slot_out_proves_nothing(world: World) -> None:
    rental, _ = world.unknown()
    others = tuple(SlotInventory(slot=n, state=SlotState.EMPTY) for n in (4, 5))
    world.say("A", Inventory(slots=others, complete=True, command_id=str(world.asked("A").id)))
    assert rental.state is RentalState.EJECT_UNKNOWN


def test_an_eject_by_serial_is_in_doubt_while_its_slot_cannot_be_read(world: World) -> None:
    def state() -> CommandState:
        return command.state

    command = operators_unknown_eject(world, serial="A2")
    blind = [SlotInventory(slot=2, state=SlotState.UNKNOWN)]
    world.inventory("A", {1: ("A1", 90), 3: ("A3", 70)}, other=blind, command=world.asked("A"))
    assert state() is CommandState.UNKNOWN
    world.later(MINUTE)
    world.inventory("A", A_FULL)
    assert state() is CommandState.FAILED


# Newest evidence


def test_a_stale_inventory_never_wins_over_a_newer_event(world: World) -> None:
    stale = world.skip("A")
    before = world.now
    rental = world.rent()
    world.later(MINUTE)
    world.inserted("A", 5, "A1")
    world.inventory("A", A_FULL, at=before, seq=stale)
    assert (world.place("A1"), rental.state) == ("A5", RentalState.COMPLETED)
    assert world.cases() == []
    world.check_everything()


def test_inventories_and_events_of_two_stations_in_any_order_give_the_same_picture(
    world: World, session: Session
) -> None:
    """A1 was carried from A to B, and A2 from slot 2 to slot 5; no event of it reached us."""
    world.later(MINUTE)
    facts = [
        world.fact("A", Inventory(slots=_slots(world, "A", {2: "A2", 3: "A3"})), at=world.now + MINUTE),
        world.fact("A", Inventory(slots=_slots(world, "A", {5: "A2", 3: "A3"})), at=world.now + 3 * MINUTE),
        world.fact("B", Inventory(slots=_slots(world, "B", {1: "A1"})), at=world.now + 2 * MINUTE),
        world.fact("B", Inventory(slots=_slots(world, "B", {1: "A1"})), at=world.now + 4 * MINUTE),
    ]
    world.later(10 * MINUTE)
    outcomes = set()
    for order in permutations(facts):
        with session.begin_nested() as attempt:
            for fact in order:
                world.apply(fact)
                world.apply(fact)
            open_cases = tuple((case.power_bank_id, case.reason) for case in world.cases())
            outcomes.add((*places(world).values(), world.bank("A1").state, open_cases))
            world.check_everything()
            attempt.rollback()
            session.expire_all()
    assert outcomes == {("B1", "A5", "A3", PowerBankState.AVAILABLE, ())}


def _slots(world: World, code: str, banks: dict[int, str]) -> tuple[SlotInventory, ...]:
    return tuple(
        SlotInventory(slot=n, state=SlotState.OCCUPIED if n in banks else SlotState.EMPTY, serial=banks.get(n))
        for n in range(1, world.stations[code].slot_count + 1)
    )


# One serial, two places


def test_one_bank_in_two_stations_at_once_is_a_case_and_nobody_is_given_it(world: World) -> None:
    world.later(10 * MINUTE)
    world.inventory("B", {1: ("A1", 50)})
    assert (world.place("A1"), world.cases()) == ("B1", [])  # it may have been carried there
    world.later(10 * MINUTE)
    world.inventory("A", A_FULL)
    assert world.place("A1") == "A1"  # the newest word
    assert world.cases() == []  # and back again
    world.later(10 * MINUTE)
    world.inventory("B", {1: ("A1", 50)})
    [case] = world.cases()
    assert (case.reason, case.evidence["places"]) == ("two_places", ["A/1", "B/1"])
    bank = world.bank("A1")
    assert (bank.state, bank.quarantine_reason) == (PowerBankState.QUARANTINED, QUARANTINE_REASON)
    for _ in range(2):
        world.later(10 * MINUTE)
        world.inventory("A", A_FULL)
        world.inventory("B", {1: ("A1", 50)})
    assert len(world.cases(state=None)) == 1
    world.stations["A"].last_heard_at = world.now
    assert world.serial(world.start("A")) == "A2"
    world.check_everything()


def test_the_case_closes_itself_when_one_place_only_tells_of_the_bank(world: World) -> None:
    for _ in range(2):
        world.later(10 * MINUTE)
        world.inventory("B", {1: ("A1", 50)})
        world.later(10 * MINUTE)
        world.inventory("A", A_FULL)
    assert [case.reason for case in world.cases()] == ["two_places"]
    world.later(10 * MINUTE)
    world.inventory("B", {})
    assert world.cases() == []
    bank = world.bank("A1")
    assert (bank.state, bank.state_set_by, bank.quarantine_reason) == (PowerBankState.AVAILABLE, None, None)
    assert world.place("A1") == "A1"
    world.check_everything()


def test_a_bank_that_moved_is_not_in_two_places(world: World) -> None:
    """A's departure and B's arrival are told late and in the wrong order: their times do not overlap."""
    rental = world.rent()
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    world.later(HOUR)
    world.inventory("B", {1: ("A1", 50)})
    world.inventory("A", {2: ("A2", 80), 3: ("A3", 70)})
    world.inventory("B", {1: ("A1", 50)})
    assert (rental.state, world.cases(state=None)) == (RentalState.COMPLETED, [])


def test_one_serial_in_two_slots_of_one_inventory_counts_where_it_was_known_to_be(world: World) -> None:
    both = tuple(
        SlotInventory(slot=n, state=SlotState.OCCUPIED if s else SlotState.EMPTY, serial=s)
        for n, s in ((1, "A3"), (2, "A2"), (3, "A3"), (4, None), (5, None))
    )
    world.later(MINUTE)
    world.say("A", Inventory(slots=both))
    assert places(world) == {"A1": None, "A2": "A2", "A3": "A3"}
    # Something is inside slot 1, and nobody is sent there to bring a bank back.
    assert world.slot("A", 1).state is SlotState.FAULT
    assert {case.reason for case in world.cases()} == {"vanished", "two_places"}
    world.later(MINUTE)
    world.inventory("A", A_FULL)
    assert world.cases() == []
    assert world.bank("A3").state is PowerBankState.AVAILABLE
    world.check_everything()


def test_a_bank_read_in_another_slot_is_there_although_its_old_slot_cannot_be_read(world: World) -> None:
    world.later(MINUTE)
    world.inventory("A", {2: ("A1", 90), 3: ("A3", 70)}, other=[SlotInventory(slot=1, state=SlotState.FAULT)])
    assert (world.place("A1"), world.slot("A", 1).power_bank_id) == ("A2", None)
    assert [case.reason for case in world.cases()] == ["vanished"]  # A2


# Foreign banks


def test_a_foreign_bank_is_reported_and_rented_to_nobody_until_it_is_adopted(world: World) -> None:
    world.later(MINUTE)
    world.inventory("B", {1: ("STRANGER", 99)})
    bank = world.bank("STRANGER")
    assert (bank.known, bank.state, world.place("STRANGER")) == (False, PowerBankState.AVAILABLE, "B1")
    service.add_power_banks(world.session, ["STRANGER"], world.now)
    assert world.bank("STRANGER").known


# What operators set


@pytest.mark.parametrize(
    "state",
    [PowerBankState.MAINTENANCE, PowerBankState.DAMAGED, PowerBankState.QUARANTINED, PowerBankState.LOST],
)
def test_no_cabinet_undoes_what_an_operator_set_of_a_bank(world: World, state: PowerBankState) -> None:
    bank = world.bank("A2")
    bank.state, bank.state_set_by = state, "operator"
    world.session.flush()
    for _ in range(2):
        world.later(MINUTE)
        world.inventory("A", A_FULL)
        world.later(MINUTE)
        world.inventory("A", {1: ("A1", 90), 3: ("A3", 70)})
        world.later(MINUTE)
        world.inserted("B", 1, "A2")
        world.ejected("B", 1, "A2")
    assert world.bank("A2").state is state


def test_a_bank_that_was_given_up_for_lost_by_itself_is_available_when_it_comes_back(world: World) -> None:
    world.inventory("A", {1: ("A1", 90), 3: ("A3", 70)})
    world.bank("A2").state = PowerBankState.LOST
    world.session.flush()
    world.later(MINUTE)
    world.inserted("B", 1, "A2")
    assert world.bank("A2").state is PowerBankState.AVAILABLE


@pytest.mark.parametrize("status", [StationStatus.MAINTENANCE, StationStatus.DISABLED])
def test_no_inventory_undoes_what_an_operator_set_of_a_station_or_a_slot(world: World, status: StationStatus) -> None:
    service.set_status(world.session, "A", status, world.now)
    service.set_slot_disabled(world.session, "A", 2, "bent", world.now)
    for seen in (A_FULL, {}, A_FULL):
        world.later(MINUTE)
        world.inventory("A", dict(seen))
    assert world.stations["A"].status is status
    assert world.slot("A", 2).disabled_reason == "bent"


# The next look


def test_a_complete_inventory_answers_whoever_asked_and_a_partial_one_does_not(world: World) -> None:
    row = world.session.get_one(StationReconciliation, world.stations["A"].id)
    assert row.unanswered == 0
    row.unanswered, before = 2, row.answered_at
    world.session.flush()
    world.later(SECOND)
    world.say("A", Inventory(slots=(SlotInventory(slot=4, state=SlotState.EMPTY),), complete=False))
    world.session.refresh(row)
    assert (row.unanswered, row.answered_at) == (2, before)
    world.inventory("A", A_FULL)
    world.session.refresh(row)
    assert (row.unanswered, row.answered_at) == (0, world.now)
    assert world.policy.reconcile_every * 0.7 < row.due_at - world.now < world.policy.reconcile_every * 1.3


def test_the_books_close_after_everything_at_once(world: World) -> None:
    """Lost events, a foreign bank, a copied serial and an unreadable slot, told twice over."""
    rental = world.rent()
    add_station(world.session, world.now, "C", 2)
    for _ in range(2):
        world.later(HOUR)
        blind = [SlotInventory(slot=5, state=SlotState.FAULT)]
        world.inventory("A", {2: ("A2", 80), 3: ("A2", 80)}, other=blind)
        world.inventory("B", {1: ("A1", 20), 2: ("STRANGER", 50), 3: ("A3", 40)})
    assert rental.state is RentalState.COMPLETED
    assert (world.place("A1"), world.place("A2"), world.place("A3")) == ("B1", "A2", "B3")
    open_cases = world.session.scalars(select(OrphanBankCase.reason).where(OrphanBankCase.state == CaseState.OPEN))
    assert set(open_cases) == {"two_places"}
    world.check_everything()


@pytest.mark.parametrize("told_first", ["the departure", "the arrival"])
@pytest.mark.parametrize("apart", [timedelta(milliseconds=3), timedelta(milliseconds=-3), timedelta(0)])
def test_a_bank_carried_by_hand_is_where_it_came_whatever_two_clocks_say(
    world: World, told_first: str, apart: timedelta
) -> None:
    """It was in no slot in between, so it left first, though the other cabinet's clock may be behind."""
    world.later(MINUTE)
    left = world.fact("A", PowerBankEjected(slot=1, serial="A1"), at=world.now)
    came = world.fact("B", PowerBankInserted(slot=4, serial="A1", charge_pct=70), at=world.now + apart)
    for fact in (left, came) if told_first == "the departure" else (came, left):
        world.apply(fact)
    assert world.place("A1") == "B4"
    assert world.bank("A1").state is PowerBankState.AVAILABLE
    assert world.slot("A", 1).power_bank_id is None
    world.check_everything()
