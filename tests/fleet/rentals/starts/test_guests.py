"""Riders without an account: a card stands for one rental at a time, pays all of it, and gets back what is too much."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from fleet.common.errors import FleetError
from fleet.common.models import OutboxEvent
from fleet.db import session_scope
from fleet.payments import intents, kept_cards, methods
from fleet.payments.debts.models import Debt, DebtState
from fleet.payments.errors import PaymentMethodInUse, PaymentMethodNotFound, PaymentMethodRefused
from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.payments.models import Wallet
from fleet.payments.outgoing import money_out
from fleet.payments.outgoing.models import MoneyOut
from fleet.payments.providers.base import SavedMethod
from fleet.payments.providers.sandbox import Card, SandboxProvider
from fleet.payments.providers.sandbox.models import SandboxCharge
from fleet.rentals.closing import charges, dues, guests
from fleet.rentals.errors import MoneyOwed, TooManyOpenRentals
from fleet.rentals.events import RentalNotStarted
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import PayMode, Rental, RentalState
from fleet.rentals.starts import by_card, checks, quotes, reservations
from fleet.rentals.starts import guests as cards
from fleet.rentals.starts import service as starts
from fleet.rentals.starts.payment_plans import PaymentPlan, plan_of
from fleet.stations.models import Station
from fleet.users.errors import AccountNeeded, GuestsNotAllowed
from fleet.users.models import User
from tests.databases import Database
from tests.factories import add_guest, give_money
from tests.fleet.parallel import together, wide_engine
from tests.fleet.rentals.starts.test_by_card import Card402, ride
from tests.fleet.rentals.test_races import Town
from tests.fleet.rentals.world import POLICY


@dataclass
class Guest(Card402):
    """The same for somebody whom nobody knows."""

    def transactions(self) -> AbstractContextManager[Session]:
        return session_scope(self.town.engine)

    def confirm(self, intent: UUID, card: str = Card.SUCCEEDS) -> PaymentIntent:
        saved = kept_cards.at_provider(
            self.transactions, intent_id=intent, user_id=self.rider, card=card, provider=self.provider
        )
        return self.pay(intent, None, saved)

    def pay(self, intent: UUID, method: UUID | None, saved: SavedMethod | None = None) -> PaymentIntent:
        return intents.confirm(
            self.transactions, intent_id=intent, user_id=self.rider, method_id=method, card=Card.SUCCEEDS,
            saved=saved, provider=self.provider, now=self.town.now,
        )  # fmt: skip

    def begin(self, card: str = Card.SUCCEEDS) -> UUID:
        intent = self.ask()
        assert self.confirm(intent, card).state is IntentState.AUTHORIZED
        rental_id = self.start(intent)
        assert rental_id is not None
        return rental_id

    def ridden(self, minutes: int) -> UUID:
        """A rental that is over and paid for by the card."""
        rental_id = self.begin()
        ride(self, rental_id, minutes)
        self.captured(rental_id)
        return rental_id

    def end(self, rental_id: UUID, minutes: int) -> Rental:
        """The bank is back, the card has paid, and the next rental can begin."""
        done = ride(self, rental_id, minutes)
        self.captured(rental_id)
        self.town.now += timedelta(minutes=15)
        with self.transactions() as session:
            session.execute(update(Station).values(last_heard_at=self.town.now))
        return done

    def cards(self) -> list[UUID]:
        with self.transactions() as session:
            return [each.id for each in methods.methods_of(session, self.rider)]

    def captured(self, rental_id: UUID) -> None:
        """The workers, when the rental is over."""
        intent = self.rental(rental_id).intent_id
        assert intent is not None
        self.carry_out(intent)
        self.give_back()

    def give_back(self) -> int:
        with self.transactions() as session:
            return guests.give_back(session, self.rider, self.town.now)

    def cheaper(self, rental_id: UUID, minor: int) -> None:
        with self.transactions() as session:
            rental = lock_rentals(session, [rental_id])[rental_id]
            charges.reduce_price(session, rental, minor, text="a mistake", key="k", now=self.town.now)

    def sent_back(self) -> list[int]:
        """What cards have got back by the card company's books."""
        money_out.sweep(self.transactions, self.provider, self.town.now + timedelta(minutes=5))
        with self.transactions() as session:
            query = select(SandboxCharge.refunded_minor).where(SandboxCharge.refunded_minor > 0)
            return list(session.scalars(query.order_by(SandboxCharge.reference)))

    def refused(self, **changed: object) -> str | None:
        """What a quote for a start by card says."""
        with self.transactions() as session:
            return quotes.quote(
                session, user_id=self.rider, station_code="A", now=self.town.now, policy=replace(POLICY, **changed),  # type: ignore[arg-type]  # by name
                plan=by_card.BY_CARD,
            ).reason  # fmt: skip


