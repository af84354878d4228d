"""One batch of messages into the database, and who is to blame when it does not go in.

`process` either commits everything that can be applied, with the rest in `dead_letter`, or raises an error that another
try may mend (`faults.is_transient`): then nothing of the batch may be acknowledged.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from device_gateway import faults, intake, welcomes
from device_gateway.directory import Directory
from device_gateway.intake import Arrived, Foreign, Intake
from device_gateway.outbound import Outbound
from device_gateway.received import Received
from device_gateway.tally import Tally
from fleet.db import session_scope
from fleet.devices import dead_letters
from fleet.devices.dead_letters import Rejected

_LOG: Final = structlog.get_logger(__name__)
UNKNOWN_STATION: Final = "unknown_station"
Clock = Callable[[], datetime]
Alive = Callable[[], None]


def nobody_asks() -> None:
    """For callers that no watchdog looks at."""


@dataclass(slots=True)
class Done:
    """What a committed batch did, and what is to be said about it."""

    outbound: Outbound = field(default_factory=Outbound)
    tally: Tally = field(default_factory=Tally)
    #: Stations (ids) heard of.
    heard: set[int] = field(default_factory=set)

    def add(self, other: "Done") -> None:
        self.outbound.messages += other.outbound.messages
        self.outbound.acks.update(other.outbound.acks)
        self.heard |= other.heard
        self.tally.add(other.tally)


class Ingest(ABC):
    """Not thread-safe: one per pipeline."""

    def __init__(self, engine: Engine, directory: Directory, clock: Clock) -> None:
        self._engine = engine
        self._directory = directory
        self._clock = clock

    @abstractmethod
    def _store(self, sorted_: Intake, now: datetime) -> Done:
        """Apply and commit messages of known stations, and keep `rejected`."""

    def process(self, batch: Sequence[Received], alive: Alive = nobody_asks) -> Done:
        """Raises transient errors only; a message that is at fault itself goes to the dead letters alone.

        `alive` is called before each attempt, of which a batch may take many: none of them takes long.
        """
        alive()
        try:
            return self._attempt(batch)
        except Exception as error:
            if faults.is_transient(error):
                raise
            if len(batch) == 1:
                return self._bury(batch[0], error)
            _LOG.warning("batch refused, looking for the message at fault", size=len(batch), error=str(error)[:500])
            return _halves(batch, partial(self.process, alive=alive))

    def process_stubborn(self, batch: Sequence[Received], alive: Alive = nobody_asks) -> Done:
        """For a batch that failed again and again although the database answers: find the message it fails on."""
        alive()
        try:
            return self._attempt(batch)
        except Exception as error:
            if faults.is_transient(error) and not self._database_answers():
                raise
            if len(batch) == 1:
                return self._bury(batch[0], error)
            return _halves(batch, partial(self.process_stubborn, alive=alive))

    def not_ready(self, batch: Sequence[Received]) -> Outbound:
        """What cabinets that are booting are told while `batch` cannot be stored."""
        return welcomes.not_ready(intake.sort(batch, self._directory).boots(), self._clock())

    def _attempt(self, batch: Sequence[Received]) -> Done:
        sorted_ = intake.sort(batch, self._directory)
        self._admit(sorted_)
        return self._store(sorted_, self._clock())

    def _admit(self, sorted_: Intake) -> None:
        """Look strangers up, and refuse those that nobody registered."""
        if sorted_.foreign_strangers:
            self._admit_foreign(sorted_)
        if not sorted_.strangers:
            return
        with Session(self._engine) as session:
            self._directory.learn(session, {frame.station for frame, _ in sorted_.strangers})
        for frame, received in sorted_.strangers:
            station = self._directory.get(frame.station)
            if station is None:
                reason = f"no station has the code {frame.station}"
                sorted_.rejected.append(intake.reject(received, UNKNOWN_STATION, reason))
            else:
                sorted_.place(Arrived(frame, received, station))

    def _admit_foreign(self, sorted_: Intake) -> None:
        with Session(self._engine) as session:
            self._directory.learn_hardware(session, {each[2].hardware_id for each in sorted_.foreign_strangers})
        for received, dialect, sender in sorted_.foreign_strangers:
            station = self._directory.by_hardware(sender.hardware_id)
            if station is None or station.dialect != dialect.name:
                reason = f"no {dialect.name} station has the hardware id {sender.hardware_id}"
                sorted_.rejected.append(intake.reject(received, UNKNOWN_STATION, reason))
            else:
                sorted_.vendors.append(Foreign(received, station, dialect, sender))

    def _reject_all(self, session: Session, sorted_: Intake, tally: Tally) -> None:
        reject(session, sorted_.rejected, tally)

    def _bury(self, received: Received, error: BaseException) -> Done:
        done = Done()
        _LOG.error("message refused", topic=received.topic, error=faults.reason_of(error)[:500])
        rejected = intake.reject(received, faults.code_of(error), faults.reason_of(error))
        try:
            with session_scope(self._engine) as session:
                reject(session, [rejected], done.tally)
        except Exception as second:
            if faults.is_transient(second):
                raise
            # The log is the last place that takes everything: one frame must not stop a fleet.
            _LOG.exception("message lost", topic=received.topic[:200], payload=received.payload[:1000].hex())
            done.tally.dead["lost"] += 1
        return done

    def _database_answers(self) -> bool:
        try:
            with self._engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except Exception as error:
            if faults.is_transient(error):
                return False
            raise
        return True


def reject(session: Session, rejected: Sequence[Rejected], tally: Tally) -> None:
    """Into the dead letters, each counted."""
    dead_letters.record_all(session, rejected)
    tally.dead.update(each.error_code for each in rejected)


def _halves(batch: Sequence[Received], run: Callable[[Sequence[Received]], Done]) -> Done:
    middle = len(batch) // 2
    done = run(batch[:middle])
    done.add(run(batch[middle:]))
    return done
