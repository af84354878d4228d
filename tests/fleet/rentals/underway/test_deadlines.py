"""Overdue, bought out, paid later."""

import re
from datetime import timedelta

from sqlalchemy import select

from fleet.payments.ledger import apply_house_now
from fleet.payments.models import AccountKind, LedgerAccount, TransferState
from fleet.rentals import queries
from fleet.rentals.models import RentalState
from fleet.rentals.records import trace
from fleet.rentals.starts.queries import standing_of
from fleet.rentals.underway import deadlines
from fleet.stations.models import PowerBankState
from tests.factories import add_rider, give_money
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND, World

DAY = timedelta(days=1)


def sweep(world: World) -> int:
    return deadlines.sweep_rentals(world.session, world.now, world.policy)


def house(world: World, kind: AccountKind) -> int:
    apply_house_now(world.session)
    query = select(LedgerAccount).where(LedgerAccount.kind == kind, LedgerAccount.owner_id.is_(None))
    account = world.session.scalars(query.execution_options(populate_existing=True)).one()
    return account.credits_posted - account.debits_posted


def test_overdue_and_back(world: World) -> None:
    rental = world.rent()
    assert rental.started_at is not None
    world.later(DAY - SECOND)
    assert sweep(world) == 0
    world.later(2 * SECOND)
    assert (sweep(world), sweep(world)) == (1, 0)
    assert rental.state is RentalState.OVERDUE
    assert world.whys(rental)[-1] == "overdue"
    world.inserted("B", 1, "A1")
    # 24 intervals until midnight and 25 after it: both days reach their cap.
    assert (rental.state, rental.charged_minor) == (RentalState.COMPLETED, 100 + 1000 + 1000)
    world.check_everything()


def test_bought_out_at_the_total_cap(world: World) -> None:
    rental = world.rent()
    assert rental.buyout_at is not None
    world.now = rental.buyout_at - SECOND
    sweep(world)
    assert rental.state is RentalState.OVERDUE
    world.now = rental.buyout_at
    assert (sweep(world), sweep(world)) == (1, 0)
    assert (rental.state, rental.charged_minor, rental.ended_at) == (RentalState.BOUGHT_OUT, 3000, rental.buyout_at)
    assert world.money() == (2000, 0)
    assert (house(world, AccountKind.BUYOUT_REVENUE), house(world, AccountKind.REVENUE)) == (3000, 0)
    world.check_everything()


def test_a_return_after_the_cap_was_reached_by_use_changes_no_amount(world: World) -> None:
    rental = world.rent()
    world.later(30 * DAY)
    sweep(world)
    world.later(DAY)
    world.inserted("B", 1, "A1", 10)
    assert (rental.state, rental.slot_in, rental.charged_minor) == (RentalState.COMPLETED, 1, 3000)
    assert world.whys(rental)[-1] == "brought_back"
    assert world.bank("A1").state is PowerBankState.AVAILABLE
    assert world.money() == (2000, 0)
    world.check_everything()


def test_a_return_that_is_told_after_the_buyout_was_due_costs_its_own_time(world: World) -> None:
    """The sweep was late, the cabinet's journal too: the time of the return counts."""
    rental = world.rent()
    back_at = world.now + HOUR
    world.later(30 * DAY)
    world.inserted("B", 1, "A1", at=back_at)
    assert (rental.state, rental.charged_minor) == (RentalState.COMPLETED, 200)


def test_unlock_fees_and_usage_are_booked_apart(world: World) -> None:
    world.rent()
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    assert (house(world, AccountKind.UNLOCK_FEES), house(world, AccountKind.REVENUE)) == (100, 100)


def test_debts_are_paid_as_soon_as_there_is_money(world: World) -> None:
    rider = add_rider(world.session, world.now, 500)
    rental = world.rent(rider=rider)
    world.later(5 * HOUR)
    world.inserted("B", 1, "A1")
    assert (rental.charged_minor, rental.due_minor) == (500, 100)
    assert sweep(world) == 0
    give_money(world.session, rider, world.now, 60)
    assert sweep(world) == 1
    assert (rental.charged_minor, rental.due_minor, world.money(rider)) == (560, 40, (0, 0))
    give_money(world.session, rider, world.now, 60)
    assert (sweep(world), sweep(world)) == (1, 0)
    assert (rental.charged_minor, rental.due_minor, world.money(rider)) == (600, 0, (20, 0))
    assert standing_of(world.session, rider).owed == {}
    world.check_everything()


def test_the_trace_tells_everything_in_order(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    entries = trace.trace(world.session, rental.id)
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
    told = [(entry.kind, re.sub(r"invoice \d+", "invoice", entry.summary)) for entry in entries]
    assert [each for each in told if each[0] != "frame_received"] == [
        ("request", "rental asked for at station A"),
        ("transfer", "rental_hold of 5.00 EUR"),
        ("state_change", "new → ejecting: requested"),
        ("command", "eject_power_bank ordered"),
        ("state_change", "ejecting → active: bank_left"),
        ("command", "eject_power_bank succeeded"),
        ("movement", "bank A1 ejected, A slot 1"),
        ("payment", "invoice of 2.00 EUR"),
        ("transfer", "rental_hold posted for 1.00 EUR"),
        ("transfer", "rental_charge of 1.00 EUR"),
        ("state_change", "active → completed: returned"),
        ("movement", "bank A1 inserted, B slot 1"),
    ]
    hold = next(entry for entry in entries if entry.summary.startswith("rental_hold posted"))
    assert (hold.detail["state"], hold.detail["posted_minor"]) == (TransferState.POSTED, 100)


def test_what_riders_see(world: World) -> None:
    rental = world.rent()
    [now_open] = queries.current(world.session, world.rider)
    assert (now_open.station_out.code, now_open.power_bank.serial, now_open.station_in) == ("A", "A1", None)
    assert queries.price_now(now_open, world.now + 31 * MINUTE).total_minor == 200
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    assert queries.current(world.session, world.rider) == []
    [closed] = queries.history(world.session, world.rider, 10)
    assert closed.station_in is not None
    assert (closed.station_in.code, queries.price_now(closed, world.now + DAY).total_minor) == ("B", 200)
    assert queries.history(world.session, world.rider, 10, before=rental.id) == []
