"""Cards for rentals: set aside, taken, given back; the bank that wants to see the rider; answers that are lost."""

import random
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select

from fleet.common.models import OutboxEvent
from fleet.common.money import Money
from fleet.db import new_id, session_scope
from fleet.payments import intents, janitor, proof, rental_payments, webhooks
from fleet.payments.errors import ChargeMismatch, IntentNotOpen
from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.payments.models import LedgerTransfer
from fleet.payments.providers import sandbox
from fleet.payments.providers.base import ChargeOrder, ChargeStatus, OutcomeUnknown, ProviderCharge, ProviderRefused
from fleet.payments.providers.sandbox import Card, SandboxProvider
from fleet.payments.providers.sandbox.models import SandboxCharge
from tests.fleet.parallel import together
from tests.fleet.payments.conftest import NOW, THREADS
from tests.fleet.payments.test_topups import SECRET, Shop

ORDER = {"station": "ZRH-0001", "terms": {"unlock_minor": 100}}


@pytest.fixture
def shop(books: Engine, committed_rider: UUID) -> Iterator[Shop]:
    yield Shop(books, committed_rider)
    with session_scope(books) as session:
        assert proof.prove(session, NOW).problems == ()


def demand(shop: Shop, minor: int = 500) -> UUID:
    with shop.transactions() as session:
        return rental_payments.demand(
            session, user_id=shop.rider, money=Money(minor, "EUR"), order=ORDER, provider=shop.provider,
            now=shop.clock.now,
        ).id  # fmt: skip


def secured(shop: Shop, card: str = Card.SUCCEEDS, minor: int = 500) -> tuple[UUID, UUID]:
    """An authorization and the rental that has it."""
    intent, rental = demand(shop, minor), new_id()
    assert shop.confirm(intent, card).state is IntentState.AUTHORIZED
    with shop.transactions() as session:
        rental_payments.claim(session, intent, rental, shop.clock.now)
    return intent, rental


def settle(shop: Shop, rental: UUID, owed: int) -> int:
    with shop.transactions() as session:
        return rental_payments.settle(session, rental, owed, shop.clock.now)


def carry_out(shop: Shop, intent: UUID) -> bool:
    return janitor.carry_out(shop.transactions, intent, shop.provider, shop.clock.now)


def told(shop: Shop, name: str) -> list[dict[str, object]]:
    with shop.transactions() as session:
        query = select(OutboxEvent.payload).where(OutboxEvent.name == f"payments.{name}").order_by(OutboxEvent.id)
        return list(session.scalars(query))


def on_the_card(shop: Shop) -> list[tuple[str, int | None]]:
    """What the provider has: state of each charge, and what it took."""
    with shop.transactions() as session:
        query = select(SandboxCharge.status, SandboxCharge.captured_minor).order_by(SandboxCharge.created_at)
        return [(status, captured) for status, captured in session.execute(query)]


def deliver(shop: Shop, times: int = 1, seed: int = 0) -> int:
    """What is due arrives `times` times, shuffled; how many calls changed something."""
    with shop.transactions() as session:
        calls = sandbox.due_deliveries(session, SECRET, shop.clock.now) * times
    random.Random(seed).shuffle(calls)
    changed = 0
    for call in calls:
        with shop.transactions() as session:
            stored = webhooks.receive(session, shop.provider, call.headers, call.body, shop.clock.now)
            number = None if stored is None else stored.id
        if number is not None:
            changed += webhooks.process(shop.transactions, number, shop.provider, shop.clock.now)
    return changed


def test_money_for_a_rental_is_only_set_aside(shop: Shop) -> None:
    intent = demand(shop)
    assert shop.confirm(intent, Card.SUCCEEDS).state is IntentState.AUTHORIZED
    assert (shop.credited(), on_the_card(shop)) == (0, [("authorized", None)])
    assert told(shop, "RentalPaymentReady") == [{"intent_id": str(intent), "user_id": str(shop.rider)}]


def test_what_the_rental_costs_is_taken_and_the_rest_is_free(shop: Shop) -> None:
    intent, rental = secured(shop)
    assert settle(shop, rental, 320) == 320
    assert shop.credited() == 0
    assert carry_out(shop, intent)
    assert (shop.credited(), on_the_card(shop)) == (320, [("succeeded", 320)])
    assert [event["rental_id"] for event in told(shop, "RentalPaymentCaptured")] == [str(rental)]
    assert not carry_out(shop, intent)
    assert settle(shop, rental, 400) == 320  # decided once


def test_a_rental_that_costs_nothing_takes_nothing(shop: Shop) -> None:
    intent, rental = secured(shop)
    assert settle(shop, rental, 0) == 0
    assert carry_out(shop, intent)
    assert (shop.state(intent), shop.credited(), on_the_card(shop)) == (IntentState.CANCELLED, 0, [("cancelled", None)])


