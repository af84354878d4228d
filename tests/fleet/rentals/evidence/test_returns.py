"""A bank comes back: when, where, and what it costs."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from firmware_protocol.messages import PowerBankEjected
from firmware_protocol.types import CommandOutcome
from fleet.devices.models import CommandState
from fleet.rentals.errors import RentalNotCancellable
from fleet.rentals.models import RentalEvent, RentalState
from fleet.rentals.underway.cancels import cancel
from fleet.stations.models import PowerBankState
from tests.factories import add_rider
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND, World


def test_a_return_at_another_station(world: World) -> None:
    rental = world.rent()
    world.later(HOUR - SECOND)
    world.inserted("B", 2, "A1", 35)
    assert (rental.state, rental.ended_at, rental.slot_in) == (RentalState.COMPLETED, world.now, 2)
    assert rental.station_in_id == world.stations["B"].id
    assert (rental.charge_out_pct, rental.charge_in_pct) == (90, 35)
    assert (rental.price_minor, rental.charged_minor, rental.due_minor) == (200, 200, 0)
    assert world.money() == (4800, 0)
    bank = world.bank("A1")
    assert (world.place("A1"), bank.state, bank.charge_pct) == ("B2", PowerBankState.AVAILABLE, 35)
    assert rental.price_lines is not None
    assert sum(line["amount_minor"] for line in rental.price_lines) == 200
    world.check_everything()


def test_the_same_insertion_twice_changes_nothing(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    fact = world.inserted("B", 2, "A1")
    price, ended = rental.price_minor, rental.ended_at
    world.later(HOUR)
    world.apply(fact)
    assert (rental.price_minor, rental.ended_at, world.money()) == (price, ended, (4800, 0))


def test_an_offline_cabinet_tells_later_when_it_came_back(world: World) -> None:
    """Journaled: the cabinet's own corrected clock counts, not the receipt."""
    rental = world.rent()
    back_at = world.now + 10 * MINUTE
    world.later(5 * HOUR)
    world.inserted("B", 1, "A1", at=back_at)
    assert (rental.ended_at, rental.charged_minor) == (back_at, 150)


def test_a_return_that_is_told_after_the_bank_was_missed_where_it_left(world: World) -> None:
    """The departure itself is told last of all: nobody is billed on for it."""
    rental = world.start()
    command = world.send(rental)
    left_at, back_at = world.now + SECOND, world.now + 10 * MINUTE
    world.later(HOUR)
    rest = {number: (f"A{number}", 80) for number in (2, 3) if world.place(f"A{number}")}
    world.inventory("A", rest, seq=50)
    world.inserted("B", 1, "A1", at=back_at)
    assert (rental.state, rental.ended_at, world.place("A1")) == (RentalState.COMPLETED, back_at, "B1")
    world.ejected("A", 1, "A1", command, at=left_at, seq=40)
    assert (rental.state, rental.started_at, rental.ended_at) == (RentalState.COMPLETED, left_at, back_at)
    assert world.place("A1") == "B1"
    world.check_everything()


def test_a_return_never_counts_before_the_start(world: World) -> None:
    """Same station: its own count says that it came after it left, whatever its clock says."""
    rental = world.rent()
    world.later(HOUR)
    world.inserted("A", 4, "A1", at=world.now - 3 * HOUR)
    assert (rental.state, rental.ended_at) == (RentalState.COMPLETED, rental.started_at)
    assert rental.charged_minor == 100


def test_a_bank_that_an_inventory_shows_came_just_after_the_last_one_without_it(world: World) -> None:
    rental = world.rent()
    world.later(20 * MINUTE)
    world.inventory("B", {})
    last_without = world.now
    world.later(4 * HOUR)
    world.inventory("B", {3: ("A1", 20)})
    assert (rental.state, rental.ended_at) == (RentalState.COMPLETED, last_without)
    assert rental.charged_minor == 150
    assert world.whys(rental)[-1] == "found_in_slot"
    world.check_everything()


def test_a_slot_that_nobody_looked_into_since_before_the_start(world: World) -> None:
    rental = world.rent()
    world.later(4 * HOUR)
    world.inventory("B", {3: ("A1", 20)})
    assert rental.ended_at == rental.started_at


def test_the_insertion_comes_after_the_inventory_that_showed_it(world: World) -> None:
    """The first evidence has closed the rental; the second, older event changes nothing."""
    rental = world.rent()
    world.later(HOUR)
    missing = world.skip("B")
    world.inventory("B", {3: ("A1", 20)})
    ended, charged = rental.ended_at, rental.charged_minor
    world.inserted("B", 3, "A1", seq=missing)
    assert (rental.ended_at, rental.charged_minor, world.place("A1")) == (ended, charged, "B3")
    world.check_everything()


