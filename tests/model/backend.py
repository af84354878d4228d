"""The backend as its edges call it, one transaction a call, with deaths at any point of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from device_gateway.business import fact_handler
from device_gateway.claims import Claimant, Order, claim
from device_gateway.directory import Directory
from device_gateway.event_ingest import EventIngest
from device_gateway.gaps import Gaps
from device_gateway.received import Received
from fleet.common import idempotency
from fleet.common.errors import FleetError
from fleet.common.idempotency import Claim, StoredAnswer
from fleet.db import session_scope
from fleet.devices import presence
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts import reservations
from fleet.rentals.underway import deadlines, reminders, swaps
from fleet.settings import Settings
from tests.model.deaths import Deaths, Died

_SETTINGS: Final = Settings()
POLICY: Final = RentalPolicy.from_settings(_SETTINGS)
T = TypeVar("T")


class Backend:
    """Every method is what one edge does: it may die (`dies`: after so many points) and is then called again."""

    def __init__(self, engine: Engine, now: datetime) -> None:
        self.engine = engine
        self.now = now
        self.deaths = Deaths(engine)
        #: Steps that were taken and looked at.
        self.steps = 0
        directory, handle = Directory(), fact_handler(_SETTINGS)
        self._ingest = EventIngest(engine, directory, handle, telemetry_s=60, clock=lambda: self.now)
        self._gaps = Gaps(
            engine, directory, handle, wait=timedelta(seconds=1), give_up=timedelta(hours=1), clock=lambda: self.now
        )

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with session_scope(self.engine) as session:
            yield session
        self.deaths.point()

    def call(self, dies: int | None, work: Callable[[], T]) -> T:
        """Dead once at most; then whoever asked asks again."""
        if dies is not None:
            try:
                with self.deaths.after(dies):
                    return work()
            except (Died, OperationalError) as error:
                if not isinstance(error, Died) and not isinstance(error.orig, Died):
                    raise
        return work()

    def ask(self, dies: int | None, work: Callable[[], T]) -> T | FleetError:
        """As `call`; a refusal is an answer too."""
        try:
            return self.call(dies, work)
        except FleetError as refused:
            return refused

    def request(self, dies: int | None, work: Callable[[Session], T]) -> T | FleetError:
        """A request that changes nothing when it is sent again."""

        def once() -> T:
            with self.transaction() as session:
                return work(session)

        return self.ask(dies, once)

    def once(self, who: UUID, dies: int | None, work: Callable[[Session], UUID | None]) -> UUID | FleetError | None:
        """A request under an `Idempotency-Key`, whose answer names what was made."""
        key = uuid4().hex

        def attempt(session: Session) -> UUID | None:
            claim = Claim.of(scope=str(who), key=key, route="model", body=b"", request_id=None)
            stored = idempotency.begin(session, claim, self.now)
            if stored is not None:
                return None if stored.body["id"] is None else UUID(stored.body["id"])
            made = work(session)
            answer = StoredAnswer(200, {"id": None if made is None else str(made)})
            idempotency.finish(session, scope=str(who), key=key, answer=answer, now=self.now)
            return made

        return self.request(dies, attempt)

    # Cabinets

    def ingest(self, batch: Sequence[Received], dies: int | None = None) -> None:
        self.call(dies, lambda: self._ingest.process(batch))

    def close_gaps(self) -> None:
        self._gaps.look()

    def heard(self, station_ids: Sequence[int]) -> None:
        with self.transaction() as session:
            presence.heard(session, station_ids, self.now)

    def claim(self, dies: int | None = None) -> list[Order]:
        """Orders to publish; those that a gateway claimed just before it died are never published."""

        def work() -> list[Order]:
            with self.transaction() as session:
                return claim(session, Claimant("model"), self.now)[0]

        return self.call(dies, work)

    def busy_slots(self, code: str) -> set[int]:
        """Slots of ejects that may still move something."""
        query = text("""
            SELECT (c.args->>'slot')::int FROM device_command c JOIN station s ON s.id = c.station_id
             WHERE s.code = :code AND c.kind = 'eject_power_bank' AND c.state IN ('queued', 'sent', 'unknown')""")
        with self.engine.connect() as connection:
            return set(connection.scalars(query, {"code": code}))

    # Time

    def sweep(self, dies: int | None = None) -> None:
        """Every job that the beat starts; the process may die in the first one and in the last."""
        sweeps: tuple[Callable[[Session], int], ...] = (
            lambda session: deadlines.sweep_commands(session, self.now, POLICY),
            lambda session: reservations.sweep_reservations(session, self.now, POLICY),
            lambda session: swaps.sweep_swaps(session, self.now),
            lambda session: reminders.sweep_reminders(session, self.now, POLICY),
            lambda session: deadlines.sweep_rentals(session, self.now, POLICY),
        )
        for each in sweeps:
            answer = self.request(dies, each)
            assert not isinstance(answer, FleetError), answer
