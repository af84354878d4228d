"""What a rental left unpaid: collected once, from wallet or card, whatever crashes, repeats or comes at once."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Protocol
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from firmware_protocol.messages import PowerBankEjected, PowerBankInserted
from fleet.common.models import OutboxEvent
from fleet.config import service as config
from fleet.db import session_scope
from fleet.payments import janitor, ledger, methods, wallets
from fleet.payments.approval_models import AdjustmentState
from fleet.payments.debts.models import Debt, DebtCollection, DebtState
from fleet.payments.debts.queries import debt_by_id
from fleet.payments.debts.service import POLICY as RETRIES
from fleet.payments.errors import (
    DebtBeingCollected,
    DebtNotFound,
    DebtNotOpen,
    MethodLimitReached,
    SecondPersonNeeded,
    WriteOffPending,
)
from fleet.payments.intent_models import IntentState, PaymentIntent, PaymentMethod
from fleet.payments.models import AccountKind, LedgerTransfer
from fleet.payments.outgoing import money_out, refunds
from fleet.payments.outgoing.models import MoneyOut
from fleet.payments.providers.sandbox import Card, SandboxProvider
from fleet.payments.providers.sandbox.models import SandboxCharge
from fleet.rentals.closing import charges, dues
from fleet.rentals.errors import MoneyOwed
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.starts import checks
from fleet.rentals.starts.queries import standing_of
from fleet.rentals.underway import deadlines
from fleet.stations.models import PowerBank
from tests.databases import Database
from tests.factories import add_rider, give_money
from tests.fleet.parallel import together, wide_engine
from tests.fleet.payments.saving import save_card
from tests.fleet.rentals.test_races import Town
from tests.fleet.rentals.world import DAY, HOUR, World

MANY = 50
#: Of the rental: 6.00 for five hours, of which the wallet had 5.00.
OWED = 100


class Clock(Protocol):
    now: datetime


@dataclass
class Paper:
    """A rider who owes 1.00 for a rental."""

    transactions: Callable[[], AbstractContextManager[Session]]
    clock: Clock
    rider: UUID
    rental: UUID

    @property
    def now(self) -> datetime:
        return self.clock.now

    def give(self, minor: int) -> None:
        with self.transactions() as session:
            give_money(session, self.rider, self.now, minor)

    def collect(self) -> int:
        """What a worker does when money has come in."""
        with self.transactions() as session:
            return dues.collect_dues(session, self.rider, self.now)

    def debt(self) -> Debt:
        with self.transactions() as session:
            return session.scalars(select(Debt).where(Debt.rental_id == self.rental)).one()

    def owed(self) -> tuple[DebtState, int, int]:
        """State, what is open, and what the rental says is."""
        with self.transactions() as session:
            rental = session.get_one(Rental, self.rental)
        debt = self.debt()
        return debt.state, debt.open_minor, rental.due_minor

    def receivable(self) -> int:
        with self.transactions() as session:
            account = ledger.account_for(session, None, AccountKind.RECEIVABLE, "EUR", self.now)
            return ledger.totals(session, account.id).balance_minor

    def told(self, name: str) -> list[dict[str, object]]:
        with self.transactions() as session:
            return list(session.scalars(select(OutboxEvent.payload).where(OutboxEvent.name == name)))

    def cheaper(self, minor: int, key: str = "k") -> None:
        with self.transactions() as session:
            rental = lock_rentals(session, [self.rental])[self.rental]
            charges.reduce_price(session, rental, minor, text="a mistake", key=key, now=self.now)

    def write_off(self, actor: UUID, limit: int = 1000) -> UUID:
        with self.transactions() as session:
            return dues.write_off(
                session, self.debt().id, reason="not to be had", actor_id=actor, limit_minor=limit, now=self.now
            ).id  # fmt: skip

    def operator(self) -> UUID:
        with self.transactions() as session:
            return add_rider(session, self.now, 0)

    def balance(self) -> tuple[int, int]:
        with self.transactions() as session:
            found = wallets.balance(session, wallets.wallet_of(session, self.rider, "EUR", self.now))
            return found.available_minor, found.held_minor


@dataclass
class Debtor(Paper):
    """The same with commits, and the card company."""

    provider: SandboxProvider

    def save(self, card: str = Card.SUCCEEDS) -> UUID:
        return save_card(self.transactions, self.rider, card, self.provider, self.now).id

    def sweep(self, **later: float) -> int:
        self.clock.now += timedelta(**later)
        return dues.collect_by_card(self.transactions, self.provider, self.now)

    def pay(self, *, method: UUID | None = None, card: str | None = None) -> PaymentIntent:
        made = self.pay_what_is_left(method=method, card=card)
        assert made is not None
        return made

    def pay_what_is_left(self, *, method: UUID | None = None, card: str | None = None) -> PaymentIntent | None:
        return dues.pay_by_card(
            self.transactions, user_id=self.rider, debt_id=self.debt().id, provider=self.provider, now=self.now,
            method_id=method, card=card,
        )  # fmt: skip

    def tries(self) -> list[DebtCollection]:
        with self.transactions() as session:
            return list(session.scalars(select(DebtCollection).order_by(DebtCollection.number)))

    def charges(self) -> list[int]:
        """What cards were charged."""
        with self.transactions() as session:
            query = select(SandboxCharge.amount_minor).where(SandboxCharge.status == "succeeded")
            return list(session.scalars(query))


@pytest.fixture
def paper(world: World) -> Iterator[Paper]:
    """In a transaction that is rolled back."""
    rider = add_rider(world.session, world.now, 500)
    rental = world.rent(rider=rider)
    world.later(5 * HOUR)
    world.inserted("B", 1, "A1")

    @contextmanager
    def transactions() -> Iterator[Session]:
        with world.session.begin_nested():
            yield world.session
            world.session.flush()
            world.session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
            world.session.execute(text("SET CONSTRAINTS ALL DEFERRED"))

    found = Paper(transactions, world, rider, rental.id)
    assert found.owed() == (DebtState.OPEN, OWED, OWED)
    yield found
    world.check_everything()


@pytest.fixture
def debtor(clean_database: Database, now: datetime) -> Iterator[Debtor]:
    with wide_engine(clean_database.url, MANY) as engine:
        town = Town(engine, now)
        town.station("A", 4, banks=1)
        with session_scope(engine) as session:
            rider = add_rider(session, now, 500)
        rental = _ride(town, rider, hours=5)
        provider = SandboxProvider(engine, "whsec_dues", lambda: town.now)
        yield Debtor(lambda: session_scope(engine), town, rider, rental, provider)
        town.check_books()


def _ride(town: Town, rider: UUID, **lasts: float) -> UUID:
    rental_id = town.start(rider, "A")
    assert town.send(rental_id)
    with session_scope(town.engine) as session:
        rental = session.get_one(Rental, rental_id)
        serial = session.get_one(PowerBank, rental.power_bank_id).serial
    town.apply(town.fact(rental.station_out_id, "A", PowerBankEjected(slot=rental.slot_out, serial=serial)))
    town.now += timedelta(**lasts)
    town.apply(town.fact(rental.station_out_id, "A", PowerBankInserted(slot=4, serial=serial, charge_pct=20)))
    return rental_id


def test_what_is_owed_is_receivable_and_said_at_once(paper: Paper) -> None:
    assert paper.receivable() == OWED
    (event,) = paper.told("payments.DebtIncurred.v1")
    assert (event["open_minor"], event["rental_id"]) == (OWED, str(paper.rental))
    with paper.transactions() as session, pytest.raises(MoneyOwed) as refused:
        checks.check_debts(standing_of(session, paper.rider))
    assert refused.value.attributes == {"due_minor": OWED, "currency": "EUR"}


def test_money_that_comes_in_pays_it_a_part_first(paper: Paper) -> None:
    paper.give(30)
    assert (paper.collect(), paper.collect()) == (30, 0)
    assert paper.owed() == (DebtState.OPEN, 70, 70)
    paper.give(90)
    assert paper.collect() == 70
    assert (paper.owed(), paper.balance(), paper.receivable()) == (
        (DebtState.PAID, 0, 0), (20, 0), 0,
    )  # fmt: skip
    assert [event["state"] for event in paper.told("payments.DebtClosed.v1")] == ["paid"]


def test_the_default_card_pays_it_when_the_schedule_says_so(debtor: Debtor) -> None:
    debtor.save()
    assert debtor.sweep(minutes=9) == 0
    assert debtor.sweep(minutes=1) == 1
    assert (debtor.owed(), debtor.charges(), debtor.balance()) == (
        (DebtState.PAID, 0, 0), [OWED], (0, 0),
    )  # fmt: skip
    assert debtor.sweep(days=30) == 0
    with debtor.transactions() as session:
        rental = session.get_one(Rental, debtor.rental)
        assert (rental.charged_minor, rental.price_minor) == (600, 600)


def test_the_wallet_comes_before_the_card(debtor: Debtor) -> None:
    debtor.save()
    debtor.give(60)
    assert debtor.sweep(minutes=10) == 1
    assert (debtor.charges(), debtor.owed()) == ([40], (DebtState.PAID, 0, 0))


def test_a_card_that_declines_is_tried_again_and_at_last_no_more(debtor: Debtor) -> None:
    debtor.save()
    with debtor.transactions() as session:
        config.put(session, RETRIES.name, {"after_minutes": [10, 60]}, debtor.now)
        # Saved cards do what their number does: this one goes bad later.
        session.execute(update(PaymentMethod).values(token="pm_gone"))
    assert debtor.sweep(minutes=10) == 1
    assert debtor.sweep(minutes=59) == 0
    assert debtor.sweep(minutes=1) == 1
    assert debtor.sweep(days=30) == 0
    assert [tried.outcome for tried in debtor.tries()] == ["unknown_card", "unknown_card"]
    assert (debtor.owed(), debtor.charges()) == ((DebtState.OPEN, OWED, OWED), [])
    failures = debtor.told("payments.DebtCollectionFailed.v1")
    assert [event["try_at"] is None for event in failures] == [False, True]


def test_a_request_that_died_before_it_was_collected_charges_no_card_a_second_time(debtor: Debtor) -> None:
    """The card was charged, and its money is in the wallet: that is all the second request finds."""
    begun = count()

    @contextmanager
    def dying() -> Iterator[Session]:
        if next(begun) == 2:  # after the order, and the card's answer
            raise ConnectionError("the process is gone")
        with debtor.transactions() as session:
            yield session

    with pytest.raises(ConnectionError):
        dues.pay_by_card(
            dying, user_id=debtor.rider, debt_id=debtor.debt().id, provider=debtor.provider, now=debtor.now,
            card=Card.SUCCEEDS,
        )  # fmt: skip
    assert (debtor.owed(), debtor.balance()) == ((DebtState.OPEN, OWED, OWED), (OWED, 0))
    assert debtor.pay_what_is_left(card=Card.SUCCEEDS) is None
    assert (debtor.owed(), debtor.charges(), debtor.balance()) == ((DebtState.PAID, 0, 0), [OWED], (0, 0))


def test_a_card_pays_what_the_wallet_does_not(debtor: Debtor) -> None:
    debtor.give(30)
    assert debtor.pay(card=Card.SUCCEEDS).amount_minor == OWED - 30
    assert (debtor.owed(), debtor.charges(), debtor.balance()) == ((DebtState.PAID, 0, 0), [OWED - 30], (0, 0))


def test_without_a_card_it_waits_for_one(debtor: Debtor) -> None:
    assert debtor.sweep(minutes=10) == 0
    assert debtor.debt().tries == 0
    debtor.save()
    assert debtor.sweep(days=1) == 1
    assert debtor.owed() == (DebtState.PAID, 0, 0)


def test_a_card_pays_as_much_as_its_limits_let_it(debtor: Debtor) -> None:
    debtor.save()
    with debtor.transactions() as session:
        config.put(session, methods.LIMITS.name, {"card": {"EUR": {"max_minor": 60}}}, debtor.now)
    with pytest.raises(MethodLimitReached):
        debtor.pay(method=debtor.save())
    debtor.sweep(minutes=10)
    assert (debtor.owed(), debtor.charges()) == ((DebtState.OPEN, 40, 40), [60])
    debtor.sweep(days=1)
    assert (debtor.owed(), debtor.charges()) == ((DebtState.PAID, 0, 0), [60, 40])


def test_a_lost_answer_is_the_janitors_and_no_other_try_begins(debtor: Debtor) -> None:
    debtor.save(Card.TIMEOUT_CHARGED)
    assert debtor.sweep(minutes=10) == 1
    assert debtor.owed() == (DebtState.OPEN, OWED, OWED)
    for _ in range(3):
        assert debtor.sweep(seconds=1) == 0
    with pytest.raises(DebtBeingCollected):
        debtor.pay(card=Card.SUCCEEDS)
    debtor.clock.now += timedelta(seconds=15)
    assert janitor.settle_unknown(debtor.transactions, debtor.provider, debtor.now) == 1
    assert debtor.collect() == OWED
    assert (debtor.owed(), debtor.charges(), len(debtor.tries())) == ((DebtState.PAID, 0, 0), [OWED], 1)


def _die(*_: object) -> None:
    raise SystemExit


def test_a_death_before_the_provider_was_asked_costs_one_try(debtor: Debtor, monkeypatch: pytest.MonkeyPatch) -> None:
    debtor.save()
    debtor.clock.now += timedelta(minutes=10)

    with monkeypatch.context() as dying:
        dying.setattr(SandboxProvider, "authorize", _die)
        with pytest.raises(SystemExit):
            dues.collect_by_card(debtor.transactions, debtor.provider, debtor.now)
    assert debtor.sweep(minutes=2) == 0
    assert janitor.settle_unknown(debtor.transactions, debtor.provider, debtor.now) == 1
    assert [tried.outcome for tried in debtor.tries()] == ["cancelled"]
    assert debtor.sweep(days=1) == 1
    assert (debtor.owed(), debtor.charges()) == ((DebtState.PAID, 0, 0), [OWED])


def test_fifty_sweeps_at_once_charge_one_card_once(debtor: Debtor) -> None:
    debtor.save()
    debtor.clock.now += timedelta(minutes=10)
    results = together(MANY, lambda _: dues.collect_by_card(debtor.transactions, debtor.provider, debtor.now))
    assert sum(1 for each in results if each == 1) == 1, results
    assert sum(1 for each in results if each == 0) == MANY - 1, results
    assert (debtor.owed(), debtor.charges(), len(debtor.tries())) == ((DebtState.PAID, 0, 0), [OWED], 1)


def test_fifty_payments_of_a_rider_and_top_ups_at_once_pay_it_once(debtor: Debtor) -> None:
    debtor.give(OWED)

    def act(number: int) -> int:
        if number % 2:
            debtor.pay_what_is_left(card=Card.SUCCEEDS)
            return 0
        return debtor.collect()

    results = together(MANY, act)
    refused = [each for each in results if isinstance(each, Exception)]
    assert all(isinstance(each, DebtNotOpen | DebtBeingCollected) for each in refused), refused
    debtor.collect()
    assert debtor.owed() == (DebtState.PAID, 0, 0)
    # The card may have been quicker than the wallet: then what the wallet had stays in it.
    assert debtor.balance() == (sum(debtor.charges()), 0)
    assert len(debtor.charges()) <= 1
    with debtor.transactions() as session:
        paid = select(func.sum(LedgerTransfer.posted_minor)).where(
            LedgerTransfer.rental_id == debtor.rental, LedgerTransfer.idempotency_key.like("debt:%:paid:%")
        )
        assert session.scalar(paid) == OWED


def test_what_became_cheaper_is_owed_no_more(paper: Paper) -> None:
    paper.cheaper(40)
    assert (paper.owed(), paper.receivable()) == ((DebtState.OPEN, 60, 60), 60)
    paper.cheaper(100)
    assert paper.owed() == (DebtState.CANCELLED, 0, 0)
    assert paper.balance() == (40, 0)


def test_money_of_a_try_that_came_too_late_stays_in_the_wallet(debtor: Debtor) -> None:
    """The card pays while an operator takes the price back: nothing is lost, nothing is kept."""
    debtor.save(Card.TIMEOUT_CHARGED)
    debtor.sweep(minutes=10)
    debtor.cheaper(OWED)
    debtor.clock.now += timedelta(seconds=15)
    janitor.settle_unknown(debtor.transactions, debtor.provider, debtor.now)
    assert (debtor.collect(), debtor.owed()) == (0, (DebtState.CANCELLED, 0, 0))
    assert debtor.balance() == (OWED, 0)


def test_what_a_card_paid_of_a_debt_goes_back_to_that_card(debtor: Debtor) -> None:
    debtor.pay(card=Card.SUCCEEDS)
    boss = debtor.operator()
    with debtor.transactions() as session:
        refund = refunds.request_for_rental(
            session, rental_id=debtor.rental, user_id=debtor.rider, requested_by=debtor.rider, amount_minor=150,
            reason="jam", now=debtor.now,
        ).id  # fmt: skip
        refunds.approve(session, refund, approver_id=boss, now=debtor.now)
        out = session.scalars(select(MoneyOut)).one()
        assert out.amount_minor == OWED
    money_out.send(debtor.transactions, out.id, debtor.provider, debtor.now)
    assert debtor.balance() == (50, 0)


def test_a_rider_pays_their_own_debt_and_once(debtor: Debtor) -> None:
    with pytest.raises(DebtNotFound), debtor.transactions() as session:
        debt_by_id(session, debtor.debt().id, debtor.operator())
    assert debtor.pay(card=Card.SUCCEEDS).state is IntentState.SUCCEEDED
    with pytest.raises(DebtNotOpen):
        debtor.pay(card=Card.SUCCEEDS)
    assert debtor.charges() == [OWED]


def test_a_small_debt_is_given_up_by_one_operator(paper: Paper) -> None:
    paper.write_off(paper.operator())
    assert (paper.owed(), paper.receivable()) == ((DebtState.WRITTEN_OFF, 0, 0), 0)
    paper.give(500)
    assert paper.collect() == 0
    with paper.transactions() as session:
        rental = session.get_one(Rental, paper.rental)
        assert (rental.price_minor, rental.charged_minor, rental.written_off_minor) == (600, 500, OWED)
    paper.cheaper(150)  # of what was given up first, then of what was paid
    assert paper.balance() == (550, 0)
    assert paper.owed() == (DebtState.CANCELLED, 0, 0)


def test_a_large_one_by_two(paper: Paper) -> None:
    first, second = paper.operator(), paper.operator()
    row = paper.write_off(first, limit=OWED - 1)
    assert paper.owed() == (DebtState.OPEN, OWED, OWED)
    with pytest.raises(WriteOffPending):
        paper.write_off(second)
    with pytest.raises(SecondPersonNeeded), paper.transactions() as session:
        dues.approve_write_off(session, row, actor_id=first, note=None, now=paper.now)
    paper.give(30)
    paper.collect()
    for _ in range(2):
        with paper.transactions() as session:
            done = dues.approve_write_off(session, row, actor_id=second, note="agreed", now=paper.now)
            assert done.state is AdjustmentState.APPLIED
    assert paper.owed() == (DebtState.WRITTEN_OFF, 0, 0)
    assert paper.debt().written_off_minor == 70
    with pytest.raises(IntegrityError, match="never changed"), paper.transactions() as session:
        session.execute(text("UPDATE debt_write_off SET reason = 'another'"))


def test_fifty_approvals_give_it_up_once(debtor: Debtor) -> None:
    row = debtor.write_off(debtor.operator(), limit=0)
    second = debtor.operator()

    def agree(_: int) -> AdjustmentState:
        with debtor.transactions() as session:
            return dues.approve_write_off(session, row, actor_id=second, note=None, now=debtor.now).state

    assert set(together(MANY, agree)) == {AdjustmentState.APPLIED}
    assert (debtor.debt().written_off_minor, debtor.receivable()) == (OWED, 0)


def test_the_database_keeps_debt_and_rental_the_same(paper: Paper) -> None:
    for change in (
        "UPDATE rental SET due_minor = due_minor - 1, charged_minor = charged_minor + 1 WHERE due_minor > 0",
        "UPDATE debt SET paid_minor = paid_minor + 1, open_minor = open_minor - 1",
        "UPDATE debt SET open_minor = open_minor - 1",
        "UPDATE debt SET state = 'paid', closed_at = now(), try_at = NULL",
    ):
        with pytest.raises(IntegrityError), paper.transactions() as session:
            session.execute(text(change))


def test_a_bank_that_comes_back_after_its_buyout_is_owed_for_no_more(world: World) -> None:
    """5.00 were there of the 30.00 that it cost as bought."""
    rider = add_rider(world.session, world.now, 500)
    rental = world.rent(rider=rider)
    world.later(5 * DAY)
    deadlines.sweep_rentals(world.session, world.now, world.policy)
    debt = world.session.scalars(select(Debt)).one()
    assert (rental.state, rental.due_minor, debt.open_minor) == (RentalState.BOUGHT_OUT, 2500, 2500)
    give_money(world.session, rider, world.now, 100)
    dues.collect_dues(world.session, rider, world.now)
    world.inserted("B", 1, "A1")
    assert rental.state is RentalState.COMPLETED
    assert rental.price_minor == rental.charged_minor + rental.due_minor
    assert (debt.open_minor, debt.paid_minor) == (rental.due_minor, 100)
    world.check_everything()
