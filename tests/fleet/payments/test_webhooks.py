"""Webhooks: forged, old, repeated, shuffled."""

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select

from fleet.common.models import OutboxEvent
from fleet.db import new_id, session_scope
from fleet.payments import janitor, proof, webhooks
from fleet.payments.errors import WebhookRefused
from fleet.payments.intent_models import IntentState, PaymentWebhook
from fleet.payments.models import LedgerTransfer
from fleet.payments.providers import sandbox, signing
from fleet.payments.providers.base import ChargeOrder
from fleet.payments.providers.sandbox import SIGNATURE_HEADER, Card, Delivery
from tests.fleet.parallel import together
from tests.fleet.payments.conftest import NOW, THREADS
from tests.fleet.payments.test_topups import SECRET, Shop


@pytest.fixture
def shop(books: Engine, committed_rider: UUID) -> Iterator[Shop]:
    yield Shop(books, committed_rider)
    with session_scope(books) as session:
        assert proof.prove(session, NOW).problems == ()


def deliveries(shop: Shop) -> list[Delivery]:
    with shop.transactions() as session:
        return sandbox.due_deliveries(session, SECRET, shop.clock.now)


def receive(shop: Shop, body: bytes, headers: dict[str, str]) -> int | None:
    with shop.transactions() as session:
        stored = webhooks.receive(session, shop.provider, headers, body, shop.clock.now)
        return None if stored is None else stored.id


def process(shop: Shop, webhook_id: int) -> bool:
    return webhooks.process(shop.transactions, webhook_id, shop.provider, shop.clock.now)


def stored(shop: Shop) -> list[PaymentWebhook]:
    with shop.transactions() as session:
        return list(session.scalars(select(PaymentWebhook).order_by(PaymentWebhook.id)))


def transfers(shop: Shop) -> int:
    with shop.transactions() as session:
        return session.scalar(select(func.count()).select_from(LedgerTransfer)) or 0


def test_a_webhook_settles_what_timed_out(shop: Shop) -> None:
    intent = shop.pay(Card.TIMEOUT_CHARGED)
    (delivery,) = deliveries(shop)
    webhook = receive(shop, delivery.body, delivery.headers)
    assert webhook is not None
    assert shop.credited() == 0  # stored, not applied
    assert process(shop, webhook)
    assert (shop.state(intent.id), shop.credited()) == (IntentState.SUCCEEDED, 2000)


def test_it_is_stored_as_it_came_and_a_worker_is_told(shop: Shop) -> None:
    shop.pay(Card.SUCCEEDS)
    (delivery,) = deliveries(shop)
    webhook = receive(shop, delivery.body, delivery.headers | {"Authorization": "secret"})
    (row,) = stored(shop)
    assert (row.body, row.kind, row.applied_at) == (delivery.body, "charge.succeeded", None)
    assert row.headers == delivery.headers
    with shop.transactions() as session:
        event = session.scalars(select(OutboxEvent).order_by(OutboxEvent.id.desc()).limit(1)).one()
    assert (event.name, event.payload) == ("payments.WebhookReceived", {"webhook_id": webhook})


def test_a_failed_charge_credits_nothing(shop: Shop) -> None:
    shop.pay(Card.DECLINED)
    (delivery,) = deliveries(shop)
    webhook = receive(shop, delivery.body, delivery.headers)
    assert webhook is not None
    assert process(shop, webhook)
    assert shop.credited() == 0


def test_ten_times_and_shuffled_is_the_same_as_once(shop: Shop) -> None:
    """Every webhook ten times, in any order, in parallel, from the queue and from confirm and the janitor too."""
    for card in (Card.SUCCEEDS, Card.ANSWERS_TWICE, Card.TIMEOUT_CHARGED, Card.SLOW, Card.DECLINED):
        shop.pay(card)
    shop.clock.now += timedelta(seconds=10)
    calls = [delivery for delivery in deliveries(shop) for _ in range(10)]
    assert len(calls) == 60
    random.Random(4).shuffle(calls)
    received = together(THREADS, lambda n: [receive(shop, call.body, call.headers) for call in calls[n::THREADS]])
    new = [webhook for batch in received if isinstance(batch, list) for webhook in batch if webhook is not None]
    assert len(new) == len(set(new)) == 6
    work = new * 10
    random.Random(5).shuffle(work)
    applied = together(THREADS, lambda n: [process(shop, webhook) for webhook in work[n::THREADS]])
    assert sum(done for batch in applied if isinstance(batch, list) for done in batch) == 6
    shop.sweep_after(hours=1)
    assert shop.credited() == 4 * 2000
    assert transfers(shop) == 1 + 4
    assert [row.error for row in stored(shop)] == [None] * 6


@pytest.mark.parametrize("forgery", ["secret", "body", "time", "no time", "none", "garbage", "other scheme"])
def test_a_forged_webhook_is_refused(shop: Shop, forgery: str) -> None:
    shop.pay(Card.TIMEOUT_CHARGED)
    (delivery,) = deliveries(shop)
    right = delivery.headers[SIGNATURE_HEADER]
    time, _, digest = right.partition(",v1=")
    body, signature = {
        "secret": (delivery.body, signing.sign(b"guess", delivery.body, NOW)),
        "body": (delivery.body.replace(b"charge.", b"refund."), right),
        "time": (delivery.body, f"t={int(NOW.timestamp()) + 1},v1={digest}"),
        "no time": (delivery.body, f"v1={digest}"),
        "none": (delivery.body, ""),
        "garbage": (delivery.body, "t=é,v1=\N{SNOWMAN},,=,t"),
        "other scheme": (delivery.body, f"{time},v0={digest}"),
    }[forgery]
    with pytest.raises(WebhookRefused):
        receive(shop, body, {SIGNATURE_HEADER: signature})
    assert stored(shop) == []


