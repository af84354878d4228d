"""What goes to PostgreSQL together, what that changes when something fails, and what must not change."""

from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from typing import Any

import psycopg2
import pytest
from psycopg2 import ProgrammingError
from psycopg2.errors import UniqueViolation
from sqlalchemy import Engine, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InternalError
from sqlalchemy.orm import Session

from fleet.common.models import ProcessedEvent
from fleet.common.plans import LATER
from fleet.common.prepared import table_of, write, write_later
from fleet.common.roundtrips import Connection, flush_later, may_be_lost, send
from fleet.db import session_scope
from tests.conftest import NOON
from tests.databases import Database

_INSERT = insert(table_of(ProcessedEvent))


@pytest.fixture
def engine(clean_database: Database) -> Engine:
    """With one connection in its pool, which has planned what is counted here."""
    with Session(clean_database.engine) as session:
        for event_id, consumer in ((1, "a"), (2, "b")):
            write_later(session, _INSERT, _row(event_id))
            session.add(ProcessedEvent(event_id=event_id, consumer=consumer + "b", processed_at=NOON))
            session.flush()
        session.scalars(select(ProcessedEvent)).first().processed_at = NOON.replace(year=2002)  # type: ignore[union-attr]
        session.flush()
        session.rollback()
    return clean_database.engine


@pytest.fixture
def driver(engine: Engine) -> Iterator[Connection]:
    connection = engine.raw_connection()
    assert isinstance(connection.driver_connection, Connection)
    yield connection.driver_connection
    connection.close()


def _row(event_id: int) -> dict[str, Any]:
    return {"event_id": event_id, "consumer": "a", "processed_at": NOON}


def _event(event_id: int) -> ProcessedEvent:
    return ProcessedEvent(**_row(event_id))


def _ids(engine: Engine) -> list[int]:
    with Session(engine) as session:
        return sorted(session.scalars(select(ProcessedEvent.event_id)))


def _trips(session: Session) -> int:
    driver = session.connection().connection.driver_connection
    assert isinstance(driver, Connection)
    return driver.round_trips


def test_begin_goes_with_the_first_statement_and_nothing_is_said_of_a_transaction_without_one(
    driver: Connection,
) -> None:
    before = driver.round_trips
    driver.commit()
    driver.rollback()
    with driver.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id_if_assigned(), txid_current()")
        cursor.execute("SELECT txid_current()")
        (second,) = cursor.fetchone() or (None,)
        cursor.execute("SELECT txid_current()")
        assert cursor.fetchone() == (second,), "both are in one transaction"
    driver.rollback()
    assert driver.round_trips - before == 4


