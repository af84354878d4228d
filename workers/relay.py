"""The outbox relay, a process of its own: `python -m workers.relay`.

Rows of `outbox_event` become Celery tasks. A row is marked in the transaction that sent it, so a crash between the two
only sends it twice, and consumers take an event once. Redis may forget what it was given: an event whose consumers have
not all noted it (`processed_event`) within a while is sent again, ever more slowly, until they have.

Tasks of `routes.TOGETHER` get all their events of a look at the outbox in one message; what comes for them within
TOGETHER_EVERY after that waits for the next one. So the first is told soon, and a storm in few sets.

What nobody waits for (`routes.UNHURRIED`) is gathered for GATHER_S, and what nobody hears of is left to the next look:
both happen at every rental, just when its rider waits for the processor (decision 0342).
"""

import random
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta

import structlog
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from fleet.common import logs
from fleet.common.clock import utc_now
from fleet.common.models import OutboxEvent
from fleet.common.notify import Channel
from fleet.common.outbox import claim_unsettled, claim_waiting, consumers_done, mark_dispatched, mark_settled
from fleet.common.roundtrips import may_be_lost
from fleet.db import create_engine_from, session_scope
from fleet.settings import Settings
from workers.routes import ROUTES, TOGETHER, UNHURRIED
from workers.wakeup import StopSignal, Wakeup

log = structlog.get_logger(__name__)

BATCH = 200
#: Without a NOTIFY the outbox is looked at this often.
POLL_S = 1.0
CHECK_EVERY = timedelta(seconds=5)
#: First doubt about an event; doubled with every attempt up to SLOWEST.
PATIENCE = timedelta(seconds=20)
SLOWEST = timedelta(hours=1)
BACKOFF_MAX_S = 5.0
#: How long events for tasks that take many are gathered, at most.
TOGETHER_EVERY = timedelta(seconds=0.5)
#: How long events that nobody waits for are gathered.
GATHER_S = 0.1

Send = Callable[[str, int | list[int]], None]


class Relay:
    """`send(task_name, event_id)` hands one task to the queue, or raises when the queue is not there. `together`: tasks
    that are given a list of event ids.
    """

    def __init__(
        self,
        engine: Engine,
        send: Send,
        routes: Mapping[str, tuple[str, ...]] = ROUTES,
        together: Collection[str] = TOGETHER,
        unhurried: Collection[str] = UNHURRIED,
    ) -> None:
        self._engine = engine
        self._send = send
        self._routes = routes
        self._together = frozenset(together)
        self._unhurried = frozenset(unhurried)
        #: Events that only such tasks hear of.
        self._patient = tuple(sorted(name for name, tasks in routes.items() if self._together.issuperset(tasks)))
        self._gathers_until: datetime | None = None

    def dispatch(self, now: datetime) -> int:
        """Send the oldest waiting events; returns how many rows were taken."""
        gathers = self.gathers_s(now) is not None
        with session_scope(self._engine) as session:
            events = claim_waiting(session, BATCH, without=self._patient if gathers else ())
            sets = self._send_all((event, set()) for event in events)
            if events:
                may_be_lost(session)  # then they are sent once more, which consumers put up with
                mark_dispatched(session, [event.id for event in events], now)
                mark_settled(session, [event.id for event in events if event.name not in self._routes], now)
        if not gathers:
            # A backlog is not gathered any longer: it is large enough.
            self._gathers_until = now + TOGETHER_EVERY if sets and len(events) < BATCH else None
        return len(events)

    def gathers_s(self, now: datetime) -> float | None:
        """For how many more seconds events for tasks that take many are left in the outbox; None: they are not."""
        rest = None if self._gathers_until is None else (self._gathers_until - now).total_seconds()
        # A clock that was set back must not keep them for long.
        return rest if rest is not None and 0 < rest <= TOGETHER_EVERY.total_seconds() else None

    def patience_s(self, name: str) -> float | None:
        """How long the notification of an event may wait for others; None: for the next look, whenever it comes."""
        if name and name not in self._routes:
            return None
        return GATHER_S if name in self._unhurried else 0.0

    def check(self, now: datetime) -> int:
        """Settle what has been processed and send again what should have been; returns how many were sent again."""
        with session_scope(self._engine) as session:
            events = claim_unsettled(session, now, PATIENCE, SLOWEST, BATCH)
            done = consumers_done(session, [event.id for event in events])
            settled, again = [], []
            for event in events:
                if done.get(event.id, set()).issuperset(self._routes.get(event.name, ())):
                    settled.append(event.id)
                else:
                    log.warning("event_sent_again", event_id=event.id, event_name=event.name, attempts=event.attempts)
                    again.append(event)
            self._send_all((event, done.get(event.id, set())) for event in again)
            mark_settled(session, settled, now)
            mark_dispatched(session, [event.id for event in again], now)
            return len(again)

    def _send_all(self, events: Iterable[tuple[OutboxEvent, set[str]]]) -> int:
        """Each event to those of its tasks that have not done it; returns to how many a set of events went."""
        sets: dict[str, list[int]] = {}
        for event, done in events:
            for task in self._routes.get(event.name, ()):
                if task in done:
                    continue
                if task in self._together:
                    sets.setdefault(task, []).append(event.id)
                else:
                    self._send(task, event.id)
        for task, ids in sets.items():
            self._send(task, ids)
        return len(sets)


def run(relay: Relay, wakeup: Wakeup, stop: StopSignal) -> None:
    """Until stopped. A lost database or queue is waited for; nothing is marked that was not sent."""
    checked = utc_now() - CHECK_EVERY
    failures = 0
    while not stop.is_set:
        try:
            taken = relay.dispatch(utc_now())
            if utc_now() - checked >= CHECK_EVERY:
                relay.check(utc_now())
                checked = utc_now()
        except (DBAPIError, BrokerError, RedisError, OSError) as error:
            failures += 1
            log.warning("relay_waits", error=f"{type(error).__name__}: {error}".splitlines()[0])
            stop.wait(random.uniform(0.1, min(0.2 * 2 ** min(failures, 10), BACKOFF_MAX_S)))  # noqa: S311  # jitter
            continue
        failures = 0
        if taken < BATCH:
            wakeup.wait(min(POLL_S, relay.gathers_s(utc_now()) or POLL_S), relay.patience_s)


def celery_sender() -> Send:
    from workers.app import app  # noqa: PLC0415  # tests of the relay need no queue

    def send(task: str, events: int | list[int]) -> None:
        app.send_task(task, args=[events])

    return send


def main() -> None:
    settings = Settings()
    logs.configure(settings, "relay")
    url = settings.database_url.get_secret_value()
    stop = StopSignal()
    stop.install()
    engine = create_engine_from(url, pool_size=1, max_overflow=1, name="voltbay-relay")
    wakeup = Wakeup(url, Channel.OUTBOX, stop)
    log.info("relay_started")
    run(Relay(engine, celery_sender()), wakeup, stop)
    wakeup.close()
    engine.dispose()
    log.info("relay_stopped")


if __name__ == "__main__":
    main()
