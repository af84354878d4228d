"""What a session asks PostgreSQL, and how that is found."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from fleet.common.bulk import raw_cursor


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
