"""Statements that PostgreSQL parses and plans once per connection, and not at every call.

Planning takes most of the time of a statement that finds one row by an index, and those are most of what a rental asks.
psycopg2 sends plain text, so this is PREPARE and EXECUTE written out. Only where it is asked for, and for the rows that
a session writes: in a prepared statement a value has the type that its place gives it, and a place that gives none
(`SELECT :value`) would be text.
"""

import re
from typing import Any, Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import ExecutionContext
from sqlalchemy.sql.compiler import SQLCompiler

#: Execution option: `statement.execution_options(**PLANNED)`.
PLANNED: Final = {"voltbay_planned": True}
_OPTION: Final = "voltbay_planned"
#: Execution option: planned, and sent with what comes next, because nobody needs its answer.
LATER: Final = {**PLANNED, "voltbay_later": True}
_LATER: Final = "voltbay_later"
#: Shapes of statements remembered per connection; what comes after them is sent as text.
MOST: Final = 400
#: SQLAlchemy runs what a session writes with the mapper's own cache.
_UNIT_OF_WORK: Final = "compiled_cache"
_PLACE: Final = re.compile(r"%\((\w+)\)s|%%")


def plan_once(engine: Engine) -> None:
    """Have the engine's connections do it. Needs connections of one's own: no pooler between statements."""

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def _execute(  # noqa: PLR0917  # SQLAlchemy's order
        connection: Connection, cursor: Any, statement: str, parameters: Any, context: ExecutionContext, many: bool
    ) -> tuple[str, Any]:
        if many or not isinstance(parameters, dict):
            return statement, parameters
        if not _wanted(context):
            return _marked(cursor, context, statement, parameters)
        known: dict[str, str] = connection.connection.info.setdefault(_OPTION, {})
        call = known.get(statement)
        if call is None:
            if len(known) >= MOST:
                return _marked(cursor, context, statement, parameters)
            text, call = _prepared(statement, f"vb_{len(known)}")
            cursor.execute(text)
            known[statement] = call
        return _marked(cursor, context, call, parameters)


def _marked(cursor: Any, context: ExecutionContext, statement: str, parameters: Any) -> tuple[str, Any]:
    if _may_wait(context):
        cursor.later = True
    return statement, parameters


def _wanted(context: ExecutionContext) -> bool:
    options = context.execution_options
    return _OPTION in options or (_UNIT_OF_WORK in options and (context.isinsert or context.isupdate))


def _may_wait(context: ExecutionContext) -> bool:
    """Whether nobody needs the answer now: rows that a session writes wait for the last of the same flush."""
    options = context.execution_options
    if _LATER in options:
        return True
    writes = _UNIT_OF_WORK in options and (context.isinsert or context.isupdate)
    return writes and isinstance(context.compiled, SQLCompiler) and not context.compiled.effective_returning


def _prepared(statement: str, name: str) -> tuple[str, str]:
    """PREPARE for the server, and EXECUTE for psycopg2, which fills in the values."""
    places: dict[str, int] = {}

    def numbered(found: re.Match[str]) -> str:
        key = found[1]
        return "%" if key is None else f"${places.setdefault(key, len(places) + 1)}"

    text = f"PREPARE {name} AS {_PLACE.sub(numbered, statement)}"
    values = ", ".join(f"%({key})s" for key in places)
    return text, f"EXECUTE {name}({values})" if places else f"EXECUTE {name}"
