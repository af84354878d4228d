"""What a pipeline does besides its messages: acknowledgements to cabinets, signs of life, gaps, its own heartbeat."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic
from typing import Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from device_gateway import clocks, faults
from device_gateway.acks import Acks
from device_gateway.buffer import Buffer
from device_gateway.directory import Directory
from device_gateway.gaps import Gaps
from device_gateway.habits import Habits
from device_gateway.ingest import Clock, Done
from device_gateway.metrics import Metrics
from device_gateway.post import Outlet
from device_gateway.sample_ingest import SampleIngest
from device_gateway.touch import Touches
from fleet.common.roundtrips import may_be_lost
from fleet.db import session_scope
from fleet.devices import presence

_LOG: Final = structlog.get_logger(__name__)
GAPS_EVERY_S: Final = 0.25
BEAT_EVERY_S: Final = 2.0
HABITS_EVERY_S: Final = 2.0
CLOCKS_EVERY_S: Final = 20.0
#: Minutes that are made up for after a pause.
MOST_MINUTES: Final = 10
#: Signs of life are gathered for so long: a transaction for many costs little more than for one.
SIGNS_EVERY_S: Final = 0.5
#: How old the charge of a bank in its own row may be; its samples are stored at once. A cabinet tells once a minute.
BANKS_EVERY_S: Final = 5.0
#: A gateway that is further behind than this does not vouch for the silence of its stations.
CAUGHT_UP_S: Final = 5.0


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
    """For the lane of events, in its thread."""

    def __init__(
        self,
        *,
        engine: Engine,
        directory: Directory,
        link: Outlet,
        buffer: Buffer,
        signs: Presence,
        gaps: Gaps,
        metrics: Metrics,
        buffers: Sequence[Buffer],
        name: str,
        clock: Clock,
        replays: Callable[[], object],
        telemetry_s: int,
        heartbeats: Callable[[], set[int]] = set,
        lockouts: Callable[[], object] = tuple,
    ) -> None:
        self._lockouts = lockouts
        self._heartbeats = heartbeats
        self._replays = replays
        self._engine = engine
        self._directory = directory
        self._link = link
        self._buffer = buffer
        self._presence = signs
        self._gaps = gaps
        self._metrics = metrics
        self._buffers = buffers
        self._dropped = 0
        self._name = name
        self._clock = clock
        self._started_at = clock()
        self._acks = Acks(directory)
        self._gap_timer = Timer(GAPS_EVERY_S)
        self._habit_timer = Timer(HABITS_EVERY_S)
        self._beat_timer = Timer(BEAT_EVERY_S)
        self._telemetry_s = telemetry_s
        self._clocks_timer = Timer(CLOCKS_EVERY_S)
        #: Up to which minute cabinets were told the time.
        self._minute = clocks.minute_of(self._started_at)

    def after(self, done: Done) -> None:
        self._acks.add(done.outbound.acks)
        self._presence.heard(done.heard)

    def tick(self) -> None:
        self._send_acks(idle=not len(self._buffer))
        self._count_dropped()
        answered = self._heartbeats()
        if answered:
            self._presence.heard(answered)
        self._presence.write_when_due()
        if self._gap_timer.due():
            _quietly(self._look_for_gaps)
        if self._habit_timer.due():
            _quietly(self._presence.learn)
        if self._beat_timer.due():
            _quietly(self._beat)
            _quietly(self._replay)
            _quietly(self._cut_locked_out)
        if self._clocks_timer.due():
            _quietly(self._tell_the_time)

    def finish(self) -> None:
        """The lane has ended in good order: say what is still to be said."""
        self._send_acks(idle=True)
        self._presence.write()
        _quietly(self._leave)

    def others_alive(self) -> bool:
        """Whether another gateway shares the work; False when nobody can be asked."""
        try:
            with Session(self._engine) as session:
                return presence.other_gateways(session, self._name, self._clock())
        except Exception as error:
            if not faults.is_transient(error):
                raise
            return False

    def _send_acks(self, *, idle: bool) -> None:
        for message in self._acks.due(idle=idle):
            self._link.publish(message)

    def _count_dropped(self) -> None:
        dropped = sum(buffer.dropped for buffer in self._buffers)
        if dropped > self._dropped:
            self._metrics.dropped.inc(dropped - self._dropped)
            self._dropped = dropped

    def _look_for_gaps(self) -> None:
        oldest = self._buffer.oldest_at()
        done = self._gaps.look(None if oldest is None else datetime.fromtimestamp(oldest, UTC))
        for message in done.outbound.messages:
            self._link.publish(message)
        self._acks.add(done.outbound.acks)
        self._metrics.count(done.tally)

    def _beat(self) -> None:
        now, oldest = self._clock(), self._buffer.oldest_at()
        if oldest is not None and now - datetime.fromtimestamp(oldest, UTC) > timedelta(seconds=CAUGHT_UP_S):
            return
        with session_scope(self._engine) as session:
            presence.gateway_beat(
                session,
                name=self._name,
                started_at=self._started_at,
                connected_since=self._link.connected_since,
                now=now,
            )
        with Session(self._engine) as session:
            self._directory.refresh(session)

    def _tell_the_time(self) -> None:
        """Each gateway tells every cabinet: again changes nothing, and it costs a few messages a minute."""
        now = self._clock()
        minute = clocks.minute_of(now)
        minutes = range(max(self._minute, minute - MOST_MINUTES) + 1, minute + 1)
        if not minutes:
            return
        with Session(self._engine) as session:
            stations = clocks.due(session, minutes, now)
            told = clocks.renew(session, self._directory, stations, now, telemetry_s=self._telemetry_s)
        for message in told.messages:
            self._link.publish(message)
        self._minute = minute

    def _replay(self) -> None:
        self._replays()

    def _cut_locked_out(self) -> None:
        self._lockouts()

    def _leave(self) -> None:
        with session_scope(self._engine) as session:
            presence.gateway_gone(session, self._name)


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
            _quietly(self.ingest.write_banks)

    def finish(self) -> None:
        self._presence.write()
        _quietly(self.ingest.write_banks)


def _quietly(duty: Callable[[], None]) -> None:
    """These come round again: a database that is away is no reason to stop."""
    try:
        duty()
    except Exception as error:
        if not faults.is_transient(error):
            raise
        _LOG.warning("duty put off", duty=duty.__name__, error=str(error)[:300])
