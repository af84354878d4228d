"""Statements that are asked thousands of times a second: built and compiled once.

SQLAlchemy builds, keys and unpacks a large statement anew at every call, which takes longer than PostgreSQL's answer.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from sqlalchemy import Row, Select
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.orm import Session

from fleet.common.plans import PLANNED

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
