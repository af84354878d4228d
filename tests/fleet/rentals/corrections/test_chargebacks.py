"""A rental whose payment a bank has taken back is DISPUTED until that is decided."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import pytest
from sqlalchemy import select

from fleet.db import session_scope
from fleet.payments.disputes.service import apply_dispute
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.providers.base import DisputeStatus, ProviderDispute
from fleet.payments.providers.sandbox import SandboxProvider
from fleet.rentals.corrections import chargebacks, disputes
from fleet.rentals.corrections.models import DisputeReason
from fleet.rentals.corrections.service import Act
from fleet.rentals.models import RentalEvent, RentalState
from fleet.users.audit import Actor
from tests.databases import Database
from tests.factories import add_rider
from tests.fleet.parallel import together, wide_engine
from tests.fleet.rentals.starts.test_by_card import Card402, ride
from tests.fleet.rentals.test_races import Town
from tests.fleet.rentals.world import POLICY

MANY = 50


class Quarrel(Card402):
    """A rental of 2.00 that a card paid."""

    rental_id: UUID
    intent: UUID

    def bank_says(self, status: DisputeStatus) -> None:
        with session_scope(self.town.engine) as session:
            reference = session.get_one(PaymentIntent, self.intent).provider_reference
            assert reference is not None
            found = ProviderDispute("dp_1", reference, status, 200, "EUR", "fraudulent")
            apply_dispute(session, self.provider.name, found, self.town.now)

    def follow(self) -> bool:
        with session_scope(self.town.engine) as session:
            return chargebacks.follow(session, self.rental_id, self.town.now)

    def state(self) -> RentalState:
        return self.rental(self.rental_id).state

    def whys(self) -> list[str]:
        with session_scope(self.town.engine) as session:
            query = select(RentalEvent.why).where(RentalEvent.rental_id == self.rental_id).order_by(RentalEvent.id)
            return list(session.scalars(query))[-2:]


@pytest.fixture
def quarrel(clean_database: Database, now: datetime) -> Iterator[Quarrel]:
    with wide_engine(clean_database.url, MANY) as engine:
        town = Town(engine, now)
        town.station("A", 4, banks=1)
        with session_scope(engine) as session:
            rider = add_rider(session, now, 0)
        found = Quarrel(town, rider, SandboxProvider(engine, "whsec_cards", lambda: town.now))
        found.intent = found.ask()
        found.confirm(found.intent)
        started = found.start(found.intent)
        assert started is not None
        found.rental_id = started
        ride(found, started, 60)
        found.carry_out(found.intent)
        yield found
        town.check_books()


@pytest.mark.parametrize("end", [DisputeStatus.WON, DisputeStatus.LOST])
def test_it_is_disputed_while_the_bank_decides(quarrel: Quarrel, end: DisputeStatus) -> None:
    assert not quarrel.follow()
    quarrel.bank_says(DisputeStatus.OPEN)
    assert (quarrel.follow(), quarrel.follow()) == (True, False)
    assert quarrel.state() is RentalState.DISPUTED
    quarrel.bank_says(end)
    assert (quarrel.follow(), quarrel.follow()) == (True, False)
    assert quarrel.state() is RentalState.COMPLETED
    assert quarrel.whys() == ["payment_disputed", f"payment_dispute_{end}"]


def test_news_that_come_late_find_it_decided(quarrel: Quarrel) -> None:
    quarrel.bank_says(DisputeStatus.OPEN)
    quarrel.bank_says(DisputeStatus.WON)
    assert (quarrel.follow(), quarrel.state()) == (False, RentalState.COMPLETED)


def test_the_riders_own_dispute_and_the_banks_both_have_to_end(quarrel: Quarrel) -> None:
    with session_scope(quarrel.town.engine) as session:
        disputes.open_dispute(
            session, user_id=quarrel.rider, rental_id=quarrel.rental_id, reason=DisputeReason.OVERCHARGED, note=None,
            policy=POLICY, now=quarrel.town.now,
        )  # fmt: skip
    quarrel.bank_says(DisputeStatus.OPEN)
    assert not quarrel.follow(), "it is disputed already"
    with session_scope(quarrel.town.engine) as session:
        boss = Actor(user_id=add_rider(session, quarrel.town.now, 0))
        disputes.decide(Act(session, quarrel.rental_id, "no reason", boss, quarrel.town.now), 0)
    assert quarrel.state() is RentalState.DISPUTED
    quarrel.bank_says(DisputeStatus.WON)
    assert (quarrel.follow(), quarrel.state()) == (True, RentalState.COMPLETED)


def test_the_same_news_many_times_at_once_move_it_once(quarrel: Quarrel) -> None:
    quarrel.bank_says(DisputeStatus.OPEN)
    results = together(MANY, lambda _: quarrel.follow())
    assert sum(each is True for each in results) == 1, results
    assert sum(each is False for each in results) == MANY - 1, results
