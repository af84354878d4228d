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


def words(values: Iterable[str]) -> str:
    """Texts as an array literal, for `%s::text[]`."""
    return "{" + ",".join(['"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values]) + "}"


def copy_lines(cursor: Any, table: str, columns: Sequence[str], lines: Iterable[str]) -> None:
    """COPY tab-separated lines (PostgreSQL's text format, no line ends) into `table`."""
    copy_text(cursor, table, columns, ("\n".join(lines) + "\n").encode())


def copy_text(cursor: Any, table: str, columns: Sequence[str], rows: bytes, options: str = "") -> None:
    """COPY rows in PostgreSQL's text format into `table`; `options` as WITH (…) takes them.

    All of it is handed over at once, so that the driver waits for PostgreSQL without holding up other threads.
    """
    with_options = f" WITH ({options})" if options else ""
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN{with_options}"
    cursor.copy_expert(statement, BytesIO(rows), max(1, len(rows)))
