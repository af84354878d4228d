"""Statements that are asked thousands of times a second: built and compiled once, and handed to the driver.

SQLAlchemy builds, keys and unpacks a large statement anew at every call, which takes longer than PostgreSQL's answer.
"""

import re
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast
from uuid import UUID

import psycopg2
from sqlalchemy import (
    Compiled,
    CompoundSelect,
    Connection,
    Select,
    Table,
    TextClause,
    TextualSelect,
    UpdateBase,
    bindparam,
    event,
    inspect,
    select,
)
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.orm import DeclarativeBase, Session, SessionTransaction
from sqlalchemy.orm.util import identity_key
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.schema import ScalarElementColumnDefault
from sqlalchemy.types import TypeEngine

from fleet.common.plans import LATER, PLANNED
from fleet.common.roundtrips import as_sqlalchemy_has_it, flush_later

_Model = TypeVar("_Model", bound=DeclarativeBase)
DIALECT: Final = PGDialect_psycopg2()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
_Query = Select[*tuple[Any, ...]] | CompoundSelect[*tuple[Any, ...]] | TextualSelect | TextClause
_PLAIN: Final[Mapping[str, bool]] = {}
#: Lists of values are arrays here: SQLAlchemy would write a list as long as it is at every call.
_UNFINISHED: Final = "POSTCOMPILE"
#: In a session's `info`: the connection of its transaction.
_CONNECTION: Final = "voltbay_connection"
_PLACE: Final = re.compile(r"%\((\w+)\)s")


class _Context(NamedTuple):
    """What listeners to statements look at."""

    execution_options: Mapping[str, bool]
    isinsert: bool = False
    isupdate: bool = False
    compiled: None = None


class _Compiled:
    """A statement as text for psycopg2, with what turns values into what the driver takes."""

    def __init__(self, compiled: SQLCompiler) -> None:
        self.sql, self.fixed = _text_of(compiled)
        self._to_driver = {
            name: process for name, bind in compiled.binds.items() if (process := _processor(bind.type)) is not None
        }

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        values = {**self.fixed, **given}
        for name, process in self._to_driver.items():
            values[name] = process(values[name])
        return values


class Prepared:
    """A SELECT, or a change of rows as `text`, in words for psycopg2. Its `bindparam`s are given at each call; other
    values are part of it.

    Rows hold what the driver gives: enumerations come as their values, times aware in the session's zone (UTC). Of a
    text only those columns have names that `columns()` says.
    """

    def __init__(self, statement: _Query, *, planned: bool = False) -> None:
        """`planned`: PostgreSQL plans it once as well. For what finds few rows by keys, whatever the values."""
        self._context = _Context(PLANNED if planned else _PLAIN)
        self._sql, self._fixed = _text_of(statement.compile(dialect=DIALECT))
        columns = () if isinstance(statement, TextClause) else statement.selected_columns
        self._make = _row_of(str(getattr(column, "name", "")) for column in columns)

    def apart(self, mark: str) -> tuple[str, dict[str, Any]]:
        """The statement and the values that are part of it, under names of their own: for one message of many."""
        names = {name: f"{name}_{mark}" for name in self._fixed}
        sql = _PLACE.sub(lambda found: f"%({names.get(found[1], found[1])})s", self._sql)
        return sql, {names[name]: value for name, value in self._fixed.items()}

    def all(self, session: Session, **values: Any) -> list[Any]:
        """Rows with their columns as attributes."""
        flush_later(session)  # as the session's own queries do: what was changed before is seen
        with _run(session, (self._sql,), {**self._fixed, **values}, self._context) as cursor:
            return [self._make(row) for row in cursor.fetchall()]

    def later(self, session: Session, *, certain: bool = False, **values: Any) -> None:
        """Have it done with the session's next statement: locks of rows that nobody looks at, rows that are changed.

        `certain`: it cannot be refused, and may wait across a savepoint.
        """
        flush_later(session)
        _run(session, (self._sql,), {**self._fixed, **values}, _THEN, certain=certain).close()


class Message:
    """Statements that go to PostgreSQL in one message, of which the last one is answered.

    For locks of rows that nobody looks at, and what is read behind them: each statement sees what was committed before
    it began, and so the last one what was committed before the locks were got.
    """

    def __init__(self, before: Sequence[Prepared], asked: Prepared) -> None:
        parts = [each.apart(str(number)) for number, each in enumerate((*before, asked))]
        self._sql = tuple(sql for sql, _ in parts)
        self._fixed = {name: value for _, fixed in parts for name, value in fixed.items()}

    def all(self, session: Session, **values: Any) -> list[tuple[Any, ...]]:
        """The rows of the last statement, as the driver has them. Values are of all statements."""
        flush_later(session)
        with _run(session, self._sql, {**self._fixed, **values}, _NOW) as cursor:
            return cast("list[tuple[Any, ...]]", cursor.fetchall())


