"""Top-ups against the sandbox, which keeps its own books and its own clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput, NotFound
from fleet.common.models import OutboxEvent
from fleet.common.money import Money
from fleet.config import service as config
from fleet.db import new_id, session_scope
from fleet.payments import intents, janitor, proof, topups
from fleet.payments.errors import ChargeMismatch, IntentNotOpen
from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.payments.providers.base import (
    ChargeOrder,
    ChargeStatus,
    ObjectKind,
    OutcomeUnknown,
    PaymentProvider,
    ProviderCharge,
    ProviderRefused,
)
from fleet.payments.providers.sandbox import Card, SandboxProvider
from fleet.payments.providers.sandbox.models import SandboxCharge
from tests.fleet.parallel import together
from tests.fleet.payments.conftest import NOW, THREADS, available

SECRET = "whsec"


@dataclass
class Clock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Shop:
    """Our side and the provider's, on one database."""

    engine: Engine
    rider: UUID
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.provider: PaymentProvider = SandboxProvider(self.engine, SECRET, self.clock)

    @contextmanager
    def transactions(self) -> Iterator[Session]:
        with session_scope(self.engine) as session:
            yield session

    def intent(self, minor: int = 2000) -> UUID:
        with self.transactions() as session:
            return topups.create_intent(
                session, user_id=self.rider, money=Money(minor, "EUR"), now=self.clock.now, provider=self.provider
            ).id

    def confirm(self, intent_id: UUID, card: str) -> PaymentIntent:
        return intents.confirm(
            self.transactions, intent_id=intent_id, user_id=self.rider, card=card, provider=self.provider,
            now=self.clock.now,
        )  # fmt: skip

    def pay(self, card: str) -> PaymentIntent:
        return self.confirm(self.intent(), card)

    def sweep_after(self, **waited: float) -> int:
        self.clock.now += timedelta(**waited)
        return janitor.settle_unknown(self.transactions, self.provider, self.clock.now)

    def state(self, intent_id: UUID) -> IntentState:
        with self.transactions() as session:
            return session.get_one(PaymentIntent, intent_id).state

    def credited(self) -> int:
        """What top-ups brought into the wallet, which began with 10.00."""
        with self.transactions() as session:
            return available(session, self.rider) - 1000

    def charges(self) -> int:
        with self.transactions() as session:
            return session.scalar(select(func.count()).select_from(SandboxCharge)) or 0


@pytest.fixture
def shop(books: Engine, committed_rider: UUID) -> Iterator[Shop]:
    yield Shop(books, committed_rider)
    with session_scope(books) as session:
        assert proof.prove(session, NOW).problems == ()


def test_a_good_card_fills_the_wallet(shop: Shop) -> None:
    intent = shop.pay(Card.SUCCEEDS)
    assert (intent.state, intent.failure_code) == (IntentState.SUCCEEDED, None)
    assert shop.credited() == 2000


@pytest.mark.parametrize(
    ("card", "code"),
    [
        (Card.DECLINED, "card_declined"),
        (Card.INSUFFICIENT_FUNDS, "insufficient_funds"),
        (Card.EXPIRED, "expired_card"),
        ("1234123412341234", "unknown_card"),
    ],
)
def test_a_bad_card_brings_nothing(shop: Shop, card: str, code: str) -> None:
    intent = shop.pay(card)
    assert (intent.state, intent.failure_code) == (IntentState.FAILED, code)
    assert shop.credited() == 0
    with pytest.raises(IntentNotOpen):
        shop.confirm(intent.id, Card.SUCCEEDS)


@pytest.mark.parametrize(
    ("card", "state", "credited"),
    [
        (Card.TIMEOUT_CHARGED, IntentState.SUCCEEDED, 2000),
        (Card.TIMEOUT_NOT_CHARGED, IntentState.CANCELLED, 0),
        (Card.SLOW, IntentState.SUCCEEDED, 2000),
        (Card.NEVER, IntentState.CANCELLED, 0),
    ],
)
def test_what_is_not_known_is_asked_and_never_guessed(shop: Shop, card: str, state: IntentState, credited: int) -> None:
    intent = shop.pay(card)
    open_states = {IntentState.UNKNOWN, IntentState.PROCESSING}
    assert intent.state in open_states
    assert shop.sweep_after(seconds=10) == 0  # too early to ask
    assert shop.credited() == 0
    settled = sum(shop.sweep_after(seconds=20 * 2**step) for step in range(8))
    assert settled == 1
    assert (shop.state(intent.id), shop.credited()) == (state, credited)
    assert shop.sweep_after(hours=1) == 0


