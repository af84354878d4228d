"""The slots and banks that one event is about are found by indexes, however many there are elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from fleet.common.bulk import raw_cursor
from fleet.stations import plain_inventories
from fleet.stations.picture import look
from tests.factories import add_banks, add_station


@contextmanager
def asked(session: Session) -> Iterator[list[tuple[str, Any]]]:
    """Statements and their values, as they were before they were planned."""
    found: list[tuple[str, Any]] = []

    def note(_c: object, _u: object, sql: str, values: Any, *_: object) -> None:
        found.append((sql, values))

    connection = session.connection()
    event.listen(connection, "before_cursor_execute", note)
    yield found
    event.remove(connection, "before_cursor_execute", note)


def scans(session: Session, sql: str, values: Any) -> list[str]:
    """Where the plan reads a whole table although it would rather not."""
    with raw_cursor(session) as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {sql}", values)
        return [row[0].strip() for row in cursor.fetchall() if "Seq Scan" in row[0]]


def test_an_event_looks_at_its_own_slots_only(session: Session, now: datetime) -> None:
    station = add_station(session, now, "A")
    add_banks(session, now, ["P1"])
    looks: list[Callable[[], object]] = [
        lambda: look(session, station.id, {1}, ["P1"], now),
        lambda: look(session, station.id, None, ["P1"], now),
    ]
    for each in looks:
        with asked(session) as statements:
            each()
        assert ["FOR NO KEY UPDATE" in sql for sql, _ in statements] == [True, True, False]
        for sql, values in statements:
            assert scans(session, sql, values) == []


def test_inventories_of_many_look_at_their_own_slots_only(session: Session, now: datetime) -> None:
    values = {"stations": "{1,2}", "serials": "{P1}", "held": "{1}", "banks": "{1}"}
    for sql in (plain_inventories._LOCK_SLOTS, plain_inventories._LOCK_BANKS, plain_inventories._MOVED):
        assert scans(session, sql, values) == []
