"""Operators, riders and cabinets at once on one rental: one of them closes it, and it is paid for once."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select

from firmware_protocol.messages import PowerBankEjected, PowerBankInserted
from fleet.db import session_scope
from fleet.payments import holds
from fleet.rentals.cases.places import Place
from fleet.rentals.corrections import disputes
from fleet.rentals.corrections import service as corrections
from fleet.rentals.corrections.models import DisputeReason
from fleet.rentals.corrections.service import Act
from fleet.rentals.errors import ClaimNotFound, DisputeDecided, RentalNotOpen
from fleet.rentals.models import Rental, RentalEvent, RentalState
from fleet.rentals.starts.ejects import last_eject
from fleet.rentals.underway import claims, deadlines
from fleet.rentals.underway.models import ClaimState, ReturnClaim
from fleet.stations.models import StationSlot
from fleet.users.audit import Actor
from tests.databases import Database
from tests.fleet.parallel import together, wide_engine
from tests.fleet.rentals.test_races import Town
from tests.fleet.rentals.world import POLICY

MANY = 50


@pytest.fixture
def town(clean_database: Database, now: datetime) -> Iterator[Town]:
    with wide_engine(clean_database.url, MANY) as engine:
        yield Town(engine, now)


def riding(town: Town) -> tuple[UUID, UUID]:
    """A rider and their rental, whose bank left station A."""
    station = town.station("A", 4, banks=1)
    [rider] = town.riders(1)
    rental_id = town.start(rider, "A")
    town.send(rental_id)
    with session_scope(town.engine) as session:
        command = last_eject(session, rental_id)
        assert command is not None
        command_id = str(command.id)
    town.apply(town.fact(station, "A", PowerBankEjected(slot=1, serial="A-1", command_id=command_id)))
    return rider, rental_id


def test_a_return_and_many_clicks_at_once(town: Town) -> None:
    rider, rental_id = riding(town)
    b = town.station("B", 4, banks=0)
    town.now += timedelta(hours=1)
    back = town.fact(b, "B", PowerBankInserted(slot=1, serial="A-1", charge_pct=20))

    def act(n: int) -> str:
        if n % 4 == 0:
            town.apply(back)
            return "returned"
        with session_scope(town.engine) as session:
            click = Act(session, rental_id, "click", Actor(console="root"), town.now)
            if n % 4 == 1:
                corrections.force_cancel(click)
            else:
                corrections.force_complete(click, place=Place("B", 1))
        return "clicked"

    results = together(MANY, act)
    assert [each for each in results if isinstance(each, Exception) and not isinstance(each, RentalNotOpen)] == []
    assert sum(result == "clicked" for result in results) <= 1
    with session_scope(town.engine) as session:
        rental = session.get_one(Rental, rental_id)
        closings = session.scalar(
            select(func.count()).where(
                RentalEvent.rental_id == rental_id, RentalEvent.to_state == rental.state,
                RentalEvent.from_state == RentalState.ACTIVE,
            )
        )  # fmt: skip
        assert closings == 1
        charged = holds.charged_for(session, rental_id) - holds.refunded_for(session, rental_id)
        assert (rental.state, charged) in {(RentalState.COMPLETED, 200), (RentalState.CANCELLED, 0)}
        held = session.scalars(select(StationSlot).where(StationSlot.power_bank_id == rental.power_bank_id)).one()
        assert held.number == 1
    assert town.balance(rider) == (5000 - charged, 0)
    town.check_books()


def test_a_bank_that_counted_as_bought_comes_back_while_operators_say_so(town: Town) -> None:
    """The cabinet's word finds a closed rental, the operators' one begins with it: none waits for the other's lock."""
    _, rental_id = riding(town)
    b = town.station("B", 4, banks=0)
    town.now += timedelta(days=40)
    with session_scope(town.engine) as session:
        assert deadlines.sweep_rentals(session, town.now, POLICY) >= 1
    with session_scope(town.engine) as session:
        rental = session.get_one(Rental, rental_id)
        assert (rental.state, rental.ended_at is None) == (RentalState.BOUGHT_OUT, False)
        earlier = rental.requested_at + timedelta(hours=1)
    back = town.fact(b, "B", PowerBankInserted(slot=1, serial="A-1", charge_pct=20))

    def act(n: int) -> None:
        if n % 2 == 0:
            town.apply(back)
            return
        with session_scope(town.engine) as session:
            click = Act(session, rental_id, "click", Actor(console="root"), town.now)
            corrections.back_date(click, earlier, place=Place("B", 1))

    assert [each for each in together(MANY, act) if isinstance(each, Exception)] == []
    with session_scope(town.engine) as session:
        rental = session.get_one(Rental, rental_id)
        assert (rental.state, rental.charged_minor) == (RentalState.COMPLETED, 200)
        assert holds.charged_for(session, rental_id) - holds.refunded_for(session, rental_id) == 200
    town.check_books()