def test_never_more_is_taken_than_was_set_aside(shop: Shop) -> None:
    intent, rental = secured(shop, minor=500)
    assert settle(shop, rental, 900) == 500
    carry_out(shop, intent)
    assert shop.credited() == 500


def test_a_start_that_failed_gives_everything_back(shop: Shop) -> None:
    intent = demand(shop)
    shop.confirm(intent, Card.SUCCEEDS)
    for _ in range(2):
        with shop.transactions() as session:
            rental_payments.give_back(session, intent, shop.clock.now)
    assert len(told(shop, "AuthorizationDecided")) == 1
    assert carry_out(shop, intent)
    assert on_the_card(shop) == [("cancelled", None)]
    with pytest.raises(IntentNotOpen), shop.transactions() as session:
        rental_payments.claim(session, intent, new_id(), shop.clock.now)


def test_a_rental_without_a_card_has_nothing_to_settle(shop: Shop) -> None:
    assert settle(shop, new_id(), 300) == 0


def test_a_lost_answer_to_a_capture_is_had_by_asking_again(shop: Shop) -> None:
    intent, rental = secured(shop, Card.CAPTURE_TIMEOUT)
    settle(shop, rental, 320)
    with pytest.raises(OutcomeUnknown):
        carry_out(shop, intent)
    assert shop.credited() == 0
    assert shop.sweep_after(seconds=20) == 1
    assert (shop.credited(), on_the_card(shop)) == (320, [("succeeded", 320)])


def test_an_authorization_that_lapsed_brings_nothing_and_says_so(shop: Shop) -> None:
    intent, rental = secured(shop, Card.LAPSES)
    settle(shop, rental, 320)
    assert carry_out(shop, intent)
    assert (shop.state(intent), shop.credited()) == (IntentState.CANCELLED, 0)
    assert len(told(shop, "RentalPaymentFailed")) == 1
    assert settle(shop, rental, 320) == 320  # what was decided; the debt stays with the rental


def test_the_sweep_finds_what_no_worker_was_told(shop: Shop) -> None:
    """Crash between the decision and the provider: the outbox's event may be lost, the row is not."""
    _, rental = secured(shop)
    settle(shop, rental, 100)
    assert shop.sweep_after(seconds=1) == 1
    assert shop.credited() == 100


def test_a_crash_after_the_provider_took_it_credits_it_once(shop: Shop) -> None:
    intent, rental = secured(shop)
    settle(shop, rental, 250)
    with shop.transactions() as session:
        order = intents.order_of(session.get_one(PaymentIntent, intent))
    shop.provider.capture(order, 250)  # and then the worker dies
    assert shop.credited() == 0
    deliver(shop, times=3)
    carry_out(shop, intent)
    shop.sweep_after(seconds=20)
    assert shop.credited() == 250


def test_another_amount_than_was_decided_credits_nothing(shop: Shop) -> None:
    intent, rental = secured(shop)
    settle(shop, rental, 250)
    with shop.transactions() as session:
        order = intents.order_of(session.get_one(PaymentIntent, intent))
    charge = shop.provider.capture(order, 251)
    with pytest.raises(ChargeMismatch, match="captured_minor"), shop.transactions() as session:
        intents.apply_charge(session, intent, charge, NOW)
    assert shop.credited() == 0


def test_one_intent_starts_one_rental(shop: Shop) -> None:
    intent = demand(shop)
    shop.confirm(intent, Card.SUCCEEDS)

    def start(_: int) -> UUID | None:
        with shop.transactions() as session:
            return rental_payments.claim(session, intent, new_id(), shop.clock.now).rental_id

    outcomes = together(THREADS, start)
    assert sum(isinstance(outcome, UUID) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, IntentNotOpen) for outcome in outcomes) == THREADS - 1


def test_fifty_settlements_of_one_rental_take_it_once(shop: Shop) -> None:
    intent, rental = secured(shop)

    def close(number: int) -> int:
        taken = settle(shop, rental, 300)
        if number % 2:
            carry_out(shop, intent)
        else:
            shop.sweep_after(seconds=0)
        return taken

    assert together(THREADS, close) == [300] * THREADS
    shop.sweep_after(minutes=1)
    assert (shop.credited(), on_the_card(shop)) == (300, [("succeeded", 300)])


@pytest.mark.parametrize(
    ("approved", "state", "credited"), [(True, IntentState.SUCCEEDED, 2000), (False, IntentState.FAILED, 0)]
)
def test_the_bank_wants_to_see_the_rider(shop: Shop, approved: bool, state: IntentState, credited: int) -> None:
    intent = shop.pay(Card.REQUIRES_ACTION)
    assert (intent.state, shop.credited()) == (IntentState.REQUIRES_ACTION, 0)
    assert intent.action_url is not None
    assert isinstance(shop.provider, SandboxProvider)
    reference = intent.action_url.rpartition("/")[2]
    assert shop.provider.complete_action(reference, approved=approved)
    assert not shop.provider.complete_action(reference, approved=True)  # asked once
    assert deliver(shop, times=3) == 2
    assert (shop.state(intent.id), shop.credited()) == (state, credited)
    with shop.transactions() as session:
        assert session.get_one(PaymentIntent, intent.id).action_url is None


