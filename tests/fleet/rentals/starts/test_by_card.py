"""Rentals that a card stands for: 402, then they begin by themselves, and the card pays what the wallet lacks."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update

from firmware_protocol.messages import PowerBankEjected, PowerBankInserted
from fleet.common.models import OutboxEvent
from fleet.db import session_scope
from fleet.payments import intents, janitor
from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.payments.providers.sandbox import Card, SandboxProvider
from fleet.rentals.closing.dues import collect_dues
from fleet.rentals.errors import NoBankAvailable
from fleet.rentals.events import RentalNotStarted
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.records.trace import trace
from fleet.rentals.starts import by_card
from fleet.rentals.underway import deadlines
from fleet.stations.models import PowerBank
from tests.databases import Database
from tests.factories import add_rider
from tests.fleet.parallel import together, wide_engine
from tests.fleet.rentals.test_races import Town
from tests.fleet.rentals.world import POLICY

MANY = 50


@dataclass
class Card402:
    """A town, a rider without money, and the card company."""

    town: Town
    rider: UUID
    provider: SandboxProvider

    def ask(self) -> UUID:
        with session_scope(self.town.engine) as session:
            intent = by_card.ask_payment(
                session, user_id=self.rider, station_code="A", slot=None, package_id=None, provider=self.provider,
                now=self.town.now, policy=POLICY, request_id="phone-1",
            )  # fmt: skip
            assert intent is not None
            assert intent.amount_minor == 500
            return intent.id

    def confirm(self, intent: UUID, card: str = Card.SUCCEEDS) -> PaymentIntent:
        return intents.confirm(
            lambda: session_scope(self.town.engine), intent_id=intent, user_id=self.rider, card=card,
            provider=self.provider, now=self.town.now,
        )  # fmt: skip

    def start(self, intent: UUID) -> UUID | None:
        """What the worker does when it hears that the money is set aside."""
        with session_scope(self.town.engine) as session:
            rental = by_card.start_paid(session, intent, self.town.now, POLICY).rental
            return None if rental is None else rental.id

    def carry_out(self, intent: UUID) -> PaymentIntent:
        """The worker tells the card company what was decided, and collects what came."""
        transactions = lambda: session_scope(self.town.engine)  # noqa: E731  # one line says it
        janitor.carry_out(transactions, intent, self.provider, self.town.now)
        with session_scope(self.town.engine) as session:
            collect_dues(session, self.rider, self.town.now)
            return session.get_one(PaymentIntent, intent)

    def rental(self, rental_id: UUID) -> Rental:
        with session_scope(self.town.engine) as session:
            return session.get_one(Rental, rental_id)


@pytest.fixture
def shop(clean_database: Database, now: datetime) -> Iterator[Card402]:
    with wide_engine(clean_database.url, MANY) as engine:
        town = Town(engine, now)
        town.station("A", 4, banks=2)
        with session_scope(engine) as session:
            rider = add_rider(session, now, 0)
        yield Card402(town, rider, SandboxProvider(engine, "whsec_cards", lambda: town.now))
        town.check_books()


def ride(shop: Card402, rental_id: UUID, minutes: int) -> Rental:
    """The bank leaves and comes back so much later."""
    town = shop.town
    assert town.send(rental_id)
    rental = shop.rental(rental_id)
    with session_scope(town.engine) as session:
        serial = session.get_one(PowerBank, rental.power_bank_id).serial
    town.apply(town.fact(rental.station_out_id, "A", PowerBankEjected(slot=rental.slot_out, serial=serial)))
    town.now += timedelta(minutes=minutes)
    town.apply(town.fact(rental.station_out_id, "A", PowerBankInserted(slot=4, serial=serial, charge_pct=20)))
    return shop.rental(rental_id)


def told(shop: Card402, name: str) -> list[dict[str, object]]:
    with session_scope(shop.town.engine) as session:
        return list(session.scalars(select(OutboxEvent.payload).where(OutboxEvent.name == name)))


def test_the_rental_begins_when_the_card_is_ready_and_the_card_pays_it(shop: Card402) -> None:
    intent = shop.ask()
    assert shop.start(intent) is None, "nobody paid yet"
    intent = shop.ask()
    assert shop.confirm(intent).state is IntentState.AUTHORIZED
    rental_id = shop.start(intent)
    assert rental_id is not None
    assert shop.start(intent) is None
    rental = shop.rental(rental_id)
    assert (rental.state, rental.hold_transfer_id, rental.intent_id) == (RentalState.EJECTING, None, intent)
    assert rental.request_id == "phone-1"
    done = ride(shop, rental_id, 60)
    assert (done.state, done.charged_minor, done.due_minor) == (RentalState.COMPLETED, 0, 200)
    paid = shop.carry_out(intent)
    assert (paid.state, paid.captured_minor) == (IntentState.SUCCEEDED, 200)
    done = shop.rental(rental_id)
    assert (done.charged_minor, done.due_minor, shop.town.balance(shop.rider)) == (200, 0, (0, 0))
    with session_scope(shop.town.engine) as session:
        told = [entry.summary for entry in trace(session, rental_id) if entry.kind == "payment"]
    assert told[:-1] == [
        "card for the rental: 5.00 EUR asked for",
        "card for the rental: 5.00 EUR sent to sandbox",
        "card for the rental: 2.00 EUR taken",
        "2.00 EUR owed",
        "debt paid",
    ]
    assert told[-1].startswith("invoice ")


def test_the_price_is_that_of_the_asking(shop: Card402) -> None:
    intent = shop.ask()
    with session_scope(shop.town.engine) as session:
        found = session.get_one(PaymentIntent, intent)
        assert found.order is not None
        found.order = {**found.order, "terms": {**found.order["terms"], "interval_minor": 10}}
    shop.confirm(intent)
    rental_id = shop.start(intent)
    assert rental_id is not None
    assert ride(shop, rental_id, 60).due_minor == 100 + 2 * 10


def test_a_bank_that_never_came_costs_the_card_nothing(shop: Card402) -> None:
    intent = shop.ask()
    shop.confirm(intent)
    rental_id = shop.start(intent)
    assert rental_id is not None
    shop.town.now += timedelta(minutes=5)
    with session_scope(shop.town.engine) as session:
        deadlines.sweep_commands(session, shop.town.now, POLICY)
    assert shop.rental(rental_id).state is RentalState.EJECT_FAILED
    assert shop.carry_out(intent).state is IntentState.CANCELLED


def test_no_bank_is_left_when_the_card_is_ready(shop: Card402) -> None:
    intent = shop.ask()
    shop.confirm(intent)
    with session_scope(shop.town.engine) as session:
        session.execute(update(PowerBank).values(charge_pct=1))
    assert shop.start(intent) is None
    assert [each["code"] for each in told(shop, RentalNotStarted.name)] == [NoBankAvailable.code]
    assert shop.carry_out(intent).state is IntentState.CANCELLED
    assert shop.start(intent) is None


def test_one_payment_starts_one_rental_however_often_it_is_told(shop: Card402) -> None:
    intent = shop.ask()
    shop.confirm(intent)
    begun = [each for each in together(MANY, lambda _: shop.start(intent)) if isinstance(each, UUID)]
    assert len(begun) == 1
    assert told(shop, RentalNotStarted.name) == []
    with session_scope(shop.town.engine) as session:
        assert list(session.scalars(select(Rental.id))) == begun
        assert session.get_one(PaymentIntent, intent).settle_minor is None, "the money was not given back"