def test_rows_that_wait_go_with_commit(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(select(1))
        before = _trips(session)
        for event_id in (1, 2):
            write_later(session, _INSERT, _row(event_id))
        assert _trips(session) == before
        driver = session.connection().connection.driver_connection
        session.commit()
    assert isinstance(driver, Connection)
    assert driver.round_trips - before == 1
    assert _ids(engine) == [1, 2]


def test_rows_that_wait_are_seen_by_the_next_statement(engine: Engine) -> None:
    with Session(engine) as session:
        write_later(session, _INSERT, _row(1))
        assert list(session.scalars(select(ProcessedEvent.event_id))) == [1]


def test_a_row_that_is_refused_with_commit_leaves_nothing(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(_event(1))
        session.commit()
        write(session, _INSERT, _row(2))
        write_later(session, _INSERT, _row(1))
        with pytest.raises(IntegrityError) as refused:
            session.commit()
        assert isinstance(refused.value.orig, UniqueViolation)
        session.rollback()
        assert list(session.scalars(select(ProcessedEvent.event_id))) == [1], "the connection is as good as before"


def test_what_waits_is_forgotten_with_its_transaction(engine: Engine) -> None:
    with Session(engine) as session:
        write_later(session, _INSERT, _row(1))
        session.rollback()
        session.execute(select(1))
        session.commit()
    assert _ids(engine) == []


def test_a_flush_is_one_message_and_fails_as_one(engine: Engine) -> None:
    with Session(engine) as session:
        first = _event(1)
        session.add(first)
        session.flush()
        before = _trips(session)
        first.processed_at = NOON.replace(year=2001)
        session.add(ProcessedEvent(event_id=1, consumer="b", processed_at=NOON))
        session.flush()
        assert _trips(session) - before == 1
        with pytest.raises(IntegrityError), session.begin_nested():
            session.execute(_INSERT, _row(1))
        session.expunge_all()
        session.add(_event(1))
        with pytest.raises(IntegrityError):
            session.flush()


def test_rows_of_flush_later_fail_in_the_next_flush(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(_INSERT, _row(1))
        session.add(_event(1))
        flush_later(session)
        session.add(_event(2))
        with pytest.raises(IntegrityError):
            session.flush()
        session.rollback()
    assert _ids(engine) == []


def test_send_has_it_done_now(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(_INSERT, _row(1))
        write_later(session, _INSERT, _row(1))
        with pytest.raises(IntegrityError):
            send(session)


def test_a_savepoint_goes_with_what_it_protects(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(_INSERT, _row(1))
        before = _trips(session)
        with pytest.raises(IntegrityError), session.begin_nested():
            write(session, _INSERT, _row(1))
        assert _trips(session) - before == 2, "the row that failed, and the way back"
        with session.begin_nested():
            session.execute(_INSERT, _row(2))
        assert _trips(session) - before == 3
        session.commit()
    assert _ids(engine) == [1, 2]


def test_what_waits_under_a_savepoint_goes_back_with_it_and_what_waited_before_does_not(engine: Engine) -> None:
    with Session(engine) as session:
        write_later(session, _INSERT, _row(1))
        for event_id, asked in ((2, False), (3, True)):
            nested = session.begin_nested()
            if asked:  # the server knows of the savepoint
                session.execute(select(1))
            write_later(session, _INSERT, _row(event_id))
            nested.rollback()
        session.commit()
    assert _ids(engine) == [1]


def test_what_waits_under_a_savepoint_is_refused_under_it(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(_INSERT, _row(1))
        with pytest.raises(DBAPIError), session.begin_nested():
            write_later(session, _INSERT, _row(1))


@pytest.mark.parametrize("of_an_object", [False, True])
def test_what_is_refused_when_a_savepoint_is_released_loses_nothing_else(engine: Engine, of_an_object: bool) -> None:
    with Session(engine) as session:
        kept, lost = _event(1), _event(1)
        session.add(kept)
        session.flush()

        def refused() -> None:
            with session.begin_nested():
                kept.processed_at = NOON.replace(year=2001)
                flush_later(session)
                if of_an_object:
                    session.expunge(kept)
                    session.add(lost)
                    flush_later(session)
                else:
                    write_later(session, _INSERT, _row(1))

        with pytest.raises(DBAPIError):
            refused()
        assert lost not in session
        session.execute(_INSERT, _row(2))
        session.commit()
        assert session.get_one(ProcessedEvent, (1, "a")).processed_at == NOON
    assert _ids(engine) == [1, 2]


def test_a_commit_that_stores_nothing_is_an_error(engine: Engine) -> None:
    """Whoever heard of what failed went on as if nothing were."""

    def going_on() -> None:
        with session_scope(engine) as session:
            session.execute(_INSERT, _row(1))
            with suppress(IntegrityError):
                write(session, _INSERT, _row(1))

    with pytest.raises(InternalError):
        going_on()
    with session_scope(engine) as session:  # the connection is good again
        session.execute(_INSERT, _row(2))
    assert _ids(engine) == [2]


def test_what_waits_before_a_savepoint_is_refused_before_it(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(_INSERT, _row(1))
        write_later(session, _INSERT, _row(1))
        nested = session.begin_nested()
        with pytest.raises(IntegrityError):
            session.execute(select(1))
        nested.rollback()
        with pytest.raises(InternalError):  # the whole transaction is lost, and not what was under the savepoint
            session.execute(select(1))


def test_copy_and_many_rows_keep_their_place(engine: Engine) -> None:
    with Session(engine) as session:
        write_later(session, _INSERT, _row(1))
        with session.connection().connection.cursor() as cursor:  # type: ignore[attr-defined]  # psycopg2's has it
            cursor.copy_expert("COPY processed_event FROM STDIN", StringIO("2\ta\t2026-01-01 00:00+00\n"))
            cursor.executemany(
                "INSERT INTO processed_event SELECT count(*) + %s, 'a', now() FROM processed_event", [(1,), (1,)]
            )
        session.commit()
    assert _ids(engine) == [1, 2, 3, 4]


def test_copy_takes_what_waits_with_it_and_is_refused_with_it(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(_INSERT, _row(1))
        driver: Any = session.connection().connection
        with driver.cursor() as cursor:
            before = driver.round_trips
            write_later(session, _INSERT, _row(2))
            cursor.copy_expert("COPY processed_event FROM STDIN", StringIO("3\ta\t2026-01-01 00:00+00\n"))
            assert driver.round_trips - before == 1
            cursor.execute("SAVEPOINT s")
            write_later(session, _INSERT, _row(2))
            with pytest.raises(UniqueViolation):
                cursor.copy_expert("COPY processed_event FROM STDIN", StringIO("4\ta\t2026-01-01 00:00+00\n"))
            cursor.execute("ROLLBACK TO SAVEPOINT s")
        session.commit()
    assert _ids(engine) == [1, 2, 3]


def test_a_cursor_of_the_server_s_sees_what_its_transaction_wrote(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(_INSERT, [_row(event_id) for event_id in range(25)])
        query = select(ProcessedEvent.event_id).order_by(ProcessedEvent.event_id)
        assert list(session.scalars(query.execution_options(yield_per=10))) == list(range(25))
        session.rollback()
    assert _ids(engine) == []


def test_autocommit_is_one_s_own_transaction_each(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM processed_event"))
        connection.execute(_INSERT, _row(1))
        assert _ids(engine) == [1]
    with Session(engine) as session:
        session.execute(_INSERT, _row(2))
        session.rollback()
    assert _ids(engine) == [1], "the connection begins transactions again"


def test_a_level_of_isolation_is_said_with_begin(engine: Engine) -> None:
    with Session(engine) as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        assert list(session.scalars(select(ProcessedEvent.event_id))) == []
        with Session(engine) as other:
            other.execute(_INSERT, _row(1))
            other.commit()
        assert list(session.scalars(select(ProcessedEvent.event_id))) == []


def test_nothing_of_a_transaction_can_be_changed_while_it_is_open(driver: Connection) -> None:
    with driver.cursor() as cursor:
        cursor.execute("SELECT 1")
    with pytest.raises(ProgrammingError):
        driver.autocommit = True
    driver.rollback()
    with pytest.raises(ProgrammingError):
        driver.set_session(readonly=True)


def test_a_connection_that_dies_is_replaced(engine: Engine) -> None:
    with Session(engine) as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        with Session(engine) as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        with pytest.raises(DBAPIError) as died:
            write(session, _INSERT, _row(1))
        assert died.value.connection_invalidated
        session.rollback()
        write(session, _INSERT, _row(2))
        session.commit()
    assert _ids(engine) == [2]


def test_a_transaction_may_do_without_the_disk_and_the_next_does_not(engine: Engine) -> None:
    with Session(engine) as session:
        may_be_lost(session)
        assert session.scalar(text("SHOW synchronous_commit")) == "off"
        session.commit()
        assert session.scalar(text("SHOW synchronous_commit")) == "on"


def test_later_is_for_statements_that_sqlalchemy_runs_as_well(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(select(1))
        before = _trips(session)
        session.connection().execute(_INSERT, _row(1), execution_options=LATER)
        assert _trips(session) == before
        session.commit()
    assert _ids(engine) == [1]


def test_other_connections_of_the_driver_are_as_they_were(clean_database: Database) -> None:
    connection = psycopg2.connect(clean_database.url)
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO processed_event VALUES (1, 'a', now())")
    connection.close()
    assert _ids(clean_database.engine) == [1]