def test_an_intent_is_charged_once_however_often_it_is_confirmed(shop: Shop) -> None:
    intent = shop.intent()
    outcomes = together(THREADS, lambda _: shop.confirm(intent, Card.SUCCEEDS))
    assert all(isinstance(outcome, PaymentIntent) for outcome in outcomes)
    assert shop.confirm(intent, Card.DECLINED).state is IntentState.SUCCEEDED
    assert (shop.charges(), shop.credited()) == (1, 2000)


def test_janitors_share_the_work(shop: Shop) -> None:
    intents = [shop.pay(Card.TIMEOUT_CHARGED).id for _ in range(6)]
    shop.clock.now += timedelta(seconds=30)
    settled = together(4, lambda _: janitor.settle_unknown(shop.transactions, shop.provider, shop.clock.now))
    assert sum(count for count in settled if isinstance(count, int)) == 6
    assert {shop.state(intent) for intent in intents} == {IntentState.SUCCEEDED}
    assert shop.credited() == 12_000


def test_a_late_request_cannot_charge_what_the_janitor_gave_up(shop: Shop) -> None:
    intent = shop.pay(Card.TIMEOUT_NOT_CHARGED)
    assert shop.sweep_after(minutes=2) == 1
    late = shop.provider.authorize(intents.order_of(intent), Card.SUCCEEDS)
    assert late.status is ChargeStatus.CANCELLED
    assert shop.credited() == 0


class Unreachable(SandboxProvider):
    def find(self, order: ChargeOrder) -> ProviderCharge | None:
        raise OutcomeUnknown(f"no route to ask about {order.intent_id}")


def test_a_provider_that_is_away_is_asked_again(shop: Shop) -> None:
    intent = shop.pay(Card.TIMEOUT_CHARGED)
    reachable, shop.provider = shop.provider, Unreachable(shop.engine, SECRET, shop.clock)
    assert shop.sweep_after(minutes=1) == 0
    assert shop.state(intent.id) is IntentState.UNKNOWN
    shop.provider = reachable
    assert shop.sweep_after(minutes=2) == 1
    assert shop.credited() == 2000


class Broken(SandboxProvider):
    """Charges, then fails in a way nobody thought of."""

    def authorize(self, order: ChargeOrder, method: str) -> ProviderCharge:
        super().authorize(order, method)
        raise ZeroDivisionError


def test_an_unforeseen_failure_is_unknown_too(shop: Shop) -> None:
    shop.provider = Broken(shop.engine, SECRET, shop.clock)
    intent = shop.pay(Card.SUCCEEDS)
    assert intent.state is IntentState.UNKNOWN
    assert shop.sweep_after(minutes=1) == 1
    assert shop.credited() == 2000


class Liar(SandboxProvider):
    """Answers about another charge than was asked for."""

    lie: dict[str, object]

    def authorize(self, order: ChargeOrder, method: str) -> ProviderCharge:
        return replace(super().authorize(order, method), **self.lie)  # type: ignore[arg-type]  # any field

    def find(self, order: ChargeOrder) -> ProviderCharge | None:
        found = super().find(order)
        return replace(found, **self.lie) if found else None  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize(
    "lie",
    [{"amount_minor": 1}, {"currency": "USD"}, {"user_id": new_id()}, {"intent_id": new_id()}, {"intent_id": None}],
)
def test_an_answer_about_something_else_credits_nothing(shop: Shop, lie: dict[str, object]) -> None:
    shop.provider = liar = Liar(shop.engine, SECRET, shop.clock)
    liar.lie = lie
    intent = shop.pay(Card.SUCCEEDS)
    assert (intent.state, intent.failure_code) == (IntentState.UNKNOWN, "charge_mismatch")
    assert shop.sweep_after(minutes=1) == 0
    assert shop.credited() == 0


def test_a_second_charge_of_one_intent_is_refused(shop: Shop) -> None:
    intent = shop.pay(Card.SUCCEEDS)
    second = ProviderCharge("ch_other", ChargeStatus.SUCCEEDED, 2000, "EUR", intent.id, shop.rider)
    with pytest.raises(ChargeMismatch, match="reference"), shop.transactions() as session:
        intents.apply_charge(session, intent.id, second, NOW)
    assert shop.credited() == 2000


def test_what_succeeded_does_not_fail_later(shop: Shop) -> None:
    intent = shop.pay(Card.SUCCEEDS)
    assert intent.provider_reference is not None
    news = ProviderCharge(intent.provider_reference, ChargeStatus.FAILED, 2000, "EUR", intent.id, shop.rider)
    with pytest.raises(Exception, match="cannot go from succeeded to failed"), shop.transactions() as session:
        intents.apply_charge(session, intent.id, news, NOW)