def test_a_stale_inventory_does_not_close_a_rental_that_just_began(world: World) -> None:
    """Pitfall: a full sync from before the eject, applied after it."""
    stale = world.skip("A")
    before = world.now
    rental = world.rent()
    world.later(SECOND)
    world.inventory("A", {1: ("A1", 90), 2: ("A2", 80), 3: ("A3", 70)}, at=before, seq=stale)
    assert rental.state is RentalState.ACTIVE
    assert world.place("A1") is None
    world.check_everything()


def test_a_stale_return_from_another_station_does_not_end_the_next_rental(world: World) -> None:
    """B was offline when A1 lay in it for a while, long before this rental; its journal comes now."""
    rental = world.rent()
    started = world.now
    world.later(HOUR)
    world.inserted("B", 1, "A1", at=started - 2 * HOUR)
    assert rental.state is RentalState.ACTIVE
    assert (world.place("A1"), world.bank("A1").state) == (None, PowerBankState.RENTED)
    world.ejected("B", 1, "A1", at=started - HOUR)
    assert rental.state is RentalState.ACTIVE
    assert world.cases() == []


def test_a_return_before_the_ejects_evidence(world: World) -> None:
    """A's answer is still in its journal when the bank is already in B."""
    rental = world.start()
    command = world.send(rental)
    left_at = world.now + 2 * SECOND
    world.later(10 * MINUTE)
    world.inserted("B", 1, "A1")
    assert (rental.state, rental.started_at, rental.ended_at) == (RentalState.COMPLETED, command.sent_at, world.now)
    assert command.state is CommandState.SUCCEEDED
    assert world.money() == (4850, 0)
    world.later(HOUR)
    world.ejected("A", 1, "A1", command, at=left_at)
    world.result("A", command, slot=1, serial="A1")
    assert (rental.state, rental.started_at, rental.charged_minor) == (RentalState.COMPLETED, left_at, 150)
    assert world.place("A1") == "B1"
    assert world.cases() == []
    world.check_everything()


def test_a_corrected_start_gives_back_what_was_too_much(world: World) -> None:
    rental = world.start()
    world.send(rental)
    sent_at = world.now
    world.later(30 * MINUTE + SECOND)
    world.inserted("B", 1, "A1")
    assert (rental.charged_minor, world.money()) == (200, (4800, 0))
    world.ejected("A", 1, "A1", world.command(rental), at=sent_at + 5 * SECOND)
    assert (rental.price_minor, rental.charged_minor, world.money()) == (150, 150, (4850, 0))
    assert world.whys(rental)[-1] == "start_corrected"
    world.check_everything()


def test_as_if_clocks_were_wrong_the_eject_is_told_after_the_return(world: World) -> None:
    """A's clock runs ahead: by time the bank left after it came back. By sense it did not."""
    rental = world.start()
    command = world.send(rental)
    world.later(MINUTE)
    world.inserted("B", 1, "A1")
    world.later(HOUR)
    world.ejected("A", 1, "A1", command, at=world.now)
    assert (rental.state, world.place("A1")) == (RentalState.COMPLETED, "B1")
    assert world.cases() == []
    world.check_everything()


def test_a_return_while_the_outcome_is_unknown(world: World) -> None:
    rental, command = world.unknown()
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    assert (rental.state, rental.started_at) == (RentalState.COMPLETED, command.sent_at)
    assert command.state is CommandState.SUCCEEDED
    world.check_everything()


def test_back_in_its_slot_before_any_word_of_the_eject(world: World) -> None:
    """Not taken: the cabinet lost the event of the eject, and tells that the bank came in again."""
    rental = world.start()
    world.send(rental)
    world.later(20 * SECOND)
    world.inserted("A", 1, "A1", 90)
    assert (rental.state, rental.failure_code) == (RentalState.COMPLETED, "not_taken")
    assert world.money() == (5000, 0)
    world.check_everything()


def test_what_counted_as_not_taken_stays_free_when_it_turns_out_to_have_been_elsewhere(world: World) -> None:
    """A rider had it for seconds, somebody carried it back: the price that was told does not rise."""
    rental = world.rent()
    left_at = world.now
    world.later(20 * SECOND)
    world.inserted("A", 1, "A1", 90)
    assert (rental.failure_code, rental.price_minor) == ("not_taken", 0)
    world.later(MINUTE)
    world.inserted("B", 1, "A1", at=left_at + 5 * SECOND)
    assert (rental.station_in_id, rental.ended_at) == (world.stations["B"].id, left_at + 5 * SECOND)
    assert (rental.state, rental.price_minor, world.money()) == (RentalState.COMPLETED, 0, (5000, 0))
    assert world.place("A1") == "A1"
    # It is called what it was, and its life says both.
    assert rental.failure_code is None
    assert rental.price_lines == [
        {"kind": "not_taken", "text": "It had counted as not taken: free of charge", "amount_minor": 0}
    ]
    told = select(RentalEvent).where(RentalEvent.rental_id == rental.id).order_by(RentalEvent.id.desc()).limit(2)
    corrected, closed = world.session.scalars(told)
    assert (closed.why, corrected.why) == ("not_taken", "end_corrected")
    assert corrected.evidence["counted_as"] == "not_taken"
    with pytest.raises(RentalNotCancellable, match="it cost nothing"):
        cancel(world.session, user_id=world.rider, rental_id=rental.id, now=world.now, policy=world.policy)


