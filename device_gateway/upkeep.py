"""What a gateway does besides its messages, in a thread of its own, so that no event waits for it: gaps, signs of life,
its heartbeat, what operators ask of it, the time.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Event, Thread
from time import monotonic
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from device_gateway import clocks, faults
from device_gateway.acks import Acks
from device_gateway.directory import Directory
from device_gateway.duties import Presence, Timer, quietly
from device_gateway.gaps import Gaps
from device_gateway.ingest import Clock
from device_gateway.metrics import Metrics
from device_gateway.post import Outlet
from device_gateway.reception import Reception
from fleet.db import session_scope
from fleet.devices import presence

TICK_S: Final = 0.25
BEAT_EVERY_S: Final = 2.0
HABITS_EVERY_S: Final = 2.0
CLOCKS_EVERY_S: Final = 20.0
#: Minutes that are made up for after a pause.
MOST_MINUTES: Final = 10
#: A gateway that is further behind than this does not vouch for the silence of its stations.
CAUGHT_UP_S: Final = 5.0


class Upkeep(Thread):
    def __init__(
        self,
        *,
        engine: Engine,
        directory: Directory,
        link: Outlet,
        reception: Reception,
        signs: Presence,
        gaps: Gaps,
        metrics: Metrics,
        name: str,
        clock: Clock,
        replays: Callable[[], object],
        telemetry_s: int,
        heartbeats: Callable[[], set[int]] = set,
        lockouts: Callable[[], object] = tuple,
    ) -> None:
        super().__init__(name="upkeep", daemon=True)
        self._lockouts = lockouts
        self._heartbeats = heartbeats
        self._replays = replays
        self._engine = engine
        self._directory = directory
        self._link = link
        self._reception = reception
        self._presence = signs
        self._gaps = gaps
        self._metrics = metrics
        self._dropped = 0
        self._gateway = name
        self._clock = clock
        self._started_at = clock()
        self._acks = Acks(directory)
        self._habit_timer = Timer(HABITS_EVERY_S)
        self._beat_timer = Timer(BEAT_EVERY_S)
        self._told_since: datetime | None = None
        self._telemetry_s = telemetry_s
        self._clocks_timer = Timer(CLOCKS_EVERY_S)
        #: Up to which minute cabinets were told the time.
        self._minute = clocks.minute_of(self._started_at)
        self._ending = Event()
        #: Read by the watchdog.
        self.beat = monotonic()

    def run(self) -> None:
        while not self._ending.is_set():
            self.beat = monotonic()
            self._tick()
            self._ending.wait(TICK_S)

    def stop(self, timeout_s: float) -> None:
        """The lanes have ended in good order: say what is still to be said."""
        self._ending.set()
        self.join(timeout_s)
        self._presence.write()
        quietly(self._leave)

    def others_alive(self) -> bool:
        """Whether another gateway shares the work; False when nobody can be asked."""
        try:
            with Session(self._engine) as session:
                return presence.other_gateways(session, self._gateway, self._clock())
        except Exception as error:
            if not faults.is_transient(error):
                raise
            return False

    def _tick(self) -> None:
        self._count_dropped()
        answered = self._heartbeats()
        if answered:
            self._presence.heard(answered)
        self._presence.write_when_due()
        quietly(self._look_for_gaps)
        if self._habit_timer.due():
            quietly(self._presence.learn)
        if self._link.connected_since not in {None, self._told_since}:
            quietly(self._beat)  # whoever stops now must know that this one is there
        if self._beat_timer.due():
            quietly(self._beat)
            quietly(self._replays)
            quietly(self._lockouts)
        if self._clocks_timer.due():
            quietly(self._tell_the_time)

    def _count_dropped(self) -> None:
        dropped = self._reception.dropped
        if dropped > self._dropped:
            self._metrics.dropped.inc(dropped - self._dropped)
            self._dropped = dropped

    def _look_for_gaps(self) -> None:
        done = self._gaps.look(self._reception.events_through())
        self._acks.add(done.outbound.acks)
        for message in (*done.outbound.messages, *self._acks.due(idle=True)):
            self._link.publish(message)
        self._metrics.count(done.tally)

    def _beat(self) -> None:
        now, oldest = self._clock(), self._reception.events_through()
        if oldest is not None and now - oldest > timedelta(seconds=CAUGHT_UP_S):
            return
        connected_since = self._link.connected_since
        with session_scope(self._engine) as session:
            presence.gateway_beat(
                session,
                name=self._gateway,
                started_at=self._started_at,
                connected_since=connected_since,
                now=now,
            )
        self._told_since = connected_since
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

    def _leave(self) -> None:
        with session_scope(self._engine) as session:
            presence.gateway_gone(session, self._gateway)