def _text_of(compiled: Compiled) -> tuple[str, dict[str, Any]]:
    """The statement for psycopg2, and the values that are part of it. Raises ValueError for `IN` a list of values."""
    sql = str(compiled)
    if _UNFINISHED in sql:
        raise ValueError(f"a list of values in {sql}")
    binds = cast("SQLCompiler", compiled).binds
    return sql, {name: _plain(value) for name, value in compiled.params.items() if not binds[name].required}


def _row_of(names: Iterable[str]) -> Callable[[Iterable[Any]], Any]:
    make: Callable[..., Any] = namedtuple  # noqa: PYI024  # names that are known at runtime only
    return cast("Callable[[Iterable[Any]], Any]", make("Row", tuple(names), rename=True)._make)


class ByKey(Generic[_Model]):
    """`session.get` with its statement built once, planned once."""

    def __init__(self, model: type[_Model]) -> None:
        (key,) = inspect(model).primary_key
        self._model = model
        self._query = select(model).where(key == bindparam("key", type_=key.type)).execution_options(**PLANNED)

    def get(self, session: Session, key: UUID | int) -> _Model | None:
        """The object as the session knows it, else as the database has it."""
        known = session.identity_map.get(identity_key(self._model, key))
        if known is not None and not inspect(known).expired_attributes:
            return known
        return session.scalars(self._query, {"key": key}).one_or_none()


def table_of(model: type[DeclarativeBase]) -> Table:
    """The table behind a model: its statements, with `write`, make rows that are no objects of the session."""
    return cast("Table", model.__table__)


def write(session: Session, statement: UpdateBase, values: Mapping[str, Any], *, flush: bool = True) -> Any:
    """Run an INSERT or UPDATE of a table that was built once, with these values, in the session's transaction.

    Returns the first value that it returns, None when it returns no row. A tenth of the work of an object, for rows
    that nobody changes again in the same transaction. `flush` False: it refers to nothing that the session still has
    to write.
    """
    if flush:
        flush_later(session)
    compiled = _compiled(statement, tuple(values))
    with _run(session, (compiled.sql,), compiled.values(values), _NOW) as cursor:
        row = cursor.fetchone() if cursor.description else None
    return None if row is None else row[0]


def write_later(session: Session, statement: UpdateBase, values: Mapping[str, Any], *, flush: bool = True) -> None:
    """`write` for rows that can only be refused because of a bug: they go with the session's next statement.

    An INSERT whose table makes a key must be `inline()`, so that it does not return one.
    """
    if flush:
        flush_later(session)
    compiled = _compiled(statement, tuple(values))
    _run(session, (compiled.sql,), compiled.values(values), _THEN).close()


def say(session: Session, command: str) -> None:
    """A command without values and without an answer, as SAVEPOINT."""
    _run(session, (command,), _PLAIN, _Context(_PLAIN)).close()


_NOW: Final = _Context(PLANNED)
_THEN: Final = _Context(LATER)


def _run(
    session: Session,
    statements: tuple[str, ...],
    values: Mapping[str, Any],
    context: _Context,
    *,
    certain: bool = False,
) -> Any:
    """The driver's cursor after the statements, which are one message. Raises what SQLAlchemy would."""
    connection = _connection(session)
    cursor: Any = connection.connection.cursor()
    texts = []
    try:
        for sql in statements:
            for heard in connection.dispatch.before_cursor_execute:
                sql, values = heard(connection, cursor, sql, values, context, False)  # noqa: PLW2901  # as SQLAlchemy does
            texts.append(sql)
        if certain:
            cursor.certain = True
        cursor.execute(";".join(texts), values)
    except psycopg2.Error as error:
        raise as_sqlalchemy_has_it(connection, ";".join(statements), dict(values), error) from error
    return cursor


def _connection(session: Session) -> Connection:
    """`session.connection()`, which takes its time to find the same one as long as a transaction lasts."""
    if session.in_nested_transaction():
        return session.connection()  # it says SAVEPOINT when it is asked first
    known: Connection | None = session.info.get(_CONNECTION)
    if known is None:
        known = session.info[_CONNECTION] = session.connection()
    return known


@event.listens_for(Session, "after_transaction_end")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_CONNECTION, None)


@cache
def _compiled(statement: UpdateBase, names: tuple[str, ...]) -> _Compiled:
    """Statements are constants of modules: there are a few dozen."""
    compiled = statement.compile(dialect=DIALECT, column_keys=list(names))
    found = _Compiled(compiled)
    for column in (*compiled.insert_prefetch, *compiled.update_prefetch):
        default = column.default if compiled.isinsert else column.onupdate
        if not isinstance(default, ScalarElementColumnDefault):
            raise TypeError(f"{column} must be given: its default is not a constant")
        found.fixed[column.key] = _plain(default.arg)
    return found


def _processor(type_: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    return type_.dialect_impl(DIALECT).bind_processor(DIALECT)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
