"""The backend as its edges call it, one transaction a call, with deaths at any statement."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

import psycopg2
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from device_gateway.business import fact_handler
from device_gateway.claims import Claimant, Order, claim
from device_gateway.directory import Directory
from device_gateway.event_ingest import EventIngest
from device_gateway.gaps import Gaps
from device_gateway.received import Received
from fleet.common.errors import FleetError
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.devices import presence
from fleet.payments import intents, janitor, topups, webhooks
from fleet.payments.models import PaymentIntent
from fleet.payments.providers.sandbox import SandboxProvider, due_deliveries, mark_delivered
from fleet.rentals import cancels, deadlines, starts
from fleet.rentals.models import Rental
from fleet.rentals.rules import RentalPolicy
from fleet.settings import Settings

SECRET: Final = "whsec_model"
_SETTINGS: Final = Settings()
POLICY: Final = RentalPolicy.from_settings(_SETTINGS)
T = TypeVar("T")


class Died(psycopg2.OperationalError):
    """The process, or its connection, is gone in the middle of a transaction."""


class Deaths:
    """Counts statements down; the one at zero never reaches the database."""

    def __init__(self, engine: Engine) -> None:
        self._left: int | None = None
        self.count = 0
        event.listen(engine, "before_cursor_execute", self._before)

    @contextmanager
    def after(self, statements: int | None) -> Iterator[None]:
        self._left = statements
        try:
            yield
        finally:
            self._left = None

    def _before(self, *_: Any) -> None:
        if self._left is None:
            return
        if self._left == 0:
            self._left = None
            self.count += 1
            raise Died("server closed the connection unexpectedly")
        self._left -= 1


class Backend:
    """Every method is what one edge does: it may die (`dies`: after so many statements) and is then called again."""

    def __init__(self, engine: Engine, now: datetime) -> None:
        self.engine = engine
        self.now = now
        self.deaths = Deaths(engine)
        self.provider = SandboxProvider(engine, SECRET, lambda: self.now)
        directory, handle = Directory(), fact_handler(_SETTINGS)
        self._ingest = EventIngest(engine, directory, handle, telemetry_s=60, clock=lambda: self.now)
        self._gaps = Gaps(
            engine, directory, handle, wait=timedelta(seconds=1), give_up=timedelta(hours=1), clock=lambda: self.now
        )

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with session_scope(self.engine) as session:
            yield session

    def _try(self, dies: int | None, work: Callable[[], T]) -> T:
        """Dead once at most; then whoever asked asks again."""
        if dies is not None:
            try:
                with self.deaths.after(dies):
                    return work()
            except (Died, OperationalError) as error:
                if not isinstance(error, Died) and not isinstance(error.orig, Died):
                    raise
        return work()

    # Riders

    def start(self, rider: UUID, code: str, dies: int | None) -> UUID | FleetError:
        def work() -> UUID:
            with self._transaction() as session:
                return starts.start(
                    session, user_id=rider, station_code=code, slot=None, now=self.now, policy=POLICY
                ).id

        try:
            return self._try(dies, work)
        except FleetError as refused:
            return refused

    def cancel(self, rider: UUID, rental_id: UUID, dies: int | None) -> FleetError | None:
        def work() -> None:
            with self._transaction() as session:
                cancels.cancel(session, user_id=rider, rental_id=rental_id, now=self.now, policy=POLICY)

        try:
            self._try(dies, work)
        except FleetError as refused:
            return refused
        return None

    def top_up(self, rider: UUID, amount_minor: int, card: str, dies: int | None) -> UUID:
        with self._transaction() as session:
            money = Money(amount_minor, "EUR")
            intent = topups.create_intent(session, user_id=rider, money=money, now=self.now, provider=self.provider).id

        def work() -> PaymentIntent:
            return intents.confirm(
                self._transaction, intent_id=intent, user_id=rider, card=card, provider=self.provider, now=self.now
            )

        with suppress(FleetError):
            self._try(dies, work)
        return intent

    # The provider

    def webhooks(self, times: int, dies: int | None) -> None:
        """What is due arrives, each `times` times."""
        with self._transaction() as session:
            due = due_deliveries(session, SECRET, self.now)
        for delivery in due * times:
            with self._transaction() as session:
                stored = webhooks.receive(session, self.provider, delivery.headers, delivery.body, self.now)
                number = None if stored is None else stored.id
            if number is not None:
                self._try(dies, partial(webhooks.process, self._transaction, number, self.provider, self.now))
            with self._transaction() as session:
                mark_delivered(session, delivery.id, self.now)

    def ask_provider(self) -> None:
        janitor.settle_unknown(self._transaction, self.provider, self.now)

    # Cabinets

    def ingest(self, batch: Sequence[Received], dies: int | None = None) -> None:
        self._try(dies, lambda: self._ingest.process(batch))

    def close_gaps(self) -> None:
        self._gaps.look()

    def heard(self, station_ids: Sequence[int]) -> None:
        with self._transaction() as session:
            presence.heard(session, station_ids, self.now)

    def claim(self, dies: int | None = None) -> list[Order]:
        def work() -> list[Order]:
            with self._transaction() as session:
                return claim(session, Claimant("model"), self.now)[0]

        return self._try(dies, work)

    def busy_slots(self, code: str) -> set[int]:
        """Slots of ejects that may still move something."""
        query = text("""
            SELECT (c.args->>'slot')::int FROM device_command c JOIN station s ON s.id = c.station_id
             WHERE s.code = :code AND c.kind = 'eject_power_bank' AND c.state IN ('queued', 'sent', 'unknown')""")
        with self.engine.connect() as connection:
            return set(connection.scalars(query, {"code": code}))

    # Time

    def sweep(self, dies: int | None = None) -> None:
        def commands() -> int:
            with self._transaction() as session:
                return deadlines.sweep_commands(session, self.now, POLICY)

        def rentals() -> int:
            with self._transaction() as session:
                return deadlines.sweep_rentals(session, self.now, POLICY)

        self._try(dies, commands)
        self._try(dies, rentals)

    def rentals(self, ids: Sequence[UUID]) -> list[Rental]:
        with Session(self.engine, expire_on_commit=False) as session:
            return [session.get_one(Rental, each) for each in ids]
