"""A rider, a plan, a provider and a clock, on a database with real commits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from fleet.common.models import OutboxEvent
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.payments import janitor, methods, wallets
from fleet.payments.models import Invoice, LedgerTransfer, TransferState
from fleet.payments.providers.base import PaymentProvider
from fleet.payments.providers.sandbox import Card, SandboxProvider
from fleet.payments.providers.sandbox.models import SandboxCharge
from fleet.subscriptions import charging, plans, queries, renewals, subscribing
from fleet.subscriptions.models import PeriodUnit, Subscription, SubscriptionPeriod, SubscriptionPlan, SubscriptionState
from fleet.subscriptions.plans import PlanSpec
from tests.factories import add_rider, give_money
from tests.fleet.payments.saving import save_card

SECRET = "whsec"
START = datetime.fromisoformat("2026-01-31T09:30:00+00:00")
PRICE = 900
DAY = timedelta(days=1)


def add_plan(session: Session, now: datetime = START, code: str = "daily", **changes: Any) -> SubscriptionPlan:
    """9.00 EUR a month; 60 free minutes a day, 30 of them for one rental."""
    return plans.create_plan(session, code, spec(**{"name": f"Plan {code}", **changes}), now)


def spec(**changes: Any) -> PlanSpec:
    values: dict[str, Any] = {
        "name": "New", "price_minor": PRICE, "currency": "EUR", "period_unit": PeriodUnit.MONTH,
        "free_minutes_per_day": 60, "free_minutes_per_rental": 30,
    }  # fmt: skip
    return PlanSpec(**{**values, **changes})


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Club:
    engine: Engine
    funds: int = 0
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.provider: PaymentProvider = SandboxProvider(self.engine, SECRET, self.clock)
        with self.transactions() as session:
            self.rider = add_rider(session, self.now, self.funds)
            add_plan(session)

    @contextmanager
    def transactions(self) -> Iterator[Session]:
        with session_scope(self.engine) as session:
            yield session

    @property
    def now(self) -> datetime:
        return self.clock.now

    def later(self, duration: timedelta) -> None:
        self.clock.now += duration

    def until_due(self) -> None:
        """The job has to look at the subscription now."""
        look_at = self.subscription().look_at
        assert look_at is not None
        self.clock.now = look_at

    def give(self, minor: int) -> None:
        with self.transactions() as session:
            give_money(session, self.rider, self.now, minor)

    def take(self, minor: int) -> None:
        with self.transactions() as session:
            wallets.adjust(
                session, user_id=self.rider, money=Money(-minor, "EUR"), reason="test", actor_id=self.rider,
                key=uuid4().hex, now=self.now,
            )  # fmt: skip

    def save(self, card: str = Card.SUCCEEDS) -> UUID:
        made = save_card(self.transactions, self.rider, card, self.provider, self.now)
        with self.transactions() as session:
            return methods.make_default(session, self.rider, made.id).id

    def subscribe(self, plan: str = "daily", key: str = "first", method_id: UUID | None = None) -> UUID:
        request = subscribing.Request(self.rider, plan, method_id, key)
        return subscribing.subscribe(self.transactions, request, provider=self.provider, now=self.now)

    def sweep(self) -> int:
        return renewals.sweep(self.transactions, self.provider, self.now)

    def pay_now(self, method_id: UUID | None = None) -> None:
        subscribing.pay_now(
            self.transactions, user_id=self.rider, method_id=method_id, provider=self.provider, now=self.now
        )

    def settle_unknown(self) -> None:
        """What the janitor learns, and the consumer of its events does."""
        janitor.settle_unknown(self.transactions, self.provider, self.now)
        for payload in self.told("payments.SubscriptionPaymentCaptured", "payments.SubscriptionPaymentFailed"):
            with self.transactions() as session:
                charging.settle(session, UUID(str(payload["intent_id"])), self.now)

    # What became of it

    def subscription(self) -> Subscription:
        with self.transactions() as session:
            return queries.latest_of(session, self.rider)

    @property
    def state(self) -> SubscriptionState:
        return self.subscription().state

    def periods(self) -> list[SubscriptionPeriod]:
        with self.transactions() as session:
            return list(session.scalars(select(SubscriptionPeriod).order_by(SubscriptionPeriod.number)))

    def paid(self) -> list[tuple[str, str]]:
        """Days of the periods that are paid."""
        return [
            (f"{each.starts_at:%m-%d}", f"{each.ends_at:%m-%d}") for each in self.periods() if each.paid_at is not None
        ]

    def money(self) -> tuple[int, int]:
        """What the wallet has, and what of it is free."""
        with self.transactions() as session:
            found = wallets.balance(session, wallets.wallet_of(session, self.rider, "EUR", self.now))
            return found.posted_minor, found.available_minor

    def charged(self) -> int:
        """What subscriptions took in all."""
        with self.transactions() as session:
            query = select(func.coalesce(func.sum(LedgerTransfer.posted_minor), 0)).where(
                LedgerTransfer.kind == "subscription_charge", LedgerTransfer.state == TransferState.POSTED
            )
            return int(session.scalar(query) or 0)

    def on_cards(self) -> list[str]:
        """What the provider has."""
        with self.transactions() as session:
            return list(session.scalars(select(SandboxCharge.status).order_by(SandboxCharge.created_at)))

    def invoices(self) -> list[int]:
        with self.transactions() as session:
            return list(session.scalars(select(Invoice.total_minor).order_by(Invoice.number)))

    def told(self, *names: str) -> list[dict[str, Any]]:
        with self.transactions() as session:
            query = select(OutboxEvent.payload).where(OutboxEvent.name.in_(names)).order_by(OutboxEvent.id)
            return list(session.scalars(query))
