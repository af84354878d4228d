"""Saved cards: tokens only, one default, limits that count."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from pydantic import JsonValue
from sqlalchemy import Engine, select, text

from fleet.common.models import OutboxEvent
from fleet.config import service as config
from fleet.db import new_id, session_scope
from fleet.payments import intents, methods, proof
from fleet.payments.errors import (
    MethodLimitReached,
    PaymentMethodNotFound,
    PaymentMethodRefused,
    ProviderUnavailable,
    TooManyPaymentMethods,
)
from fleet.payments.intent_models import IntentState, PaymentIntent, PaymentMethod
from fleet.payments.providers.base import OutcomeUnknown, SavedMethod
from fleet.payments.providers.sandbox import Card, SandboxProvider
from tests.fleet.parallel import together
from tests.fleet.payments.conftest import NOW, THREADS
from tests.fleet.payments.saving import save_card
from tests.fleet.payments.test_topups import SECRET, Shop


@pytest.fixture
def shop(books: Engine, committed_rider: UUID) -> Iterator[Shop]:
    yield Shop(books, committed_rider)
    with session_scope(books) as session:
        assert proof.prove(session, NOW).problems == ()


def save(shop: Shop, card: str = Card.SUCCEEDS) -> PaymentMethod:
    return save_card(shop.transactions, shop.rider, card, shop.provider, shop.clock.now)


def pay(shop: Shop, method: UUID, minor: int = 2000) -> PaymentIntent:
    return intents.confirm(
        shop.transactions, intent_id=shop.intent(minor), user_id=shop.rider, method_id=method, provider=shop.provider,
        now=shop.clock.now,
    )  # fmt: skip


def saved(shop: Shop) -> list[tuple[str, bool]]:
    with shop.transactions() as session:
        return [(method.last4, method.is_default) for method in methods.methods_of(session, shop.rider)]


def test_a_saved_card_pays(shop: Shop) -> None:
    assert pay(shop, save(shop).id).state is IntentState.SUCCEEDED
    assert shop.credited() == 2000


def test_a_saved_card_behaves_as_itself(shop: Shop) -> None:
    assert pay(shop, save(shop, Card.TIMEOUT_CHARGED).id).state is IntentState.UNKNOWN
    assert shop.sweep_after(minutes=1) == 1
    assert shop.credited() == 2000


def test_no_card_number_is_kept_anywhere(shop: Shop) -> None:
    method = save(shop)
    pay(shop, method.id)
    with shop.transactions() as session:
        for table in ("payment_method", "payment_intent", "sandbox_charge", "outbox_event"):
            rows = session.scalars(text(f"SELECT to_jsonb(t)::text FROM {table} t"))
            assert not any(Card.SUCCEEDS.value in row for row in rows), table


def test_the_first_card_is_the_default_and_another_can_be(shop: Shop) -> None:
    save(shop)
    second = save(shop, Card.SLOW)
    assert saved(shop) == [("4242", True), ("1034", False)]
    for _ in range(2):
        with shop.transactions() as session:
            assert methods.make_default(session, shop.rider, second.id).is_default
    assert saved(shop) == [("1034", True), ("4242", False)]


def test_a_removed_card_pays_no_more_and_another_becomes_the_default(shop: Shop) -> None:
    first = save(shop)
    save(shop, Card.SLOW)
    with shop.transactions() as session:
        methods.remove(session, shop.rider, first.id, NOW)
    assert saved(shop) == [("1034", True)]
    with pytest.raises(PaymentMethodNotFound):
        pay(shop, first.id)
    with pytest.raises(PaymentMethodNotFound), shop.transactions() as session:
        methods.remove(session, shop.rider, first.id, NOW)
    with shop.transactions() as session:
        told = session.scalars(select(OutboxEvent.payload).where(OutboxEvent.name.endswith("MethodRemoved"))).all()
    assert told == [{"method_id": str(first.id)}]


class Notes(SandboxProvider):
    forgotten: tuple[str, ...] = ()

    def forget_method(self, token: str) -> None:
        self.forgotten = (*self.forgotten, token)


def test_the_provider_forgets_what_was_removed_and_nothing_else(shop: Shop) -> None:
    kept, gone = save(shop), save(shop, Card.SLOW)
    with shop.transactions() as session:
        methods.remove(session, shop.rider, gone.id, NOW)
    notes = Notes(shop.engine, SECRET, shop.clock)
    for method in (kept.id, gone.id, new_id()):
        methods.forget(shop.transactions, method, notes)
    assert notes.forgotten == (gone.token,)


def test_another_riders_card_is_not_there(shop: Shop) -> None:
    method, stranger = save(shop).id, new_id()
    with shop.transactions() as session:
        for call in (methods.method_of, methods.make_default):
            with pytest.raises(Exception, match=r"no such payment method|No row was found"):
                call(session, stranger, method)


@pytest.mark.parametrize(("card", "reason"), [(Card.DECLINED, "card_declined"), ("1234123412341234", "unknown_card")])
def test_a_card_that_the_provider_refuses_is_not_saved(shop: Shop, card: str, reason: str) -> None:
    with pytest.raises(PaymentMethodRefused) as caught:
        save(shop, card)
    assert (caught.value.attributes["reason"], saved(shop)) == (reason, [])


class Away(SandboxProvider):
    def save_method(self, user_id: UUID, token: str, customer: str | None) -> SavedMethod:
        raise OutcomeUnknown(f"no route for {user_id}, {token[-4:]}, {customer}")


def test_nothing_is_kept_when_the_provider_does_not_answer(shop: Shop) -> None:
    shop.provider = Away(shop.engine, SECRET, shop.clock)
    with pytest.raises(ProviderUnavailable):
        save(shop)
    assert saved(shop) == []


class SameToken(SandboxProvider):
    """Gives one card one token, as providers with fingerprints do."""

    def save_method(self, user_id: UUID, token: str, customer: str | None) -> SavedMethod:
        return SavedMethod(f"pm_one_{token[-4:]}", "card", "visa", token[-4:], customer or f"cus_{user_id.hex}")


def test_the_same_card_again_is_one_row(shop: Shop) -> None:
    shop.provider = SameToken(shop.engine, SECRET, shop.clock)
    assert save(shop).id == save(shop).id
    assert saved(shop) == [("4242", True)]


def test_parallel_saving_keeps_to_the_most_and_one_default(shop: Shop) -> None:
    outcomes = together(methods.METHODS_MAX + 6, lambda _: save(shop))
    assert sum(isinstance(outcome, TooManyPaymentMethods) for outcome in outcomes) == 6
    assert sorted(default for _, default in saved(shop)) == [False] * (methods.METHODS_MAX - 1) + [True]


def limit(shop: Shop, *, max_minor: int, day_minor: int) -> None:
    with shop.transactions() as session:
        value: JsonValue = {"card": {"EUR": {"max_minor": max_minor, "day_minor": day_minor}}}
        config.put(session, methods.LIMITS.name, value, NOW)


def test_limits_are_by_method_and_currency(shop: Shop) -> None:
    limit(shop, max_minor=2000, day_minor=0)
    method = save(shop).id
    assert pay(shop, method, 2000).state is IntentState.SUCCEEDED
    with pytest.raises(MethodLimitReached) as caught:
        pay(shop, method, 2001)
    assert caught.value.attributes["left_minor"] == 2000
    assert shop.credited() == 2000


def test_limits_of_a_day_count_what_was_really_paid(shop: Shop) -> None:
    limit(shop, max_minor=2000, day_minor=5000)
    method, declined = save(shop).id, save(shop, Card.TIMEOUT_NOT_CHARGED).id
    pay(shop, method)
    pay(shop, declined)
    shop.sweep_after(minutes=2)  # found out to have failed: it counts no more
    pay(shop, method)
    with pytest.raises(MethodLimitReached) as caught:
        pay(shop, method)
    assert caught.value.attributes["left_minor"] == 1000
    shop.clock.now += timedelta(days=1)
    assert pay(shop, method).state is IntentState.SUCCEEDED


def test_parallel_payments_cannot_pass_a_limit(shop: Shop) -> None:
    limit(shop, max_minor=2000, day_minor=5000)
    method = save(shop).id
    outcomes = together(THREADS, lambda _: pay(shop, method))
    assert sum(isinstance(outcome, MethodLimitReached) for outcome in outcomes) == THREADS - 2
    assert shop.credited() == 4000
