"""What is published leaves with its transaction or not at all. The relay's side is in tests/workers."""

import select as io
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar
from uuid import UUID

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.common import outbox
from fleet.common.models import OutboxEvent
from fleet.common.notify import Channel, notify
from fleet.common.outbox import DomainEvent, publish
from fleet.db import new_id, session_scope
from tests.databases import Database
from tests.fleet.payments.conftest import NOW


@dataclass(frozen=True)
class Happened(DomainEvent):
    name: ClassVar[str] = "test.Happened"
    user_id: UUID
    count: int
    at: object = NOW


def listen(database: Database) -> connection:
    listener = psycopg2.connect(database.url)
    listener.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    with listener.cursor() as cursor:
        cursor.execute(f"LISTEN {Channel.OUTBOX}")
    return listener


def heard(listener: connection, seconds: float) -> int:
    io.select([listener], [], [], seconds)
    listener.poll()
    count = len(listener.notifies)
    listener.notifies.clear()
    return count


def test_an_event_is_plain_json() -> None:
    user = new_id()
    assert Happened(user, 3).payload() == {"user_id": str(user), "count": 3, "at": "2026-11-23T12:00:00+00:00"}


def test_events_and_their_wake_up_leave_with_the_commit(clean_database: Database) -> None:
    listener = listen(clean_database)
    with session_scope(clean_database.engine) as session:
        for number in range(3):
            publish(session, Happened(new_id(), number), NOW)
        session.flush()
        assert heard(listener, 0.2) == 0
    assert heard(listener, 5) == 1  # three equal notifications of one transaction are one
    with session_scope(clean_database.engine) as session:
        waiting = outbox.claim_waiting(session, 10)
        assert [event.payload["count"] for event in waiting] == [0, 1, 2]
    listener.close()


def test_what_is_rolled_back_never_happened(clean_database: Database) -> None:
    listener = listen(clean_database)
    with Session(clean_database.engine) as session:
        publish(session, Happened(new_id(), 1), NOW)
        session.flush()
        session.rollback()
    assert heard(listener, 0.3) == 0
    with session_scope(clean_database.engine) as session:
        assert session.scalar(select(func.count()).select_from(OutboxEvent)) == 0
    listener.close()


def test_notifications_carry_ids_and_odd_characters(clean_database: Database) -> None:
    listener = listen(clean_database)
    with session_scope(clean_database.engine) as session:
        notify(session, Channel.OUTBOX, "it's: 100% 'quoted' :name")
    io.select([listener], [], [], 5)
    listener.poll()
    assert [note.payload for note in listener.notifies] == ["it's: 100% 'quoted' :name"]
    listener.close()


def test_settled_events_are_forgotten_with_their_consumers_notes(clean_database: Database) -> None:
    with session_scope(clean_database.engine) as session:
        for number in range(3):
            publish(session, Happened(new_id(), number), NOW)
        session.flush()
        ids = [event.id for event in outbox.claim_waiting(session, 10)]
        assert outbox.first_time(session, ids[0], "one", NOW)
        assert not outbox.first_time(session, ids[0], "one", NOW)
        assert outbox.first_time(session, ids[0], "two", NOW)
        assert outbox.consumers_done(session, ids) == {ids[0]: {"one", "two"}}
        outbox.mark_settled(session, ids[:2], NOW)
        assert outbox.forget_settled(session, NOW, 10) == 0
        assert outbox.forget_settled(session, NOW + timedelta(seconds=1), 1) == 1
        assert outbox.forget_settled(session, NOW + timedelta(seconds=1), 10) == 1
        assert outbox.consumers_done(session, ids) == {}
