"""A provider is asked while nothing of ours is held, and what it refuses is refused for everybody.

API and worker as they are, with Stripe behind them over HTTP: it looks at our database while its caller waits.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any, Final, cast
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import Engine, QueuePool, select, text

from fleet.common.clock import utc_now
from fleet.common.outbox import claim_waiting, mark_dispatched
from fleet.db import create_engine_from, session_scope
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.proof import prove
from fleet.registry import CHECKS
from tests.api.conftest import Live, Serve, serve
from tests.api.people import Person, operator, signed_in
from tests.api.test_partners import ADMIN, PARTNER, earn, ok, partner
from tests.api.test_payments import TEN, keyed
from tests.api.test_payout_accounts import ACCOUNT, at_home_in_switzerland
from tests.api.test_rentals import start
from tests.api.test_subscriptions import PLAN
from tests.api.world import Cabinet, add_station, add_tariff, give_money
from tests.databases import Database
from tests.fleet.payments.stripe_server import DECLINED, FakeStripe, serving
from tests.fleet.payments.test_stripe import SECRET, about, signed
from workers.app import app
from workers.context import engine as workers_engine
from workers.routes import ROUTES

__all__ = ["serve"]
GOOD: Final = "pm_card_visa"
PAYMENT, RENTAL, MINE = "/api/v1/payment", "/api/v1/rental", "/api/v1/subscription"
#: Charges, in the first slots; the others are for what comes back.
BANKS: Final = (90, 80, 80, 80, 80)
#: For so long whoever asked must not be seen to let go: what others hold for a moment passes.
PATIENCE_S: Final = 5.0
#: Every kind of thing that a provider is asked for, and what Stripe sees of it.
KINDS: Final = {
    "a payment is begun": "POST payment_intents",
    "a card is charged, or money set aside": "POST payment_intents/*/confirm",
    "what was set aside is taken": "POST payment_intents/*/capture",
    "what was set aside is given back": "POST payment_intents/*/cancel",
    "what became of a payment": "GET payment_intents/search",
    "the payment that a webhook names": "GET payment_intents/*",
    "the day's payments": "GET payment_intents",
    "money goes back to a card": "POST refunds",
    "a card is kept": "POST payment_methods/*/attach",
    "a card is forgotten": "POST payment_methods/*/detach",
    "an account for payouts is opened": "POST accounts",
    "its owner is sent to the provider's pages": "POST account_links",
    "what became of the account": "GET accounts/*",
    "money goes to an account": "POST transfers",
    "money goes to a bank": "POST payouts",
}


@dataclass
class Onlooker:
    """Stripe's side of the wire. Whoever asks waits for the answer, and may hold nothing of ours meanwhile."""

    watch: Engine
    pools: list[Engine] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    #: What was held, by whom, during which request.
    held: list[str] = field(default_factory=list)

    def __call__(self, method: str, path: str) -> None:
        first, *rest = path.removeprefix("/v1/").split("/")
        if rest and rest[0] != "search":
            rest[0] = "*"
        kind = f"{method} {'/'.join([first, *rest])}"
        self.kinds.add(kind)
        until = time.monotonic() + PATIENCE_S
        while held := self._held():
            if time.monotonic() > until:
                self.held.append(f"{kind}: {held}")
                return
            time.sleep(0.01)

    def _held(self) -> list[str]:
        query = text(
            "SELECT concat_ws(' ', application_name, state, query) FROM pg_stat_activity WHERE xact_start IS NOT NULL"
            " AND datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        with self.watch.connect() as connection:
            open_ = list(connection.scalars(query))
        out = [f"{each.url.database}: {count} out" for each in self.pools if (count := _out_of(each))]
        return [*open_, *out]


def _out_of(engine: Engine) -> int:
    return cast("QueuePool", engine.pool).checkedout()


@dataclass(frozen=True, slots=True)
class House:
    """API, worker, the provider, and somebody who only sees what is committed."""

    live: Live
    stripe: FakeStripe
    onlooker: Onlooker
    cabinet: Cabinet
    free_slots: Iterator[int] = field(default_factory=lambda: count(len(BANKS) + 1))

    def gives_back(self, serial: str) -> None:
        self.cabinet.takes_back(next(self.free_slots), serial)

    def work(self) -> None:
        """What the relay and the workers do, until nothing waits."""
        while True:
            with session_scope(self.live.engine) as session:
                events = claim_waiting(session, 100)
                mark_dispatched(session, [each.id for each in events], utc_now())
                tasks = [(name, each.id) for each in events for name in ROUTES.get(each.name, ())]
            if not events:
                return
            for name, event_id in tasks:
                app.tasks[name](event_id)

    def beat(self, name: str, due: str) -> None:
        """The beat starts a task; what it is to look at is due by now."""
        self.change(due)
        app.tasks[name]()

    def change(self, statement: str) -> None:
        with session_scope(self.live.engine) as session:
            session.execute(text(statement))

    def sees(self, query: str) -> list[tuple[Any, ...]]:
        """What somebody else sees in the database."""
        with self.onlooker.watch.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def tells(self, kind: str, reference: str) -> None:
        body, headers = signed(about(kind, reference))
        ok(self.live.client.post(f"{PAYMENT}/webhook/stripe", content=body, headers=headers))
        self.work()


@contextmanager
def watching(database: Database, stripe: FakeStripe) -> Iterator[Onlooker]:
    engine = create_engine_from(database.url, name="onlooker")
    stripe.asked = onlooker = Onlooker(engine.execution_options(isolation_level="AUTOCOMMIT"))
    yield onlooker
    engine.dispose()


@pytest.fixture
def house(worker: Database, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:  # the fixture
    app.loader.import_default_modules()
    with serving() as stripe, watching(worker, stripe) as onlooker:
        chosen = {
            "payment_provider": "stripe", "stripe_api_key": "sk_test_voltbay", "stripe_webhook_secret": SECRET,
            "stripe_api_base": stripe.url,
        }  # fmt: skip
        for name, value in chosen.items():
            monkeypatch.setenv(f"VOLTBAY_{name.upper()}", value)
        live = serve(**chosen)
        onlooker.pools = [live.server.runtime.engine, workers_engine()]
        add_tariff(live)
        add_station(live, charges=BANKS, slots=2 * len(BANKS))
        yield House(live, stripe, onlooker, Cabinet(live))
    with session_scope(live.engine) as session:
        assert prove(session, utc_now() + timedelta(minutes=1), CHECKS).problems == ()


def pay(person: Person, intent: str, **with_: str) -> Any:
    return ok(person.http.post(f"{PAYMENT}/intent/{intent}/confirm", json=with_, headers=keyed()))


def top_up(person: Person, **with_: str) -> Any:
    made = ok(person.http.post(f"{PAYMENT}/top-up", json=TEN, headers=keyed()))
    return ok(person.http.post(f"{PAYMENT}/top-up/{made['id']}/confirm", json=with_, headers=keyed()))


def keep_card(person: Person) -> str:
    made: str = ok(person.http.post(f"{PAYMENT}/method", json={"token": f"pm_{uuid4().hex}"}, headers=keyed()))["id"]
    return made


def rent_by_card(house: House, person: Person) -> str:
    """A rental whose cabinet has the order."""
    asked = person.http.post(f"{RENTAL}/start", json={"station": "ZRH-0001", "pay": "card"}, headers=keyed())
    assert asked.status_code == 402, asked.text
    intent = asked.json()["intent"]["id"]
    assert pay(person, intent, card=GOOD)["state"] == "authorized"
    house.work()
    rental: str = ok(person.http.get(f"{RENTAL}/current"))["items"][0]["id"]
    return rental


def cards_of_rentals(house: House, person: Person) -> None:
    """One is taken, the other given back."""
    taken = rent_by_card(house, person)
    house.cabinet.ejects(UUID(taken))
    house.gives_back("ZRH-0001-B1")
    house.work()
    given = rent_by_card(house, person)
    for _ in range(2):  # another bank is tried once
        house.cabinet.refuses(UUID(given))
    house.work()


def payments_of_wallets(house: House, person: Person) -> None:
    top_up(person, card=GOOD)
    card = keep_card(person)
    top_up(person, method_id=card)
    house.stripe.lost["/v1/payment_intents/[^/]+/confirm"] = 1
    assert top_up(person, method_id=card)["state"] == "unknown"
    house.beat("payments.settle_unknown", "UPDATE payment_intent SET ask_at = created_at WHERE state = 'unknown'")
    with session_scope(house.live.engine) as session:
        reference = session.scalars(select(PaymentIntent.provider_reference).limit(1)).one()
    assert reference is not None
    house.tells("payment_intent", reference)
    app.tasks["payments.reconcile"]()


def payments_of_plans(house: House, boss: Person, person: Person) -> None:
    ok(boss.http.post("/api/v1/admin/subscription/plan", json={**PLAN, "price_minor": 4000}))
    ok(person.http.post(MINE, json={"plan": PLAN["code"]}, headers=keyed()))
    house.beat("subscriptions.renew", "UPDATE subscription SET look_at = created_at")
    house.work()
    paid = "SELECT provider_reference FROM payment_intent i JOIN subscription_period p ON p.intent_id = i.id"
    [(first,), _] = house.sees(f"{paid} ORDER BY p.number")
    _, refund = house.stripe.answer("POST", "/v1/refunds", {"payment_intent": first, "amount": 1000}, None)
    house.stripe.objects[refund["id"]]["status"] = "succeeded"
    house.tells("refund", refund["id"])  # by somebody at Stripe's desk
    assert house.sees("SELECT refunded_minor FROM subscription_period ORDER BY number") == [(1000,), (0,)]


def owe(house: House, person: Person) -> str:
    """A rental that nothing has paid; its debt."""
    give_money(house.live, person, 500)
    rental = start(person).json()
    assert "id" in rental, rental
    house.cabinet.ejects(UUID(rental["id"]))
    house.change("UPDATE rental SET started_at = started_at - interval '4 hours 45 minutes' WHERE state = 'active'")
    house.gives_back(rental["power_bank"])
    (debt,) = ok(person.http.get(f"{PAYMENT}/debts", params={"state": "open"}))["items"]
    assert debt["open"]["amount_minor"] == 100
    found: str = debt["id"]
    return found


def debts(house: House, person: Person) -> None:
    """One is paid by its rider, one by the schedule."""
    for by_schedule in (False, True):
        debt = owe(house, person)
        if by_schedule:
            keep_card(person)
            house.beat("rentals.collect_debts", "UPDATE debt SET try_at = incurred_at WHERE try_at IS NOT NULL")
        else:
            ok(person.http.post(f"{PAYMENT}/debts/{debt}/pay", json={"card": GOOD}, headers=keyed()))
        assert ok(person.http.get(f"{PAYMENT}/debts/{debt}"))["debt"]["state"] == "paid"


def money_out(house: House, boss: Person, person: Person) -> None:
    intent = top_up(person, card=GOOD)["id"]
    body = {"intent_id": intent, "amount_minor": 400, "reason": "too much"}
    refund = ok(person.http.post(f"{PAYMENT}/refund", json=body, headers=keyed()))["id"]
    ok(boss.http.post(f"{ADMIN}/refund/{refund}/approve", headers=keyed()))
    at_home_in_switzerland(house.live, person.user.id)
    reference = ok(person.http.post(ACCOUNT))["url"].rpartition("/")[2]
    house.stripe.verify(reference)
    assert ok(person.http.post(ACCOUNT))["url"] is None
    body = {"amount_minor": 500, "currency": "EUR"}
    asked = ok(person.http.post(f"{PAYMENT}/withdrawal", json=body, headers=keyed()))
    ok(boss.http.post(f"{ADMIN}/withdrawal/{asked['id']}/approve", headers=keyed()))
    house.work()
    house.stripe.settle_payouts()
    house.beat("payments.sweep_money_out", "UPDATE money_out SET ask_at = created_at")


def partners_money(house: House, boss: Person) -> None:
    with partner(house.live, boss, "North") as (partner_id, person):
        earn(house.live, partner_id, 900)
        opened = ok(person.http.post(f"{PARTNER}/payout-account", json={"country": "CH"}))
        house.stripe.verify(opened["url"].rpartition("/")[2])
        house.tells("account", opened["url"].rpartition("/")[2])
        body = {"amount_minor": 700, "currency": "EUR"}
        payout = ok(person.http.post(f"{PARTNER}/payout", json=body, headers=keyed()))["id"]
        ok(boss.http.post(f"{ADMIN}/payout/{payout}/approve"))
        ok(boss.http.post(f"{ADMIN}/payout/{payout}/send"))
        house.work()


def test_nothing_of_ours_is_held_while_a_provider_is_asked(house: House) -> None:
    """No transaction is open and no connection is out, whatever it is asked for and whoever asks."""
    live = house.live
    with operator(live) as boss, signed_in(live) as one, signed_in(live) as other, signed_in(live) as third:
        cards_of_rentals(house, one)
        payments_of_wallets(house, one)
        payments_of_plans(house, boss, one)
        debts(house, other)
        money_out(house, boss, third)
        partners_money(house, boss)
        for card in ok(one.http.get(f"{PAYMENT}/method"))["items"]:
            assert one.http.delete(f"{PAYMENT}/method/{card['id']}").is_success
        house.work()
    assert house.onlooker.held == []
    assert {what: kind in house.onlooker.kinds for what, kind in KINDS.items()} == dict.fromkeys(KINDS, True)


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_what_was_declined_is_failed_for_everybody_once_its_rider_knows(house: House) -> None:
    """Not undone with a transaction of whoever was told: nothing waits, nothing is held, and it may be tried again."""
    live = house.live
    states = "SELECT purpose, state, failure_code FROM payment_intent ORDER BY id"
    with operator(live) as boss, signed_in(live) as person:
        assert top_up(person, card=DECLINED)["state"] == "failed"
        assert house.sees(states)[-1:] == [("top_up", "failed", "insufficient_funds")]

        asked = person.http.post(f"{RENTAL}/start", json={"station": "ZRH-0001", "pay": "card"}, headers=keyed())
        assert pay(person, asked.json()["intent"]["id"], card=DECLINED)["state"] == "failed"
        assert house.sees(states)[-1:] == [("rental", "failed", "insufficient_funds")]

        refused(
            person.http.post(f"{PAYMENT}/method", json={"token": DECLINED}, headers=keyed()),
            409, "payment_method_refused",
        )  # fmt: skip
        assert house.sees("SELECT count(*) FROM payment_method") == [(0,)]

        ok(boss.http.post("/api/v1/admin/subscription/plan", json=PLAN))
        keep_card(person)
        house.change(f"UPDATE payment_method SET token = '{DECLINED}'")
        refused(person.http.post(MINE, json={"plan": PLAN["code"]}, headers=keyed()), 402, "subscription_not_paid")
        assert house.sees(states)[-1:] == [("subscription", "failed", "insufficient_funds")]
        assert house.sees("SELECT state FROM subscription") == [("expired",)]
        assert house.sees("SELECT state FROM subscription_attempt") == [("failed",)]

        debt = owe(house, person)
        body = {"card": DECLINED}
        answer = person.http.post(f"{PAYMENT}/debts/{debt}/pay", json=body, headers=keyed())
        assert answer.json()["intent"]["state"] == "failed", answer.text
        assert house.sees(states)[-1:] == [("debt", "failed", "insufficient_funds")]
        assert house.sees("SELECT outcome FROM debt_collection") == [("insufficient_funds",)]
        assert house.sees("SELECT state, open_minor FROM debt") == [("open", 100)]
    assert house.sees("SELECT count(*) FROM ledger_transfer WHERE state = 'pending'") == [(0,)]


def test_a_refund_that_a_provider_refuses_is_failed_for_everybody(house: House) -> None:
    live = house.live
    with operator(live) as boss, signed_in(live) as person:
        body = {"intent_id": top_up(person, card=GOOD)["id"], "reason": "too much"}
        refund = ok(person.http.post(f"{PAYMENT}/refund", json=body, headers=keyed()))["id"]
        paid = next(one for one in house.stripe.objects.values() if one["object"] == "payment_intent")
        paid["amount_received"] = 0  # disputed meanwhile, as far as Stripe is concerned
        ok(boss.http.post(f"{ADMIN}/refund/{refund}/approve", headers=keyed()))
        house.work()
    assert house.sees("SELECT state, failure_code FROM money_out") == [("failed", "charge_already_refunded")]
    assert house.sees("SELECT state FROM refund") == [("completed",)]
    assert house.sees("SELECT count(*) FROM ledger_transfer WHERE state = 'pending'") == [(0,)]