def test_a_rider_who_never_goes_to_the_bank_pays_nothing(shop: Shop) -> None:
    intent = shop.pay(Card.REQUIRES_ACTION)
    assert shop.sweep_after(minutes=1) == 0
    assert shop.sweep_after(minutes=15) == 1
    assert (shop.state(intent.id), on_the_card(shop)) == (IntentState.CANCELLED, [("cancelled", None)])


def test_a_confirmation_that_comes_too_late_is_refused(shop: Shop) -> None:
    intent = demand(shop)
    shop.clock.now += rental_payments.LASTS
    with pytest.raises(IntentNotOpen, match="expired"):
        shop.confirm(intent, Card.SUCCEEDS)
    assert janitor.expire(shop.transactions, shop.clock.now) == 1
    assert janitor.expire(shop.transactions, shop.clock.now) == 0
    assert shop.state(intent) is IntentState.CANCELLED


def test_money_set_aside_for_a_rental_that_never_began_goes_back(shop: Shop) -> None:
    intent = demand(shop)
    shop.confirm(intent, Card.SUCCEEDS)
    shop.clock.now += rental_payments.LASTS
    with pytest.raises(IntentNotOpen), shop.transactions() as session:
        rental_payments.claim(session, intent, new_id(), shop.clock.now)
    assert sorted(map(str, together(4, lambda _: janitor.expire(shop.transactions, shop.clock.now)))) == [
        "0",
        "0",
        "0",
        "1",
    ]
    assert shop.sweep_after(seconds=1) == 1
    assert on_the_card(shop) == [("cancelled", None)]


def test_an_approval_that_comes_too_late_goes_back(shop: Shop) -> None:
    intent = demand(shop)
    action = shop.confirm(intent, Card.REQUIRES_ACTION).action_url
    assert action is not None
    assert isinstance(shop.provider, SandboxProvider)
    shop.provider.complete_action(action.rpartition("/")[2], approved=True)
    shop.clock.now += rental_payments.LASTS
    deliver(shop)
    assert told(shop, "RentalPaymentReady") == []
    assert shop.sweep_after(seconds=1) == 1
    assert on_the_card(shop) == [("cancelled", None)]


def test_an_old_look_at_a_charge_changes_nothing(shop: Shop) -> None:
    """Webhooks are applied by reading the object; a worker may be slow between the reading and the applying."""
    intent, rental = secured(shop)
    with shop.transactions() as session:
        reference = session.get_one(PaymentIntent, intent).provider_reference
    assert reference is not None
    settle(shop, rental, 200)
    carry_out(shop, intent)
    for status in (ChargeStatus.PENDING, ChargeStatus.REQUIRES_ACTION, ChargeStatus.AUTHORIZED):
        old = ProviderCharge(reference, status, 500, "EUR", intent, shop.rider)
        with shop.transactions() as session:
            assert intents.apply_charge(session, intent, old, NOW).state is IntentState.SUCCEEDED
    assert shop.credited() == 200


def test_ten_times_and_shuffled_is_the_same_ledger(shop: Shop) -> None:
    """Webhooks of captures, of voids and of approvals, ten times each in any order."""
    first, taken = secured(shop)
    second, free = secured(shop)
    action = shop.pay(Card.REQUIRES_ACTION).action_url
    assert action is not None
    assert isinstance(shop.provider, SandboxProvider)
    settle(shop, taken, 150)
    settle(shop, free, 0)
    for intent in (first, second):
        carry_out(shop, intent)
    shop.provider.complete_action(action.rpartition("/")[2], approved=True)
    for seed in range(3):
        deliver(shop, times=10, seed=seed)
        shop.sweep_after(minutes=1)
    assert shop.credited() == 150 + 2000
    with shop.transactions() as session:
        assert session.scalar(select(func.count()).select_from(LedgerTransfer)) == 1 + 2


def test_the_sandbox_takes_no_more_than_it_set_aside(shop: Shop) -> None:
    order = ChargeOrder(new_id(), shop.rider, 500, "EUR", capture_later=True)
    shop.provider.authorize(order, Card.SUCCEEDS)
    for amount in (0, 501):
        with pytest.raises(ProviderRefused):
            shop.provider.capture(order, amount)
    assert shop.provider.capture(order, 500) == shop.provider.capture(order, 1)  # once


def test_a_late_webhook_brings_no_second_credit(shop: Shop) -> None:
    shop.pay(Card.LATE_WEBHOOK)
    assert deliver(shop) == 0
    shop.clock.now += timedelta(minutes=1)
    assert deliver(shop, times=2) == 1
    assert shop.credited() == 2000
