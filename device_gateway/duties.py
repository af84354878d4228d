"""What a pipeline does besides its messages: acknowledgements to cabinets, signs of life, banks."""

from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Final

import structlog
from sqlalchemy import Engine

from device_gateway import faults
from device_gateway.acks import Acks
from device_gateway.buffer import Buffer
from device_gateway.directory import Directory
from device_gateway.habits import Habits
from device_gateway.ingest import Clock, Done
from device_gateway.post import Outlet
from device_gateway.sample_ingest import SampleIngest
from device_gateway.touch import Touches
from fleet.common.roundtrips import may_be_lost
from fleet.db import session_scope
from fleet.devices import presence

_LOG: Final = structlog.get_logger(__name__)
#: Signs of life are gathered for so long: a transaction for many costs little more than for one.
SIGNS_EVERY_S: Final = 0.5
#: How old the charge of a bank in its own row may be; its samples are stored at once. A cabinet tells once a minute.
BANKS_EVERY_S: Final = 5.0


class Timer:
    """True once per period."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._next = 0.0

    def due(self) -> bool:
        now = monotonic()
        if now < self._next:
            return False
        self._next = now + self._period_s
        return True


class Presence:
    """Notes signs of life of all lanes, writes them together, seldom, and stations' ways when they change."""

    def __init__(self, engine: Engine, touches: Touches, habits: Habits, clock: Clock, periods: float) -> None:
        self._engine = engine
        self._touches = touches
        self._clock = clock
        self._periods = periods
        self._due: set[int] = set()
        self._swap = Lock()
        self._timer = Timer(SIGNS_EVERY_S)
        self.habits = habits

    def learn(self) -> None:
        news = self.habits.news()
        if news:
            with session_scope(self._engine) as session:
                presence.learn(session, news)
            self.habits.written(news)

    def heard(self, station_ids: set[int]) -> None:
        self.habits.heard(station_ids)
        due = self._touches.due(station_ids)
        if due:
            with self._swap:
                self._due.update(due)

    def write_when_due(self) -> None:
        """For the tick of every lane: the first that comes writes what all of them heard."""
        if self._due and self._timer.due():
            self.write()

    def write(self) -> None:
        with self._swap:
            due, self._due = self._due, set()
        if not due:
            return
        try:
            with session_scope(self._engine) as session:
                may_be_lost(session)  # the next word says the same again
                presence.heard(session, due, self._clock(), self._periods)
        except Exception as error:
            self._touches.forget(due)
            if not faults.is_transient(error):
                raise
            _LOG.warning("signs of life not written", stations=len(due), error=str(error)[:300])


class EventDuties:
    """For a lane of events, in its thread: what its cabinets may forget is said by it, in order."""

    def __init__(self, directory: Directory, link: Outlet, buffer: Buffer, signs: Presence) -> None:
        self._link = link
        self._buffer = buffer
        self._presence = signs
        self._acks = Acks(directory)

    def after(self, done: Done) -> None:
        self._acks.add(done.outbound.acks)
        self._presence.heard(done.heard)

    def tick(self) -> None:
        self._send_acks(idle=not len(self._buffer))

    def finish(self) -> None:
        """The lane has ended in good order: say what is still to be said."""
        self._send_acks(idle=True)

    def _send_acks(self, *, idle: bool) -> None:
        for message in self._acks.due(idle=idle):
            self._link.publish(message)


class SampleDuties:
    """For the lane of samples, in its thread."""

    def __init__(self, ingest: SampleIngest, signs: Presence, bank_timer: Timer) -> None:
        """`bank_timer`: one for all lanes, because any of them writes what all of them saw."""
        self.ingest = ingest
        self._presence = signs
        self._bank_timer = bank_timer

    def after(self, done: Done) -> None:
        self._presence.heard(done.heard)

    def tick(self) -> None:
        self._presence.write_when_due()
        if self._bank_timer.due():
            quietly(self.ingest.write_banks)

    def finish(self) -> None:
        self._presence.write()
        quietly(self.ingest.write_banks)


def quietly(duty: Callable[[], object]) -> None:
    """These come round again: a database that is away is no reason to stop."""
    try:
        duty()
    except Exception as error:
        if not faults.is_transient(error):
            raise
        _LOG.warning("duty put off", duty=getattr(duty, "__name__", repr(duty)), error=str(error)[:300])
