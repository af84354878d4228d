"""What bulk statements share: the driver's cursor inside a session's transaction, arrays as text, COPY.

A list bound as a parameter is quoted element by element; one text literal cast to an array costs a fraction of it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy.orm import Session


def raw_cursor(session: Session) -> Any:
    """A psycopg2 cursor in the session's own transaction; the caller closes it (`with`)."""
    return session.connection().connection.cursor()


def array(values: Iterable[int | None]) -> str:
    """Numbers as an array literal, for a parameter that the statement casts: `%s::bigint[]`."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def booleans(values: Iterable[bool | None]) -> str:
    return "{" + ",".join(["NULL" if value is None else "t" if value else "f" for value in values]) + "}"


def instants(values: Iterable[datetime | None]) -> str:
    """Aware instants as an array literal, for `%s::timestamptz[]`."""
    return "{" + ",".join(["NULL" if value is None else f'"{value.isoformat()}"' for value in values]) + "}"


def words(values: Iterable[str]) -> str:
    """Texts as an array literal, for `%s::text[]`."""
    return "{" + ",".join(['"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values]) + "}"


class _Lines:
    """Lines as the file that COPY reads: the next ones are made while PostgreSQL still takes those before."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)

    def read(self, _size: int) -> bytes:
        chunk = list(islice(self._lines, 1000))
        return ("\n".join(chunk) + "\n").encode() if chunk else b""


def copy_lines(cursor: Any, table: str, columns: Sequence[str], lines: Iterable[str], *, null: str = "\\N") -> None:
    """COPY tab-separated lines (PostgreSQL's text format, no line ends; `null` stands for NULL) into `table`."""
    cursor.copy_expert(f"COPY {table} ({', '.join(columns)}) FROM STDIN (NULL '{null}')", _Lines(lines))
