"""Banks that are kept: reminded, overdue, lost or bought, and back after all."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from fleet.common.models import OutboxEvent
from fleet.payments.invoices import invoices_of_rental
from fleet.rentals.events import RentalDueSoon
from fleet.rentals.models import Rental, RentalState, StartEvidence
from fleet.rentals.pricing.gross import bought_at
from fleet.rentals.pricing.price import LineKind, price
from fleet.rentals.pricing.terms import TariffTerms
from fleet.rentals.records import receipts
from fleet.rentals.tariffs import packages
from fleet.rentals.tariffs.models import PackageKind
from fleet.rentals.tariffs.packages import PackageSpec
from fleet.rentals.underway import deadlines, extensions
from fleet.rentals.underway.reminders import sweep_reminders
from fleet.stations.models import PowerBankState
from tests.factories import add_rider
from tests.fleet.rentals.pricing.samples import any_terms, durations
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND, World

DAY = timedelta(days=1)
LOST = {"lost_after": DAY.total_seconds(), "lost_fee_minor": 700, "total_cap_minor": 9000}
#: Two days from noon on: the unlock fee, and three local days that reach their cap.
BY_USE = 100 + 3 * 1000


def rent(world: World, **terms: object) -> Rental:
    """Due after a day; `terms` in place of the tariff's."""
    rental = world.start()
    rental.terms = {**rental.terms, **terms}
    command = world.send(rental)
    world.ejected("A", 1, "A1", command)
    return rental


def sweep(world: World) -> int:
    return deadlines.sweep_rentals(world.session, world.now, world.policy)


def remind(world: World) -> int:
    return sweep_reminders(world.session, world.now, world.policy)


def reminders(world: World) -> int:
    query = select(func.count()).where(OutboxEvent.name == RentalDueSoon.name)
    return world.session.scalar(query) or 0


def test_a_rider_is_reminded_once_a_quarter_of_an_hour_before(world: World) -> None:
    rental = rent(world)
    assert rental.overdue_at is not None
    world.now = rental.overdue_at - 15 * MINUTE - SECOND
    assert remind(world) == 0
    world.later(SECOND)
    assert (remind(world), remind(world), reminders(world)) == (1, 0, 1)
    world.now = rental.overdue_at
    assert remind(world) == 0


def test_an_extension_brings_another_reminder_and_a_short_rental_none(world: World) -> None:
    spec = PackageSpec("1 hour", PackageKind.PREPAID, HOUR, 100, "EUR")
    package = packages.create_package(world.session, spec, world.now)
    rental = world.start()
    rental.prepaid = [packages.bought(package).to_json()]
    world.ejected("A", 1, "A1", world.send(rental))
    world.later(50 * MINUTE)
    assert remind(world) == 1
    extensions.extend(world.session, user_id=world.rider, rental_id=rental.id, package_id=package.id, now=world.now)
    assert remind(world) == 0
    world.later(HOUR)
    assert remind(world) == 1
    world.inserted("B", 1, "A1")
    world.rider = add_rider(world.session, world.now)
    world.heard()
    short = world.start()
    short.terms = {**short.terms, "overdue_after": (15 * MINUTE).total_seconds()}
    world.ejected("A", 2, "A2", world.send(short))
    world.later(5 * MINUTE)
    assert remind(world) == 0


def test_lost_a_day_after_it_was_due_and_its_fee_comes_back_with_it(world: World) -> None:
    rental = rent(world, **LOST)
    assert rental.started_at is not None
    world.now = rental.started_at + DAY
    assert sweep(world) == 1
    assert rental.state is RentalState.OVERDUE
    world.now = rental.started_at + 2 * DAY
    assert (sweep(world), sweep(world)) == (1, 0)
    assert (rental.state, rental.charged_minor) == (RentalState.BOUGHT_OUT, BY_USE + 700)
    assert (world.whys(rental)[-1], world.bank("A1").state) == ("lost", PowerBankState.LOST)
    assert rental.price_lines is not None
    assert [line["kind"] for line in rental.price_lines].count(LineKind.LOST_FEE) == 1
    world.check_everything()

    world.later(20 * DAY)
    fact = world.inserted("B", 1, "A1", 10)
    world.apply(fact)
    assert (rental.state, rental.charged_minor, rental.due_minor) == (RentalState.COMPLETED, BY_USE, 0)
    assert (rental.ended_at, rental.slot_in) == (rental.buyout_at, 1)
    assert world.money() == (5000 - BY_USE, 0)
    assert (world.bank("A1").state, world.bank("A1").discharged_pct) == (PowerBankState.AVAILABLE, 80)
    assert world.whys(rental).count("brought_back") == 1
    told = invoices_of_rental(world.session, rental.id, world.rider)
    assert [each.total_minor for each in told] == [BY_USE + 700, -700]
    paper = receipts.receipt(world.session, world.rider, rental.id, issuer="Voltbay", now=world.now)
    assert paper.returned is not None
    assert (paper.returned.code, paper.returned.at, paper.charged_until) == ("B", world.now, rental.buyout_at)
    world.check_everything()