@pytest.mark.parametrize("age", [timedelta(seconds=301), timedelta(seconds=-302)])
def test_a_recorded_webhook_is_refused(shop: Shop, age: timedelta) -> None:
    shop.pay(Card.TIMEOUT_CHARGED)
    (delivery,) = deliveries(shop)
    shop.clock.now += age
    with pytest.raises(WebhookRefused, match="too old"):
        receive(shop, delivery.body, delivery.headers)


def test_one_of_several_signatures_is_enough(shop: Shop) -> None:
    """While a secret is replaced, providers sign with both."""
    shop.pay(Card.SUCCEEDS)
    (delivery,) = deliveries(shop)
    time, _, digest = delivery.headers[SIGNATURE_HEADER].partition(",")
    assert receive(shop, delivery.body, {SIGNATURE_HEADER: f"{time},v1={'0' * 64},{digest}"}) is not None


def signed(shop: Shop, event: object) -> tuple[bytes, dict[str, str]]:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return body, {SIGNATURE_HEADER: signing.sign(SECRET.encode(), body, shop.clock.now)}


@pytest.mark.parametrize("event", [b"", b"\xff", [], {}, {"id": "e", "type": "t", "data": {}}, {"id": "e", "data": 3}])
def test_a_signed_body_that_is_no_event_is_refused(shop: Shop, event: object) -> None:
    with pytest.raises(WebhookRefused, match="not an event"):
        receive(shop, *signed(shop, event))


def test_an_event_about_nothing_of_ours_is_noted(shop: Shop) -> None:
    foreign = shop.provider.authorize(ChargeOrder(new_id(), shop.rider, 500, "EUR"), Card.SUCCEEDS).reference
    for reference in ("ch_nothing", foreign):
        event = {"id": f"evt_{reference}", "type": "charge.succeeded", "data": {"reference": reference}}
        webhook = receive(shop, *signed(shop, event))
        assert webhook is not None
        assert process(shop, webhook)
    assert [(row.error or "").partition(":")[0] for row in stored(shop)] == ["not_found"] * 2
    assert shop.credited() == 0


def test_the_event_is_not_believed_the_provider_is(shop: Shop) -> None:
    """A genuine event that claims success for a charge that failed."""
    intent = shop.pay(Card.DECLINED)
    event = {"id": "evt_1", "type": "charge.succeeded", "data": {"reference": intent.provider_reference}}
    webhook = receive(shop, *signed(shop, event))
    assert webhook is not None
    process(shop, webhook)
    assert (shop.state(intent.id), shop.credited()) == (IntentState.FAILED, 0)


def test_an_object_that_does_not_match_is_noted(shop: Shop) -> None:
    intent = shop.intent()
    reference = shop.provider.authorize(ChargeOrder(intent, shop.rider, 500, "EUR"), Card.SUCCEEDS).reference
    event = {"id": "evt_1", "type": "charge.succeeded", "data": {"reference": reference}}
    webhook = receive(shop, *signed(shop, event))
    assert webhook is not None
    process(shop, webhook)
    (row,) = stored(shop)
    assert row.error is not None
    assert row.error.startswith("charge_mismatch")
    assert (shop.state(intent), shop.credited()) == (IntentState.REQUIRES_CONFIRMATION, 0)


def test_deliveries_are_repeated_until_they_are_answered(shop: Shop) -> None:
    shop.pay(Card.SUCCEEDS)
    first = deliveries(shop)
    assert deliveries(shop) == []  # claimed
    shop.clock.now += sandbox.RETRY
    second = deliveries(shop)
    assert [delivery.id for delivery in first] == [delivery.id for delivery in second]
    assert json.loads(first[0].body) == json.loads(second[0].body)  # the same event
    with shop.transactions() as session:
        sandbox.mark_delivered(session, second[0].id, shop.clock.now)
    shop.clock.now += timedelta(days=1)
    assert deliveries(shop) == []


def test_each_delivery_is_claimed_by_one_worker(shop: Shop) -> None:
    for _ in range(8):
        shop.pay(Card.SUCCEEDS)
    claimed = together(8, lambda _: [delivery.id for delivery in deliveries(shop)])
    ids = [delivery for batch in claimed if isinstance(batch, list) for delivery in batch]
    assert len(ids) == len(set(ids)) == 8


def test_some_cards_announce_twice_and_some_never(shop: Shop) -> None:
    shop.pay(Card.ANSWERS_TWICE)
    assert len({json.loads(delivery.body)["id"] for delivery in deliveries(shop)}) == 2
    shop.pay(Card.NEVER)
    shop.pay(Card.TIMEOUT_NOT_CHARGED)
    shop.clock.now += timedelta(seconds=1)
    assert deliveries(shop) == []
    shop.pay(Card.SLOW)
    assert deliveries(shop) == []
    shop.clock.now += sandbox.SLOW
    assert len(deliveries(shop)) == 3  # the slow one, and the two that nobody has answered


def test_the_janitor_is_not_needed_when_webhooks_come(shop: Shop) -> None:
    shop.pay(Card.SLOW)
    shop.clock.now += sandbox.SLOW
    for delivery in deliveries(shop):
        webhook = receive(shop, delivery.body, delivery.headers)
        assert webhook is not None
        process(shop, webhook)
    assert shop.credited() == 2000
    assert janitor.settle_unknown(shop.transactions, shop.provider, shop.clock.now + timedelta(hours=1)) == 0