@pytest.fixture
def guest(clean_database: Database, now: datetime) -> Iterator[Guest]:
    with wide_engine(clean_database.url, 20) as engine:
        town = Town(engine, now)
        town.station("A", 4, banks=2)
        with session_scope(engine) as session:
            rider = add_guest(session, now)
        yield Guest(town, rider, SandboxProvider(engine, "whsec_guests", lambda: town.now))
        town.check_books()


def test_the_card_begins_the_rental_is_kept_and_pays_it(guest: Guest) -> None:
    assert guest.refused() is None
    rental_id = guest.begin()
    (card,) = guest.cards()
    rental = guest.rental(rental_id)
    with guest.transactions() as session:
        assert session.get_one(PaymentIntent, rental.intent_id).method_id == card
    assert ride(guest, rental_id, 60).due_minor == 200
    guest.captured(rental_id)
    done = guest.rental(rental_id)
    assert (done.state, done.charged_minor, done.due_minor) == (RentalState.COMPLETED, 200, 0)
    assert guest.town.balance(guest.rider) == (0, 0)


@pytest.mark.parametrize("plan", [PaymentPlan(), plan_of(PayMode.POINTS), plan_of(PayMode.SPLIT)])
def test_nothing_but_a_card_begins_it(guest: Guest, plan: PaymentPlan) -> None:
    with guest.transactions() as session:
        give_money(session, guest.rider, guest.town.now, 5000)
    with pytest.raises(AccountNeeded), guest.transactions() as session:
        starts.start(
            session, user_id=guest.rider, station_code="A", slot=None, now=guest.town.now, policy=POLICY, plan=plan
        )
    with guest.transactions() as session:
        quoted = quotes.quote(
            session, user_id=guest.rider, station_code="A", now=guest.town.now, policy=POLICY, plan=plan
        )
    assert quoted.reason == AccountNeeded.code


def test_no_bank_is_kept_for_a_guest(guest: Guest) -> None:
    with pytest.raises(AccountNeeded), guest.transactions() as session:
        reservations.reserve(
            session, user_id=guest.rider, station_code="A", slot=None, now=guest.town.now, policy=POLICY
        )


def test_a_look_at_the_price_opens_no_wallet(guest: Guest) -> None:
    guest.refused()
    with guest.transactions() as session:
        assert session.scalars(select(Wallet).where(Wallet.user_id == guest.rider)).all() == []


def test_one_rental_at_a_time_whatever_others_may(guest: Guest) -> None:
    guest.begin()
    many = replace(POLICY, max_open_rentals=3)
    with pytest.raises(TooManyOpenRentals), guest.transactions() as session:
        checks.admit(session, user_id=guest.rider, station_code="A", policy=many, now=guest.town.now, by_card=True)
    assert guest.refused(max_open_rentals=3) == TooManyOpenRentals.code


def test_where_guests_are_not_wanted_any_more_the_money_goes_back(guest: Guest) -> None:
    intent = guest.ask()
    guest.confirm(intent)
    assert guest.refused(guests_allowed=False) == GuestsNotAllowed.code
    with guest.transactions() as session:
        assert by_card.start_paid(session, intent, guest.town.now, replace(POLICY, guests_allowed=False)).rental is None
    assert guest.carry_out(intent).state is IntentState.CANCELLED


def test_a_card_that_is_not_kept_begins_nothing(guest: Guest) -> None:
    """Whoever confirms it, by whatever way."""
    intent = guest.ask()
    assert guest.pay(intent, None).state is IntentState.AUTHORIZED
    assert guest.start(intent) is None
    assert not_started(guest) == [PaymentMethodNotFound.code]
    assert guest.carry_out(intent).state is IntentState.CANCELLED


def not_started(guest: Guest) -> list[str]:
    with guest.transactions() as session:
        told = session.scalars(select(OutboxEvent.payload).where(OutboxEvent.name == RentalNotStarted.name))
        return [each["code"] for each in told]


def test_a_card_that_is_refused_is_not_kept(guest: Guest) -> None:
    intent = guest.ask()
    with pytest.raises(PaymentMethodRefused):
        guest.confirm(intent, Card.DECLINED)
    assert guest.cards() == []
    assert guest.confirm(intent).state is IntentState.AUTHORIZED, "another card pays it"


def test_a_payment_that_was_confirmed_keeps_no_second_card(guest: Guest) -> None:
    intent = guest.ask()
    guest.confirm(intent)
    assert guest.confirm(intent, Card.SLOW).state is IntentState.AUTHORIZED
    assert len(guest.cards()) == 1


def test_the_card_stays_while_the_guest_rents_or_owes(guest: Guest) -> None:
    intent = guest.ask()
    guest.confirm(intent)
    (card,) = guest.cards()
    rental_id = guest.start(intent)
    assert rental_id is not None
    with pytest.raises(PaymentMethodInUse):
        forget(guest, card)
    ride(guest, rental_id, 60 * 24)
    with pytest.raises(MoneyOwed):
        forget(guest, card)
    guest.captured(rental_id)
    assert guest.rental(rental_id).due_minor > 0, "more than was set aside"
    with pytest.raises(MoneyOwed):
        forget(guest, card)
    assert pay_debts(guest) == 1
    forget(guest, card)
    assert guest.cards() == []