def test_a_return_and_many_claims_of_it_at_once(town: Town) -> None:
    rider, rental_id = riding(town)
    b = town.station("B", 4, banks=0)
    town.now += timedelta(hours=1)
    back = town.fact(b, "B", PowerBankInserted(slot=1, serial="A-1", charge_pct=20))

    def act(n: int) -> None:
        if n % 4 == 0:
            town.apply(back)
            return
        with session_scope(town.engine) as session:
            claims.claim_return(
                session, user_id=rider, rental_id=rental_id, station_code="B", slot=1, policy=POLICY, now=town.now
            )

    results = together(MANY, act)
    assert [each for each in results if isinstance(each, Exception) and not isinstance(each, RentalNotOpen)] == []
    with session_scope(town.engine) as session:
        rental = session.get_one(Rental, rental_id)
        assert (rental.state, rental.charged_minor) == (RentalState.COMPLETED, 200)
        assert set(session.scalars(select(ReturnClaim.state))) <= {ClaimState.CONFIRMED}
        made = session.scalar(select(func.count()).select_from(ReturnClaim)) or 0
        assert len(rental.paused) == made
        assert made <= 1
    town.check_books()


def test_many_claims_at_once_are_one_and_are_decided_once(town: Town) -> None:
    """A cabinet that tells nothing: the rider taps, two operators do not agree."""
    rider, rental_id = riding(town)
    town.station("B", 4, banks=0)
    town.now += timedelta(hours=1)

    def say(_: int) -> UUID:
        with session_scope(town.engine) as session:
            return claims.claim_return(
                session, user_id=rider, rental_id=rental_id, station_code="B", slot=1, policy=POLICY, now=town.now
            ).id

    said = together(MANY, say)
    assert [each for each in said if isinstance(each, Exception)] == []
    assert len(set(said)) == 1
    claimed_at = town.now
    town.now += timedelta(hours=1)

    def decide(n: int) -> str:
        with session_scope(town.engine) as session:
            click = Act(session, rental_id, "click", Actor(console="root"), town.now)
            (corrections.confirm_claim if n % 2 else corrections.refute_claim)(click)
        return "confirmed" if n % 2 else "refuted"

    results = together(MANY, decide)
    won = [each for each in results if isinstance(each, str)]
    assert len(won) == 1, results
    assert all(isinstance(each, str | ClaimNotFound | RentalNotOpen) for each in results), results
    with session_scope(town.engine) as session:
        rental = session.get_one(Rental, rental_id)
        assert session.scalars(select(ReturnClaim.state)).all() == [won[0]]
        if won == ["confirmed"]:
            assert (rental.state, rental.ended_at, rental.charged_minor) == (RentalState.COMPLETED, claimed_at, 200)
        else:
            assert (rental.state, rental.paused) == (RentalState.ACTIVE, [])
    town.check_books()


def test_many_decisions_at_once(town: Town) -> None:
    rider, rental_id = riding(town)
    b = town.station("B", 4, banks=0)
    town.now += timedelta(hours=1)
    town.apply(town.fact(b, "B", PowerBankInserted(slot=1, serial="A-1", charge_pct=20)))

    def open_one(_: int) -> UUID:
        with session_scope(town.engine) as session:
            return disputes.open_dispute(
                session, user_id=rider, rental_id=rental_id, reason=DisputeReason.OTHER, note=None, policy=POLICY,
                now=town.now,
            ).id  # fmt: skip

    def decide(n: int) -> int:
        refund = (None, 50, 0)[n % 3]
        with session_scope(town.engine) as session:
            click = Act(session, rental_id, "click", Actor(console="root"), town.now)
            return disputes.decide(click, refund).refund_minor or 0

    opened = together(MANY, open_one)
    assert len({each for each in opened if isinstance(each, UUID)}) == 1
    assert [each for each in opened if isinstance(each, Exception)] == []
    results = together(MANY, decide)
    won = [each for each in results if isinstance(each, int)]
    assert len(won) == 1
    assert all(isinstance(each, int | DisputeDecided) for each in results)
    assert town.balance(rider) == (4800 + won[0], 0)
    with session_scope(town.engine) as session:
        rental = session.get_one(Rental, rental_id)
        assert (rental.state, rental.charged_minor) == (RentalState.COMPLETED, 200 - won[0])
    town.check_books()
