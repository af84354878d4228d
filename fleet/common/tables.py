"""Rows as CSV, a piece at a time: what is exported need not fit into memory."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, true
from sqlalchemy.orm import InstrumentedAttribute, Session

#: A query whose columns are named as they are exported.
Table = Select[*tuple[Any, ...]]
#: Rows that come out together.
AT_ONCE: Final = 1000
#: A cell that begins so is a formula to a spreadsheet.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Span:
    """From `since` up to, and without, `until`; None: open at that side."""

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, at: InstrumentedAttribute[datetime]) -> ColumnElement[bool]:
        begun = true() if self.since is None else at >= self.since
        return and_(begun, true() if self.until is None else at < self.until)


def table(session: Session, query: Table) -> Iterator[str]:
    """What a query finds, under the names of its columns."""
    rows = session.execute(query.execution_options(yield_per=AT_ONCE))
    return lines(list(rows.keys()), (list(row) for row in rows))


def lines(heading: list[str], rows: Iterable[list[Any]]) -> Iterator[str]:
    """RFC 4180. A text that a spreadsheet would take for a formula begins with an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(heading)
    for count, row in enumerate(rows, start=1):
        writer.writerow([_cell(value) for value in row])
        if count % AT_ONCE == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
