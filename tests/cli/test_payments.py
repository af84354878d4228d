"""`voltbay payments`: the comparison with the provider's list at the console."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from cli.main import app
from fleet.common.clock import utc_now
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.payments import intents, topups
from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.payments.providers.sandbox import Card, SandboxProvider
from fleet.payments.providers.sandbox.models import SandboxCharge
from fleet.payments.reconciliation.service import SETTLED_AFTER
from tests.databases import Database
from tests.factories import add_rider


@pytest.fixture
def voltbay(clean_database: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("DATABASE_URL", clean_database.url)
    return lambda *arguments: CliRunner().invoke(app, ["payments", *arguments])


def test_what_differs_is_shown_and_ends_with_one(clean_database: Database, voltbay: Callable[..., Result]) -> None:
    assert voltbay("reconciliations").stdout == "no comparison yet: voltbay payments reconcile\n"
    quiet = voltbay("reconcile")
    assert (quiet.exit_code, "agree" in quiet.stdout) == (0, True)
    now, engine = utc_now(), clean_database.engine
    provider = SandboxProvider(engine, "secret", utc_now)
    with session_scope(engine) as session:
        rider = add_rider(session, now, 0)
        intent = topups.create_intent(session, user_id=rider, money=Money(500, "EUR"), now=now, provider=provider).id
    intents.confirm(
        lambda: session_scope(engine), intent_id=intent, user_id=rider, card=Card.SUCCEEDS, provider=provider, now=now
    )
    with session_scope(engine) as session:  # long ago, and lost on our side
        session.execute(update(SandboxCharge).values(created_at=now - SETTLED_AFTER - timedelta(minutes=1)))
        made = session.get_one(PaymentIntent, intent)
        made.state, made.captured_minor = IntentState.UNKNOWN, None
    found = voltbay("reconcile", "--json")
    assert found.exit_code == 1
    told = json.loads(found.stdout)
    assert [(each["ours"], each["theirs"], each["amount"]) for each in told["found"]] == [
        ("unknown", "succeeded", "5.00 EUR")
    ]
    assert "1 DIFFER" in voltbay("reconciliations").stdout