def test_the_provider_has_the_last_word(shop: Shop) -> None:
    """Cancelled here, yet charged there: the rider's money is credited."""
    intent = shop.intent()
    with shop.transactions() as session:
        order = intents.order_of(intents.cancel(session, user_id=shop.rider, intent_id=intent, now=NOW))
    charge = shop.provider.authorize(order, Card.SUCCEEDS)
    with shop.transactions() as session:
        assert intents.apply_charge(session, intent, charge, NOW).state is IntentState.SUCCEEDED
    assert shop.credited() == 2000


def test_a_cancelled_intent_is_not_confirmed(shop: Shop) -> None:
    intent = shop.intent()
    with shop.transactions() as session:
        for _ in range(2):
            assert intents.cancel(session, user_id=shop.rider, intent_id=intent, now=NOW).state is IntentState.CANCELLED
    with pytest.raises(IntentNotOpen):
        shop.confirm(intent, Card.SUCCEEDS)
    assert shop.charges() == 0


def test_a_paid_intent_is_not_cancelled(shop: Shop) -> None:
    intent = shop.pay(Card.SUCCEEDS)
    with pytest.raises(IntentNotOpen), shop.transactions() as session:
        intents.cancel(session, user_id=shop.rider, intent_id=intent.id, now=NOW)


def test_somebody_elses_intent_does_not_exist(shop: Shop) -> None:
    intent, stranger = shop.intent(), new_id()
    with pytest.raises(NotFound):
        intents.confirm(
            shop.transactions, intent_id=intent, user_id=stranger, card=Card.SUCCEEDS, provider=shop.provider, now=NOW
        )
    with pytest.raises(NotFound), shop.transactions() as session:
        intents.cancel(session, user_id=stranger, intent_id=intent, now=NOW)


@pytest.mark.parametrize(
    ("money", "field"),
    [(Money(99, "EUR"), "amount_minor"), (Money(20_001, "EUR"), "amount_minor"), (Money(500, "XAU"), "currency")],
)
def test_top_ups_have_limits(shop: Shop, money: Money, field: str) -> None:
    with pytest.raises(InvalidInput) as caught, shop.transactions() as session:
        topups.create_intent(session, user_id=shop.rider, money=money, now=NOW, provider=shop.provider)
    assert caught.value.attributes["field"] == field


def test_limits_are_configuration(shop: Shop) -> None:
    with shop.transactions() as session:
        config.put(session, topups.LIMITS.name, {"JPY": {"min_minor": 1, "max_minor": 10}}, NOW)
    with shop.transactions() as session:
        topups.create_intent(session, user_id=shop.rider, money=Money(10, "JPY"), now=NOW, provider=shop.provider)
    with pytest.raises(InvalidInput):
        shop.intent()


def test_the_outcome_is_told_once(shop: Shop) -> None:
    good, bad = shop.pay(Card.SUCCEEDS), shop.pay(Card.DECLINED)
    shop.confirm(good.id, Card.SUCCEEDS)
    with shop.transactions() as session:
        told = session.execute(select(OutboxEvent.name, OutboxEvent.payload).order_by(OutboxEvent.id)).all()
    assert [(name, payload["intent_id"]) for name, payload in told] == [
        ("payments.TopUpSucceeded", str(good.id)),
        ("payments.TopUpFailed", str(bad.id)),
    ]


def test_the_sandbox_keeps_a_key_to_one_order(shop: Shop) -> None:
    order = ChargeOrder(new_id(), shop.rider, 500, "EUR")
    first = shop.provider.authorize(order, Card.SUCCEEDS)
    assert shop.provider.authorize(order, Card.DECLINED) == first
    with pytest.raises(ProviderRefused):
        shop.provider.authorize(replace(order, amount_minor=501), Card.SUCCEEDS)
    assert shop.provider.fetch(ObjectKind.CHARGE, first.reference) == shop.provider.find(order) == first


def test_the_sandbox_knows_what_it_never_saw(shop: Shop) -> None:
    assert all(shop.provider.fetch(kind, "ch_nothing") is None for kind in ObjectKind)
    assert shop.provider.find(ChargeOrder(new_id(), shop.rider, 1, "EUR")) is None


def test_the_sandbox_keeps_no_card_numbers(shop: Shop) -> None:
    shop.pay(Card.SUCCEEDS)
    with shop.transactions() as session:
        assert session.scalar(select(SandboxCharge.card)) == "4242"
