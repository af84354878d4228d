import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

import pytest
from kombu.exceptions import OperationalError
from sqlalchemy import Engine, func, select

from fleet.common.models import OutboxEvent
from fleet.common.notify import Channel
from fleet.common.outbox import DomainEvent, first_time, first_times, publish, publish_all
from fleet.db import session_scope
from tests.databases import Database
from tests.workers.conftest import Queue
from workers.relay import BATCH, GATHER_S, PATIENCE, SLOWEST, TOGETHER_EVERY, Relay, run
from workers.wakeup import StopSignal, Wakeup

ROUTES = {"test.Happened": ("test.one", "test.two")}


@dataclass(frozen=True)
class Happened(DomainEvent):
    name: ClassVar[str] = "test.Happened"
    number: int


@dataclass(frozen=True)
class Unheard(DomainEvent):
    name: ClassVar[str] = "test.Unheard"


def publish_one(engine: Engine, event: DomainEvent, now: datetime) -> int:
    with session_scope(engine) as session:
        publish(session, event, now)
        session.flush()
        return session.scalars(select(func.max(OutboxEvent.id))).one()


def events(engine: Engine) -> list[OutboxEvent]:
    with session_scope(engine) as session:
        return list(session.scalars(select(OutboxEvent).order_by(OutboxEvent.id)))