def forget(guest: Guest, card: UUID) -> None:
    with guest.transactions() as session:
        cards.forget_card(session, session.get_one(User, guest.rider), card, guest.town.now)


def pay_debts(guest: Guest) -> int:
    guest.town.now += timedelta(minutes=10)
    return dues.collect_by_card(guest.transactions, guest.provider, guest.town.now)


def test_a_card_that_is_gone_when_its_money_is_there_begins_nothing(guest: Guest) -> None:
    intent = guest.ask()
    guest.confirm(intent)
    forget(guest, guest.cards()[0])
    assert guest.start(intent) is None
    assert not_started(guest) == [PaymentMethodNotFound.code]
    assert guest.carry_out(intent).state is IntentState.CANCELLED


def test_a_start_and_the_cards_end_at_once_leave_no_rental_without_a_card(guest: Guest) -> None:
    for _ in range(5):
        intent = guest.ask()
        card = guest.confirm(intent).method_id
        assert card is not None

        def race(number: int, intent: UUID = intent, card: UUID = card) -> object:
            if number % 2:
                return guest.start(intent)
            forget(guest, card)
            return None

        assert all(not isinstance(each, Exception) or isinstance(each, FleetError) for each in together(6, race))
        with guest.transactions() as session:
            begun = session.scalar(select(Rental.id).where(Rental.intent_id == intent))
        assert (begun is not None) == (card in guest.cards())
        if begun is not None:
            guest.end(begun, 10)


def test_what_was_not_set_aside_is_taken_from_the_card_of_the_rental(guest: Guest) -> None:
    """Not from the first card that the guest ever gave."""
    guest.end(guest.begin(), 10)
    second = guest.begin(Card.ANSWERS_TWICE)
    price = guest.end(second, 60 * 24).price_minor
    assert price is not None
    assert guest.rental(second).due_minor == price - 500
    assert pay_debts(guest) == 1
    with guest.transactions() as session:
        debt = session.scalars(select(Debt).where(Debt.rental_id == second)).one()
        charged = session.scalars(select(SandboxCharge.card).where(SandboxCharge.amount_minor == price - 500)).all()
        assert (debt.state, charged) == (DebtState.PAID, [Card.ANSWERS_TWICE[-4:]])


def test_what_a_rental_cost_too_much_goes_back_to_the_card(guest: Guest) -> None:
    rental_id = guest.ridden(60)
    guest.cheaper(rental_id, 50)
    assert guest.town.balance(guest.rider) == (50, 0)
    assert [guest.give_back() for _ in range(3)] == [50, 0, 0]
    assert guest.sent_back() == [50]
    assert guest.town.balance(guest.rider) == (0, 0)
    with guest.transactions() as session:
        (out,) = session.scalars(select(MoneyOut).where(MoneyOut.user_id == guest.rider))
        assert out.amount_minor == 50


def test_what_the_card_paid_for_nothing_any_more_goes_back_too(guest: Guest) -> None:
    """It became cheaper while the card was being charged."""
    rental_id = guest.begin()
    ride(guest, rental_id, 60)
    guest.cheaper(rental_id, 150)
    guest.captured(rental_id)
    assert guest.town.balance(guest.rider) == (0, 150), "on its way"
    assert guest.sent_back() == [150]
    assert guest.town.balance(guest.rider) == (0, 0)
    assert guest.rental(rental_id).charged_minor == 50


def test_at_once_it_goes_back_once(guest: Guest) -> None:
    rental_id = guest.ridden(60)
    guest.cheaper(rental_id, 120)
    sent = together(12, lambda _: guest.give_back())
    assert sum(each for each in sent if isinstance(each, int)) == 120, sent
    assert guest.sent_back() == [120]


def test_a_debt_comes_before_the_card(guest: Guest) -> None:
    """Money that comes in while something is owed stays for that."""
    rental_id = guest.ridden(60 * 24)
    owed = guest.rental(rental_id).due_minor
    with guest.transactions() as session:
        give_money(session, guest.rider, guest.town.now, owed - 1)
    assert guest.give_back() == 0
    assert guest.rental(rental_id).due_minor == 1


def test_a_riders_money_stays_in_the_wallet(guest: Guest) -> None:
    """Once there is an account, it can be used."""
    rental_id = guest.ridden(60)
    guest.cheaper(rental_id, 50)
    with guest.transactions() as session:
        user = session.get_one(User, guest.rider)
        user.guest, user.email = False, "known@example.com"
    assert guest.give_back() == 0
    assert guest.town.balance(guest.rider) == (50, 0)
