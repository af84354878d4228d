"""What riders do to one rental at once: it happens once, and the books show it once."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select

from firmware_protocol.messages import PowerBankEjected, PowerBankInserted
from fleet.db import session_scope
from fleet.payments.models import LedgerTransfer
from fleet.rentals.errors import NotExtendable
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.starts import service as starts
from fleet.rentals.tariffs import packages
from fleet.rentals.tariffs.models import PackageKind
from fleet.rentals.tariffs.packages import PackageSpec
from fleet.rentals.underway import cancels, deadlines, extensions
from fleet.rentals.underway.models import EXTENSIONS_MAX, RentalExtension
from fleet.rentals.underway.reminders import sweep_reminders
from tests.databases import Database
from tests.fleet.parallel import together, wide_engine
from tests.fleet.rentals.test_races import Town
from tests.fleet.rentals.world import POLICY

MANY = 50
HOUR = timedelta(hours=1)


@pytest.fixture
def town(clean_database: Database, now: datetime) -> Iterator[Town]:
    with wide_engine(clean_database.url, MANY) as engine:
        town = Town(engine, now)
        town.station("A", 4, banks=2)
        yield town
        town.check_books()


def begun(town: Town) -> tuple[UUID, UUID, UUID]:
    """Rider, rental that has its bank A-2 and a package of an hour, package."""
    [rider] = town.riders(1)
    with session_scope(town.engine) as session:
        spec = PackageSpec("1 hour", PackageKind.PREPAID, HOUR, 100, "EUR")
        package = packages.create_package(session, spec, town.now).id
        rental = starts.start(
            session, user_id=rider, station_code="A", slot=2, now=town.now, policy=POLICY, package_id=package
        )
        rental_id, station_id = rental.id, rental.station_out_id
    assert town.send(rental_id)
    town.apply(town.fact(station_id, "A", PowerBankEjected(slot=2, serial="A-2")))
    return rider, rental_id, package


def test_fifty_extensions_at_once_are_three(town: Town) -> None:
    rider, rental_id, package = begun(town)

    def extend(_: int) -> str:
        with session_scope(town.engine) as session:
            extensions.extend(session, user_id=rider, rental_id=rental_id, package_id=package, now=town.now)
        return "won"

    found = Counter("won" if each == "won" else type(each).__name__ for each in together(MANY, extend))
    assert found == {"won": EXTENSIONS_MAX, NotExtendable.__name__: MANY - EXTENSIONS_MAX}
    assert town.balance(rider) == (4600, 400)
    with session_scope(town.engine) as session:
        numbers = select(RentalExtension.number).where(RentalExtension.rental_id == rental_id)
        assert sorted(session.scalars(numbers)) == [1, 2, 3]
        assert len(session.get_one(Rental, rental_id).prepaid) == 1 + EXTENSIONS_MAX


def test_fifty_cancels_of_a_bank_that_is_back_give_the_money_back_once(town: Town) -> None:
    rider, rental_id, _ = begun(town)
    with session_scope(town.engine) as session:
        station_id = session.get_one(Rental, rental_id).station_out_id
    town.now += timedelta(minutes=2)
    town.apply(town.fact(station_id, "A", PowerBankInserted(slot=4, serial="A-2", charge_pct=50)))
    assert town.balance(rider) == (4900, 0)

    def cancel(_: int) -> RentalState:
        with session_scope(town.engine) as session:
            return cancels.cancel(session, user_id=rider, rental_id=rental_id, now=town.now, policy=POLICY).state

    assert together(MANY, cancel) == [RentalState.CANCELLED] * MANY
    assert town.balance(rider) == (5000, 0)
    with session_scope(town.engine) as session:
        refunds = select(func.count()).where(
            LedgerTransfer.rental_id == rental_id, LedgerTransfer.kind == "rental_refund"
        )
        assert session.scalar(refunds) == 1


def test_sweeps_at_once_remind_once_and_take_the_bank_for_lost_once(town: Town) -> None:
    rider, rental_id, _ = begun(town)
    with session_scope(town.engine) as session:
        rental = session.get_one(Rental, rental_id)
        rental.terms = {**rental.terms, "lost_after": HOUR.total_seconds(), "lost_fee_minor": 300}
        assert rental.started_at is not None
        rental.buyout_at = rental.started_at + 2 * HOUR
    soon, gone = town.now + timedelta(minutes=50), town.now + 3 * HOUR

    def remind(_: int) -> int:
        with session_scope(town.engine) as session:
            return sweep_reminders(session, soon, POLICY)

    assert Counter(map(str, together(MANY, remind))) == {"0": MANY - 1, "1": 1}

    def sweep(_: int) -> None:
        with session_scope(town.engine) as session:
            deadlines.sweep_rentals(session, gone, POLICY)

    assert together(MANY, sweep) == [None] * MANY
    # The package, two intervals beyond it, and the bank.
    assert town.balance(rider) == (5000 - 100 - 2 * 50 - 300, 0)
    with session_scope(town.engine) as session:
        assert session.get_one(Rental, rental_id).state is RentalState.BOUGHT_OUT