def until(true: Callable[[], bool], limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


class Recorder:
    """A queue that remembers, for what is about the relay's own books."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self.sets: list[tuple[str, list[int]]] = []

    def __call__(self, task: str, events: int | list[int]) -> None:
        if isinstance(events, int):
            self.sent.append((task, events))
        else:
            self.sets.append((task, events))


def test_event_becomes_one_task_per_consumer(clean_database: Database, queue: Queue, now: datetime) -> None:
    publish_one(clean_database.engine, Happened(1), now)
    relay = Relay(clean_database.engine, queue.send, ROUTES)
    assert relay.dispatch(now) == 1
    assert relay.dispatch(now) == 0
    assert queue.length() == 2
    event = events(clean_database.engine)[0]
    assert (event.dispatched_at, event.settled_at, event.attempts) == (now, None, 1)


def test_event_without_consumers_is_settled_at_once(clean_database: Database, now: datetime) -> None:
    publish_one(clean_database.engine, Unheard(), now)
    recorder = Recorder()
    Relay(clean_database.engine, recorder, ROUTES).dispatch(now)
    assert recorder.sent == []
    assert events(clean_database.engine)[0].settled_at == now


def test_queue_away_marks_nothing_and_later_loses_nothing(
    clean_database: Database, queue: Queue, now: datetime
) -> None:
    for number in range(5):
        publish_one(clean_database.engine, Happened(number), now)
    relay = Relay(clean_database.engine, queue.send, ROUTES)
    queue.service.kill()
    with pytest.raises(OperationalError):
        relay.dispatch(now)
    assert all(event.dispatched_at is None for event in events(clean_database.engine))
    queue.service.start()
    assert relay.dispatch(now) == 5
    assert queue.length() == 10


def test_crash_between_send_and_mark_only_repeats(clean_database: Database, now: datetime) -> None:
    publish_one(clean_database.engine, Happened(1), now)
    recorder = Recorder()

    def dies(task: str, events: int | list[int]) -> None:
        recorder(task, events)
        if task == "test.two":
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        Relay(clean_database.engine, dies, ROUTES).dispatch(now)
    Relay(clean_database.engine, recorder, ROUTES).dispatch(now)
    assert [task for task, _ in recorder.sent] == ["test.one", "test.two"] * 2


def test_what_redis_forgot_is_sent_again_to_those_who_did_not_note_it(
    clean_database: Database, queue: Queue, now: datetime
) -> None:
    event_id = publish_one(clean_database.engine, Happened(1), now)
    relay = Relay(clean_database.engine, queue.send, ROUTES)
    relay.dispatch(now)
    with session_scope(clean_database.engine) as session:
        assert first_time(session, event_id, "test.one", now)
    queue.forget_everything()
    assert relay.check(now + PATIENCE / 2) == 0
    assert relay.check(now + PATIENCE * 1.1) == 1
    assert queue.length() == 1  # test.two only


def test_processed_event_is_settled(clean_database: Database, now: datetime) -> None:
    event_id = publish_one(clean_database.engine, Happened(1), now)
    relay = Relay(clean_database.engine, Recorder(), ROUTES)
    relay.dispatch(now)
    with session_scope(clean_database.engine) as session:
        for consumer in ROUTES["test.Happened"]:
            first_time(session, event_id, consumer, now)
    later = now + PATIENCE * 1.1
    assert relay.check(later) == 0
    assert events(clean_database.engine)[0].settled_at == later


def test_patience_doubles_up_to_a_limit_and_never_ends(clean_database: Database, now: datetime) -> None:
    publish_one(clean_database.engine, Happened(1), now)
    relay = Relay(clean_database.engine, Recorder(), ROUTES)
    relay.dispatch(now)
    sent_at, waits = now, []
    for _ in range(12):
        wait = timedelta(seconds=1)
        while relay.check(sent_at + wait) == 0:
            wait *= 1.25
        sent_at += wait
        waits.append(wait)
    assert waits[1] > waits[0]
    assert waits[3] > waits[1]
    assert SLOWEST <= waits[-1] <= SLOWEST * 1.3


ALIKE = {"test.Happened": ("test.set",), "test.Unheard": ("test.set", "test.one")}


def test_events_that_are_taken_together_go_as_one_task(clean_database: Database, now: datetime) -> None:
    ids = [publish_one(clean_database.engine, Happened(number), now) for number in range(4)]
    ids.append(publish_one(clean_database.engine, Unheard(), now))
    recorder = Recorder()
    Relay(clean_database.engine, recorder, ALIKE, {"test.set"}).dispatch(now)
    assert recorder.sets == [("test.set", ids)]
    assert recorder.sent == [("test.one", ids[-1])]


def test_the_first_is_sent_at_once_and_what_follows_is_gathered(clean_database: Database, now: datetime) -> None:
    recorder = Recorder()
    relay = Relay(clean_database.engine, recorder, ALIKE, {"test.set"})
    first = publish_one(clean_database.engine, Happened(0), now)
    assert relay.dispatch(now) == 1
    following = [publish_one(clean_database.engine, Happened(number), now) for number in range(1, 3)]
    urgent = publish_one(clean_database.engine, Unheard(), now)
    soon = now + TOGETHER_EVERY / 2
    assert relay.dispatch(soon) == 1  # the one that somebody else waits for as well
    assert relay.gathers_s(soon) == (TOGETHER_EVERY / 2).total_seconds()
    assert relay.dispatch(now - timedelta(hours=1)) == 2  # the clock was set back: they do not wait for an hour
    assert recorder.sets == [("test.set", [first]), ("test.set", [urgent]), ("test.set", following)]
    assert recorder.sent == [("test.one", urgent)]
    assert relay.gathers_s(now + timedelta(hours=1)) is None


def test_a_backlog_is_not_gathered(clean_database: Database, now: datetime) -> None:
    with session_scope(clean_database.engine) as session:
        publish_all(session, [Happened(number) for number in range(2 * BATCH + 1)], now)
    recorder = Recorder()
    relay = Relay(clean_database.engine, recorder, ALIKE, {"test.set"})
    assert [relay.dispatch(now) for _ in range(3)] == [BATCH, BATCH, 1]
    assert [len(ids) for _, ids in recorder.sets] == [BATCH, BATCH, 1]


def test_of_a_set_only_what_was_not_done_is_sent_again(clean_database: Database, now: datetime) -> None:
    ids = [publish_one(clean_database.engine, Happened(number), now) for number in range(3)]
    recorder = Recorder()
    relay = Relay(clean_database.engine, recorder, ALIKE, {"test.set"})
    relay.dispatch(now)
    with session_scope(clean_database.engine) as session:
        assert first_times(session, [ids[1]], "test.set", now) == [ids[1]]
    assert relay.check(now + PATIENCE * 1.1) == 2
    assert recorder.sets == [("test.set", ids), ("test.set", [ids[0], ids[2]])]


def test_two_relays_at_once_send_every_event_once(clean_database: Database, now: datetime) -> None:
    for number in range(300):
        publish_one(clean_database.engine, Happened(number), now)
    recorder = Recorder()

    def work() -> None:
        relay = Relay(clean_database.engine, recorder, ROUTES)
        while relay.dispatch(now):
            pass

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One that found every row locked may have stopped early; what is left is taken now.
    work()
    assert len(recorder.sent) == len(set(recorder.sent)) == 600


def test_running_relay_is_woken_by_notify(
    clean_database: Database, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = StopSignal()
    recorder = Recorder()
    wakeup = Wakeup(clean_database.url, Channel.OUTBOX, stop)
    relay = Relay(clean_database.engine, recorder, ROUTES)
    thread = threading.Thread(target=run, args=(relay, wakeup, stop))
    thread.start()
    try:
        until(lambda: _listens(clean_database.engine))
        # From its next look on it waits for an hour, unless it is woken.
        monkeypatch.setattr("workers.relay.POLL_S", 3600.0)
        for number in range(1, 6):
            publish_one(clean_database.engine, Happened(number), now)
            until(lambda number=number: len(recorder.sent) == 2 * number)  # type: ignore[misc]  # mypy and lambda defaults
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()


def test_what_nobody_waits_for_is_gathered_and_what_nobody_hears_of_wakes_nobody(
    clean_database: Database, now: datetime
) -> None:
    relay = Relay(clean_database.engine, Recorder(), {**ROUTES, "test.Slow": ("test.one",)}, unhurried=["test.Slow"])
    assert relay.patience_s("test.Happened") == 0
    assert relay.patience_s("") == 0  # from a process that does not say
    assert relay.patience_s("test.Slow") == GATHER_S
    assert relay.patience_s(Unheard.name) is None

    stop = StopSignal()
    wakeup = Wakeup(clean_database.url, Channel.OUTBOX, stop)
    wakeup.wait(0)  # listens from here on
    asked: list[str] = []

    def patience(name: str) -> float | None:
        asked.append(name)
        return None if name == Unheard.name else 0.0

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wakeup.wait, 3600.0, patience)
        publish_one(clean_database.engine, Unheard(), now)
        until(lambda: bool(asked))
        assert not waiting.done()
        publish_one(clean_database.engine, Happened(1), now)
        waiting.result(60)
    assert asked == [Unheard.name, Happened.name]
    wakeup.close()


def _listens(engine: Engine) -> bool:
    query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %%'"
    with engine.connect() as connection:
        return connection.exec_driver_sql(query).first() is not None


def test_relay_survives_a_cut_database_connection(clean_database: Database, now: datetime) -> None:
    stop = StopSignal()
    recorder = Recorder()
    relay = Relay(clean_database.engine, recorder, ROUTES)
    thread = threading.Thread(target=run, args=(relay, Wakeup(clean_database.url, Channel.OUTBOX, stop), stop))
    thread.start()
    try:
        publish_one(clean_database.engine, Happened(1), now)
        until(lambda: len(recorder.sent) == 2)
        with clean_database.engine.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        publish_one(clean_database.engine, Happened(2), now)
        # What was sent and could not be marked is sent again: cut at the wrong moment, the first one comes twice.
        until(lambda: len(set(recorder.sent)) == 4)
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()


def test_process_sends_what_waits_and_ends_by_sigterm(clean_database: Database, queue: Queue, now: datetime) -> None:
    publish_one(clean_database.engine, Unheard(), now)
    environment = {**os.environ, "DATABASE_URL": clean_database.url, "REDIS_URL": queue.service.url}
    with subprocess.Popen([sys.executable, "-m", "workers.relay"], env=environment) as process:
        try:
            until(lambda: events(clean_database.engine)[0].settled_at is not None)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
