"""From the sandbox provider's delivery over HTTP to the wallet, with the worker's own functions."""

from collections.abc import Iterator

import pytest
from sqlalchemy import select

from fleet.common.clock import utc_now
from fleet.common.models import OutboxEvent
from fleet.db import session_scope
from fleet.payments.intents import ASK_AFTER
from fleet.payments.proof import prove
from fleet.payments.providers.sandbox import Card
from fleet.payments.providers.sandbox.models import SandboxDelivery
from tests.api.conftest import Live
from tests.api.people import signed_in
from tests.api.test_payments import TEN, top_up
from workers import context
from workers.tasks.payments import apply_webhook, deliver_sandbox_webhooks, prove_ledger, settle_unknown


@pytest.fixture
def worker(live: Live, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """This process is the worker beside the running API."""
    monkeypatch.setenv("DATABASE_URL", live.settings.database_url.get_secret_value())
    monkeypatch.setenv("VOLTBAY_HTTP_PORT", str(live.settings.http_port))
    context.settings.cache_clear()
    context.engine.cache_clear()
    yield live
    context.engine().dispose()
    context.settings.cache_clear()
    context.engine.cache_clear()


def waiting(live: Live) -> list[int]:
    with session_scope(live.engine) as session:
        return list(session.scalars(select(OutboxEvent.id).where(OutboxEvent.name == "payments.WebhookReceived")))


def test_lost_answer_is_mended_by_the_webhook(worker: Live) -> None:
    with signed_in(worker) as person:
        intent = top_up(person, Card.TIMEOUT_CHARGED).json()
        assert intent["state"] == "unknown"
        assert deliver_sandbox_webhooks() == 1
        assert deliver_sandbox_webhooks() == 0
        for _ in range(2):
            for event_id in waiting(worker):
                apply_webhook(event_id)
        assert person.http.get(f"/api/v1/payment/top-up/{intent['id']}").json()["state"] == "succeeded"
        assert person.http.get("/api/v1/payment/wallet").json()["balance"] == TEN
    with session_scope(worker.engine) as session:
        assert prove(session, utc_now()).ok
    assert prove_ledger()


def test_delivery_is_repeated_until_the_api_answers(worker: Live) -> None:
    with signed_in(worker) as person:
        top_up(person)
    with session_scope(worker.engine) as session:
        session.connection().exec_driver_sql("ALTER TABLE payment_webhook RENAME TO hidden")
    assert deliver_sandbox_webhooks() == 0
    with session_scope(worker.engine) as session:
        session.connection().exec_driver_sql("ALTER TABLE hidden RENAME TO payment_webhook")
        delivery = session.scalars(select(SandboxDelivery)).one()
        assert (delivery.attempts, delivery.delivered_at) == (1, None)
        delivery.due_at = utc_now()
    assert deliver_sandbox_webhooks() == 1


def test_janitor_asks_when_no_webhook_comes(worker: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    with signed_in(worker) as person:
        intent = top_up(person, Card.TIMEOUT_CHARGED).json()["id"]
        assert settle_unknown() == 0  # too early to ask
        later = utc_now() + ASK_AFTER
        monkeypatch.setattr("workers.tasks.payments.utc_now", lambda: later)
        assert settle_unknown() == 1
        assert person.http.get(f"/api/v1/payment/top-up/{intent}").json()["state"] == "succeeded"
