"""Fifty at once: shares posted once, payouts never more than there is, one decision each, no deadlock."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from fleet.common.errors import IllegalTransition
from fleet.common.models import OutboxEvent
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.partners import payouts
from fleet.partners.models import Partner, PayoutState
from fleet.partners.proof import CHECKS
from fleet.partners.shares import settle_rental
from fleet.payments import holds, proof
from fleet.payments.errors import InsufficientFunds
from fleet.rentals.events import RentalClosed
from tests.databases import Database
from tests.factories import add_rider
from tests.fleet.parallel import together, wide_engine
from tests.fleet.partners.conftest import Trade
from tests.fleet.rentals.world import World
from workers.consumers import consume
from workers.tasks import partners as task

THREADS = 50


@pytest.fixture
def books(clean_database: Database) -> Iterator[Engine]:
    with wide_engine(clean_database.url, THREADS) as engine:
        yield engine


def prove(books: Engine, now: datetime) -> None:
    with session_scope(books) as session:
        assert proof.prove(session, now, CHECKS).problems == ()


def test_fifty_tasks_at_once_post_the_shares_of_rentals_once(books: Engine, now: datetime) -> None:
    """Two rentals of the same parties, refunds among them."""
    with session_scope(books) as session:
        trade = Trade(World(session, now))
        rentals = [trade.ride().id, trade.ride().id]
        parties, later = (trade.vendor.id, trade.franchise.id), trade.world.now

    def settle(number: int) -> None:
        rental = rentals[number % 2]
        with session_scope(books) as session:
            if number % 10 == 0:
                money = Money(15, "EUR")
                holds.refund_rental(session, rental_id=rental, money=money, reason="jam", key=str(number), now=later)
            else:
                settle_rental(session, rental, later)

    assert together(THREADS, settle) == [None] * THREADS
    with session_scope(books) as session:
        assert sum(settle_rental(session, rental, later) for rental in rentals) <= 4
        owed = [payouts.balance(session, party, "EUR", later).balance_minor for party in parties]
    # 75 came back of the first rental's 300, nothing of the other's (numbers 0, 10 … are even).
    assert owed == [22 + 29, 44 + 59]
    prove(books, later)


def test_fifty_payouts_at_once_stop_where_the_money_ends(books: Engine, now: datetime) -> None:
    with session_scope(books) as session:
        trade = Trade(World(session, now))
        rental = trade.ride()
        trade.settle(rental)
        partner, later = trade.franchise.id, trade.world.now
        member, operator = add_rider(session, now, 0), add_rider(session, now, 0)

    def ask(_: int) -> UUID:
        with session_scope(books) as session:
            own = session.get_one(Partner, partner)
            return payouts.request(session, own, Money(10, "EUR"), actor_id=member, now=later).id

    outcomes = together(THREADS, ask)
    asked = [outcome for outcome in outcomes if isinstance(outcome, UUID)]
    assert len(asked) == 5  # of 59
    assert {type(outcome) for outcome in outcomes} == {UUID, InsufficientFunds}

    def decide(number: int) -> PayoutState:
        with session_scope(books) as session:
            if number % 2:
                return payouts.approve(session, asked[0], actor_id=operator, now=later).state
            return payouts.cancel(session, session.get_one(Partner, partner), asked[0], later).state

    decided = together(THREADS, decide)
    won = {outcome for outcome in decided if isinstance(outcome, PayoutState)}
    assert len(won) == 1
    assert all(isinstance(outcome, PayoutState | IllegalTransition) for outcome in decided)
    prove(books, later)


def test_a_task_that_dies_has_done_nothing_and_does_all_of_it_again(worker: Database, now: datetime) -> None:
    with session_scope(worker.engine) as session:
        trade = Trade(World(session, now))
        rental, partner, later = trade.ride().id, trade.franchise.id, trade.world.now
        event = OutboxEvent(name=RentalClosed.name, payload={"rental_id": str(rental)}, created_at=later)
        session.add(event)
        session.flush()
        event_id = event.id

    def dies(session: Session, payload: dict[str, str], at: datetime) -> None:
        settle_rental(session, UUID(payload["rental_id"]), at)
        session.flush()
        raise RuntimeError("killed before the commit")

    def owed() -> int:
        with session_scope(worker.engine) as session:
            return payouts.balance(session, partner, "EUR", later).balance_minor

    name = task.settle_rental.name
    with pytest.raises(RuntimeError):
        consume(name, dies, event_id, later)
    assert owed() == 0
    assert [task.settle_rental(event_id) for _ in range(3)] == [True, False, False]
    assert owed() == 59
    prove(worker.engine, later)
