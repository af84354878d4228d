from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.common.models import OutboxEvent, ProcessedEvent
from fleet.db import session_scope
from fleet.users.models import SandboxMessage
from tests.databases import Database
from workers.consumers import consume, consume_outside, consume_together


def event(database: Database, now: datetime) -> int:
    with session_scope(database.engine) as session:
        row = OutboxEvent(name="test.Happened", payload={"number": 7}, created_at=now)
        session.add(row)
        session.flush()
        return row.id


def write(session: Session, payload: dict[str, Any], now: datetime) -> None:
    session.add(SandboxMessage(destination="x@y.ch", body=str(payload["number"]), sent_at=now))


def messages(database: Database) -> int:
    with session_scope(database.engine) as session:
        return session.scalars(select(func.count()).select_from(SandboxMessage)).one()


def noted(database: Database) -> list[str]:
    with session_scope(database.engine) as session:
        return list(session.scalars(select(ProcessedEvent.consumer).order_by(ProcessedEvent.consumer)))


def test_event_is_consumed_once_by_each_consumer(worker: Database, now: datetime) -> None:
    event_id = event(worker, now)
    assert consume("one", write, event_id, now)
    assert not consume("one", write, event_id, now)
    assert consume("two", write, event_id, now)
    assert messages(worker) == 2
    assert noted(worker) == ["one", "two"]


def test_twenty_deliveries_at_once_do_the_work_once(worker: Database, now: datetime) -> None:
    event_id = event(worker, now)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: consume("one", write, event_id, now), range(20)))
    assert done.count(True) == 1
    assert messages(worker) == 1


def test_failed_work_is_not_noted_and_can_be_done_again(worker: Database, now: datetime) -> None:
    event_id = event(worker, now)

    def fails(session: Session, payload: dict[str, Any], at: datetime) -> None:
        write(session, payload, at)
        session.flush()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        consume("one", fails, event_id, now)
    assert messages(worker) == 0
    assert noted(worker) == []
    assert consume("one", write, event_id, now)


def test_event_that_is_gone_is_no_work(worker: Database, now: datetime) -> None:
    assert not consume("one", write, 4711, now)
    assert messages(worker) == 0


def write_all(session: Session, payloads: Sequence[dict[str, Any]], now: datetime) -> None:
    for payload in payloads:
        write(session, payload, now)


def test_of_a_set_each_event_is_consumed_once(worker: Database, now: datetime) -> None:
    ids = [event(worker, now) for _ in range(3)]
    assert consume_together("set", write_all, ids[:2], now) == 2
    assert consume_together("set", write_all, [*ids, ids[2], 4711], now) == 1
    assert consume_together("set", write_all, ids, now) == 0
    assert messages(worker) == 3


def test_sets_that_overlap_at_once_do_the_work_once(worker: Database, now: datetime) -> None:
    ids = [event(worker, now) for _ in range(10)]
    with ThreadPoolExecutor(4) as pool:
        sets = [[*ids[number:], *ids[:number]] for number in range(10)]
        done = list(pool.map(lambda these: consume_together("set", write_all, these, now), sets))
    assert sum(done) == 10
    assert messages(worker) == 10


def test_a_set_that_fails_is_not_noted_at_all(worker: Database, now: datetime) -> None:
    ids = [event(worker, now) for _ in range(2)]

    def fails(session: Session, payloads: Sequence[dict[str, Any]], at: datetime) -> None:
        write_all(session, payloads, at)
        session.flush()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        consume_together("set", fails, ids, now)
    assert messages(worker) == 0
    assert noted(worker) == []


def test_outside_work_is_noted_after_it_is_done(worker: Database, now: datetime) -> None:
    event_id = event(worker, now)
    calls: list[int] = []

    def ask(payload: dict[str, Any], at: datetime) -> None:
        calls.append(payload["number"])
        assert noted(worker) == []
        if len(calls) == 1:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        consume_outside("one", ask, event_id, now)
    assert consume_outside("one", ask, event_id, now)
    assert not consume_outside("one", ask, event_id, now)
    assert calls == [7, 7]
    assert noted(worker) == ["one"]
