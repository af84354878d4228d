"""Statements that are asked thousands of times a second: built and compiled once.

SQLAlchemy builds, keys and unpacks a large statement anew at every call, which takes longer than PostgreSQL's answer.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, Generic, TypeVar, cast
from uuid import UUID

from sqlalchemy import CursorResult, Executable, Row, Select, Table, bindparam, inspect, select
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.orm.util import identity_key

from fleet.common.plans import PLANNED

_Model = TypeVar("_Model", bound=DeclarativeBase)
_DIALECT: Final = PGDialect_psycopg2()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


class Prepared:
    """A SELECT as text for psycopg2. Its `bindparam`s are given at each call; other values are part of it.

    Rows hold what the driver gives: enumerations come as their values, times aware in the session's zone (UTC).
    """

    def __init__(self, statement: Select[*tuple[Any, ...]], *, planned: bool = False) -> None:
        """`planned`: PostgreSQL plans it once as well. For what finds few rows by keys, whatever the values."""
        self._options = PLANNED if planned else {}
        compiled = statement.compile(dialect=_DIALECT)
        self._sql = str(compiled)
        self._fixed: Mapping[str, Any] = {
            name: value.value if isinstance(value, Enum) else value for name, value in compiled.params.items()
        }

    def all(self, session: Session, **values: Any) -> list[Row[*tuple[Any, ...]]]:
        session.flush()  # as the session's own queries do: what was changed before is seen
        return list(session.connection().exec_driver_sql(self._sql, {**self._fixed, **values}, self._options))


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


def write(
    session: Session, statement: Executable, values: Mapping[str, Any], *, flush: bool = True
) -> CursorResult[Any]:
    """Run an INSERT or UPDATE of a table that was built once, with these values, in the session's transaction.

    A quarter of the work of an object, for rows that nobody changes again in the same transaction. `flush` False: it
    refers to nothing that the session still has to write.
    """
    if flush:
        session.flush()
    return session.connection().execute(statement, values, execution_options=PLANNED)