def test_what_was_bought_by_time_is_given_back_to_the_last_cent(world: World) -> None:
    rental = rent(world, buyout_after=(2 * DAY).total_seconds(), total_cap_minor=4500)
    world.later(3 * DAY)
    sweep(world)
    assert (rental.state, rental.charged_minor) == (RentalState.BOUGHT_OUT, 4500)
    world.inventory("B", {})
    world.later(DAY)
    world.inventory("B", {2: ("A1", 10)})
    assert rental.state is RentalState.COMPLETED
    assert (rental.charged_minor, world.money()) == (BY_USE, (5000 - BY_USE, 0))
    world.check_everything()


def test_a_late_sweep_changes_no_amount(world: World) -> None:
    """The bank is back before anybody noticed that it counted as lost."""
    rental = rent(world, **LOST)
    world.later(30 * DAY)
    world.inserted("B", 1, "A1")
    assert rental.state is RentalState.COMPLETED
    assert rental.charged_minor == BY_USE
    world.check_everything()


def test_a_debt_for_a_lost_bank_is_owed_no_more_when_it_is_back(world: World) -> None:
    world.rider = add_rider(world.session, world.now, 500)
    rental = rent(world, **LOST)
    world.later(2 * DAY)
    sweep(world)
    assert rental.charged_minor == 500
    world.inserted("B", 1, "A1")
    assert (rental.charged_minor, rental.due_minor) == (500, BY_USE - 500)
    world.check_everything()


def test_better_word_of_the_start_gives_no_lost_bank_away(world: World) -> None:
    rental = world.start()
    rental.terms = {**rental.terms, **LOST}
    command = world.send(rental)
    left_at = world.later(3 * SECOND)
    seq = world.skip("A")
    world.later(HOUR)
    world.inventory("A", {2: ("A2", 80), 3: ("A3", 70)})
    assert rental.start_evidence is StartEvidence.ORDER
    world.later(3 * DAY)
    sweep(world)
    charged = rental.charged_minor
    assert rental.state is RentalState.BOUGHT_OUT
    world.ejected("A", 1, "A1", command, at=left_at, seq=seq)
    assert (rental.state, rental.started_at, rental.charged_minor) == (RentalState.BOUGHT_OUT, left_at, charged)
    assert rental.ended_at == rental.buyout_at
    world.check_everything()


def test_a_bank_that_was_lost_is_found_where_nobody_had_looked_since_before_the_start(world: World) -> None:
    """The cabinet lost its record of the return: it may have been at any time, and the doubt is not the rider's."""
    rental = rent(world, **LOST)
    world.later(3 * DAY)
    sweep(world)
    assert rental.state is RentalState.BOUGHT_OUT
    world.inventory("B", {1: ("A1", 30)})
    assert (rental.state, rental.charged_minor, rental.ended_at) == (RentalState.COMPLETED, 100, rental.started_at)
    world.check_everything()


def test_a_return_before_it_was_lost_that_is_told_afterwards(world: World) -> None:
    rental = rent(world, **LOST)
    early = world.later(HOUR)
    world.later(3 * DAY)
    sweep(world)
    assert rental.state is RentalState.BOUGHT_OUT
    world.inserted("B", 1, "A1", at=early)
    assert (rental.state, rental.ended_at, rental.charged_minor) == (RentalState.COMPLETED, early, 200)
    world.check_everything()


START = datetime(2026, 11, 23, 12, tzinfo=UTC)


@given(any_terms, st.integers(0, 5000), st.timedeltas(timedelta(0), DAY * 3), durations, durations)
def test_a_lost_fee_keeps_a_price_monotone_and_under_its_cap(
    terms: TariffTerms, fee: int, after: timedelta, one: timedelta, other: timedelta
) -> None:
    lost = replace(terms, lost_after=after, lost_fee_minor=fee)
    shorter, longer = sorted((one, other))
    cheap, dear = (price(lost, START, START + each).total_minor for each in (shorter, longer))
    assert cheap <= dear
    plain = price(terms, START, START + longer).total_minor
    assert plain <= dear
    at = bought_at(lost, START)
    assert at is not None
    if START + longer < at:
        assert dear == plain
