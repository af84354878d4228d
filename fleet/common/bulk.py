"""What bulk statements share: the driver's cursor inside a session's transaction, arrays as text, COPY.

A list bound as a parameter is quoted element by element; one text literal cast to an array costs a fraction of it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from io import BytesIO
from typing import Any, Final

import msgspec
from sqlalchemy.orm import Session

_JSON: Final = msgspec.json.Encoder()


def raw_cursor(session: Session) -> Any:
    """A psycopg2 cursor in the session's own transaction; the caller closes it (`with`)."""
    return session.connection().connection.cursor()


def array(values: Iterable[float | None]) -> str:
    """Numbers as an array literal, for a parameter that the statement casts: `%s::bigint[]`."""
    return _literal(values)


def booleans(values: Iterable[bool | None]) -> str:
    return _literal(values)


def instants(values: Iterable[datetime | None]) -> str:
    """Aware instants as an array literal, for `%s::timestamptz[]`."""
    return _literal(values)


def _literal(values: Iterable[object]) -> str:
    # An array of JSON without its brackets: the same numbers, null, true and quoted instants, written in C.
    return "{" + _JSON.encode(list(values))[1:-1].decode() + "}"


def words(values: Iterable[str | None]) -> str:
    """Texts as an array literal, for `%s::text[]`."""
    return "{" + ",".join(["NULL" if value is None else _quoted(value) for value in values]) + "}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def copy_lines(cursor: Any, table: str, columns: Sequence[str], lines: Iterable[str]) -> None:
    """COPY tab-separated lines (PostgreSQL's text format, no line ends) into `table`."""
    _copy(cursor, f"COPY {table} ({', '.join(columns)}) FROM STDIN", ("\n".join(lines) + "\n").encode())


def copy_binary(cursor: Any, table: str, columns: Iterable[str], rows: bytes) -> None:
    """COPY what `fleet.common.binary_copy` made into `table`; nothing when it is empty."""
    if rows:
        _copy(cursor, f"COPY {table} ({', '.join(columns)}) FROM STDIN WITH (FORMAT binary)", rows)


def _copy(cursor: Any, statement: str, rows: bytes) -> None:
    """All of it is handed over at once, so that the driver waits for PostgreSQL without holding up other threads."""
    cursor.copy_expert(statement, BytesIO(rows), max(1, len(rows)))