def test_an_old_insertion_is_no_proof_that_the_eject_worked(world: World) -> None:
    """The bank was carried to B before the rental was asked for: A will answer that its slot is empty."""
    rental = world.start()
    command = world.send(rental)
    world.later(5 * SECOND)
    world.inserted("B", 1, "A1", at=world.now - 30 * MINUTE)
    assert rental.state is RentalState.EJECTING
    world.result("A", command, CommandOutcome.FAILED, "slot_empty")
    assert world.serial(rental) == "A2"
    world.check_everything()


def test_unknown_and_the_bank_is_somewhere_else(world: World) -> None:
    rental, _ = world.unknown()
    world.inserted("B", 1, "A1", at=world.now - 30 * MINUTE)
    world.later(MINUTE)
    world.inventory("A", {2: ("A2", 80), 3: ("A3", 70)}, command=world.asked("A"))
    assert rental.state is RentalState.EJECT_FAILED
    world.check_everything()


def test_one_bank_is_in_one_slot(world: World) -> None:
    """An insertion of a bank that another slot still holds moves it."""
    world.later(MINUTE)
    world.inserted("B", 1, "A2")
    assert (world.place("A2"), world.slot("A", 2).power_bank_id) == ("B1", None)
    world.inserted("A", 3, "A1")
    assert world.place("A1") == "A3"
    assert [(case.reason, case.slot_number) for case in world.cases()] == [("vanished", 3)]
    world.check_everything()


def test_foreign_banks_are_taken_and_close_nothing(world: World) -> None:
    rental = world.rent()
    world.inserted("B", 1, "STRANGER", 80)
    bank = world.bank("STRANGER")
    assert (bank.known, world.place("STRANGER")) == (False, "B1")
    assert rental.state is RentalState.ACTIVE
    world.inserted("B", 2, None)
    assert world.slot("B", 2).state == "fault"
    assert rental.state is RentalState.ACTIVE


def test_an_unreadable_bank_is_read_later(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    world.inserted("B", 2, None)
    unread = world.now
    world.later(HOUR)
    world.inventory("B", {2: ("A1", 40)})
    assert (rental.state, rental.ended_at) == (RentalState.COMPLETED, unread)


def test_two_riders_and_one_bank_one_after_the_other(world: World) -> None:
    first = world.rent()
    world.later(10 * MINUTE)
    world.inserted("A", 1, "A1", 88)
    world.later(2 * MINUTE)
    world.slot("A", 1).watched_until = None
    world.stations["A"].last_heard_at = world.now
    second = world.rent(slot=1, rider=add_rider(world.session, world.now))
    world.later(10 * MINUTE)
    world.inserted("B", 1, "A1", 60)
    assert [(r.state, r.charged_minor) for r in (first, second)] == [(RentalState.COMPLETED, 150)] * 2
    world.check_everything()


def test_a_gap_given_up_and_filled_later(world: World) -> None:
    """Return and next eject were lost on the way, an inventory told the rest; both come in the end."""
    first = world.rent()
    world.later(10 * MINUTE)
    returned, out = world.skip("A"), world.skip("A")
    back_at = world.now
    world.later(MINUTE)
    world.inventory("A", {2: ("A2", 80), 3: ("A3", 70)})
    assert first.state is RentalState.ACTIVE
    world.inserted("A", 4, "A1", at=back_at, seq=returned)
    assert (first.state, first.ended_at) == (RentalState.COMPLETED, back_at)
    assert [case.reason for case in world.cases()] == ["vanished"]
    world.say("A", PowerBankEjected(slot=4, serial="A1"), at=back_at + SECOND, seq=out)
    assert len(world.cases()) == 1
    world.check_everything()


@pytest.mark.parametrize(("funds", "charged", "due"), [(500, 500, 50), (520, 520, 30), (620, 550, 0)])
def test_what_the_wallet_does_not_hold_is_owed(world: World, funds: int, charged: int, due: int) -> None:
    rider = add_rider(world.session, world.now, funds)
    rental = world.rent(rider=rider)
    world.later(timedelta(hours=4, minutes=10))
    world.inserted("B", 1, "A1")
    assert (rental.price_minor, rental.charged_minor, rental.due_minor) == (550, charged, due)
    assert world.money(rider) == (funds - charged, 0)
    world.check_everything()
