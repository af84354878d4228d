"""Fewer round trips to PostgreSQL: what needs no answer goes with the next statement that does.

BEGIN, SAVEPOINT, RELEASE and rows that nobody asks anything of wait in the connection and are put before the next
statement, in one message; so is COMMIT behind them. PostgreSQL runs such a message statement by statement in the same
transaction, stops at the first that fails and keeps what a savepoint before it protects. psycopg2 speaks no pipeline
mode, and a round trip costs both sides a wake-up, which is more than most of these statements take.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, cast

from psycopg2 import Error, ProgrammingError, errors, extensions
from sqlalchemy import Connection as Engines
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, UOWTransaction

_BEGIN: Final = b"BEGIN"
_SAVEPOINT: Final = "SAVEPOINT "
_RELEASE: Final = "RELEASE SAVEPOINT "
_BACK: Final = "ROLLBACK TO SAVEPOINT "
#: In a session's `info` while it writes rows that may wait.
WRITING_LATER: Final = "voltbay_keep"
_LEVELS: Final[Mapping[int | str | bytes | None, bytes]] = {
    None: _BEGIN,
    extensions.ISOLATION_LEVEL_DEFAULT: _BEGIN,
    extensions.ISOLATION_LEVEL_READ_COMMITTED: _BEGIN,
    extensions.ISOLATION_LEVEL_REPEATABLE_READ: b"BEGIN ISOLATION LEVEL REPEATABLE READ",
    extensions.ISOLATION_LEVEL_SERIALIZABLE: b"BEGIN ISOLATION LEVEL SERIALIZABLE",
}
_DRIVERS_AUTOCOMMIT: Final = cast("Any", extensions.connection.autocommit)


class Connection(extensions.connection):
    """psycopg2's, with the same transactions. The driver itself is in autocommit: BEGIN and COMMIT are said here."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        _DRIVERS_AUTOCOMMIT.__set__(self, True)
        self._alone = False
        self._begin = _BEGIN
        self._begun = False
        self._waiting: list[bytes] = []
        #: Whether rows are among what waits: these may be refused.
        self._rows_wait = False
        #: Messages sent so far.
        self.round_trips = 0

    @property
    def autocommit(self) -> bool:
        return self._alone

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self._refuse_within_transaction()
        self._alone = value

    def set_isolation_level(self, level: int | None) -> None:
        self._refuse_within_transaction()
        self._alone = level == extensions.ISOLATION_LEVEL_AUTOCOMMIT
        if not self._alone:
            self._begin = _LEVELS[level]

    def set_session(self, *args: Any, autocommit: bool | None = None, **options: Any) -> None:
        """Only `autocommit` may be given: what else it could set would be for transactions that psycopg2 begins."""
        if args or options or autocommit is None:
            raise ProgrammingError("set_session: only autocommit")
        self.autocommit = autocommit

    def cursor(self, name: str | bytes | None = None, *args: Any, **options: Any) -> Any:
        if name is None:
            return super().cursor(None, Cursor, *args, **options)
        # Nothing can be put before DECLARE, and psycopg2, which knows of no transaction, insists on WITH HOLD.
        self.open()
        return super().cursor(name, withhold=True, **options)

    def commit(self) -> None:
        if self._alone or not (self._begun or self._waiting):
            return
        with self.cursor() as cursor:
            cursor.execute("COMMIT")
            done = cursor.statusmessage
        self._begun = False
        if done != "COMMIT":
            # Something failed before, and whoever heard of it went on: nothing of the transaction is stored.
            raise errors.InFailedSqlTransaction(f"COMMIT of a transaction that had failed: {done}")

    def rollback(self) -> None:
        self._forget(0)
        if self._alone or not self._begun:
            return
        with self.cursor() as cursor:
            cursor.execute("ROLLBACK")
        self._begun = False

    def row_waits(self, statement: bytes, *, certain: bool) -> None:
        """Put `statement` before whatever is sent next in this transaction."""
        self._waiting.append(statement)
        self._rows_wait |= not certain

    def savepoint(self, name: str) -> None:
        if self._rows_wait:
            self.send()  # they are not under its protection, and must not fail as if they were
        self._waiting.append(_savepoint(name))

    def release(self, name: str) -> None:
        self._waiting.append(_RELEASE.encode() + name.encode())
        if not self._rows_wait:
            return
        try:
            self.send()
        except Error:
            # SQLAlchemy goes back to no savepoint whose release has failed, and the transaction would be lost.
            with suppress(Error), self.cursor() as cursor:
                cursor.execute(_BACK + name)
            raise

    def back_to(self, name: str) -> bool:
        """Forget what waits since the savepoint; whether the server knows of it and must be told."""
        known = _savepoint(name) not in self._waiting
        self._forget(0 if known else self._waiting.index(_savepoint(name)) + 1)
        return known

    def send(self) -> None:
        """Have what waits done now, so that what it fails with is raised here."""
        if self._waiting:
            last = self._waiting.pop()
            with self.cursor() as cursor:
                cursor.execute(last)

    def open(self) -> None:
        """For what cannot have anything put before it."""
        self.send()
        if not (self._alone or self._begun):
            with self.cursor() as cursor:
                cursor.execute("SELECT")  # of nothing, behind BEGIN

    def take(self) -> list[bytes]:
        """What must be put before the statement that is sent now."""
        self.round_trips += 1
        if self._alone:
            return []
        before, self._waiting, self._rows_wait = self._waiting, [], False
        if not self._begun:
            self._begun = True
            before.insert(0, self._begin)
        return before

    def _forget(self, kept: int) -> None:
        del self._waiting[kept:]
        self._rows_wait = False

    def _refuse_within_transaction(self) -> None:
        if self._begun:
            raise ProgrammingError("not while a transaction is open")


def _savepoint(name: str) -> bytes:
    return f"{_SAVEPOINT}{name}".encode()


class Cursor(extensions.cursor):
    """psycopg2's; `later` set before `execute` says that nobody wants the statement's answer, `certain` that it cannot
    be refused: then a savepoint need not come after it.
    """

    connection: Connection
    later = False
    certain = False
    _assumed: int | None = None

    @property
    def rowcount(self) -> int:
        """Of the last statement sent; one of a statement that waits: it names its row by key."""
        return int(cast("Any", extensions.cursor.rowcount).__get__(self)) if self._assumed is None else self._assumed

    def execute(self, query: Any, parameters: Any = None) -> None:
        self._assumed = None
        connection = self.connection
        if type(query) is str and query.startswith((_SAVEPOINT, _RELEASE, _BACK)) and self._moved(query):
            return
        if self.later and not connection.autocommit:
            connection.row_waits(self.mogrify(query, parameters), certain=self.certain)
            self._assumed = 1
            return
        statement = self.mogrify(query, parameters)
        before = connection.take()
        super().execute(b";".join((*before, statement)) if before else statement)

    def _moved(self, query: str) -> bool:
        """Savepoints; True when nothing is sent for this one now."""
        connection = self.connection
        if query.startswith(_SAVEPOINT):
            connection.savepoint(query.removeprefix(_SAVEPOINT))
        elif query.startswith(_RELEASE):
            connection.release(query.removeprefix(_RELEASE))
        else:
            return not connection.back_to(query.removeprefix(_BACK))
        return True

    def executemany(self, query: Any, parameters: Any) -> None:
        self.connection.open()
        super().executemany(query, parameters)

    def callproc(self, *args: Any, **options: Any) -> Any:
        self.connection.open()
        return super().callproc(*args, **options)

    def copy_expert(self, sql: Any, *args: Any, **options: Any) -> None:
        statement = self.mogrify(sql)
        super().copy_expert(b";".join((*self.connection.take(), statement)), *args, **options)

    def copy_from(self, *args: Any, **options: Any) -> None:
        self.connection.open()
        super().copy_from(*args, **options)

    def copy_to(self, *args: Any, **options: Any) -> None:
        self.connection.open()
        super().copy_to(*args, **options)


def send(session: Session) -> None:
    """Have what waits in the session's connection done now."""
    connection = session.connection()
    driver: object = connection.connection.dbapi_connection
    if isinstance(driver, Connection):
        try:
            driver.send()
        except Error as error:
            raise as_sqlalchemy_has_it(connection, None, None, error) from error


def as_sqlalchemy_has_it(connection: Engines, statement: str | None, values: Any, error: Error) -> DBAPIError:
    """The driver's error as SQLAlchemy raises it; a connection that died is not used again."""
    dead = bool(getattr(connection.connection.dbapi_connection, "closed", True))
    if dead:
        connection.invalidate(error)
    found = DBAPIError.instance(
        statement, values, error, Error, connection_invalidated=dead, dialect=connection.dialect
    )
    return cast("DBAPIError", found)


def flush_later(session: Session) -> None:
    """`session.flush()` for rows that what follows refers to: they go with the next statement or flush, and what the
    database refuses of them fails there.
    """
    session.info[WRITING_LATER] = True
    try:
        session.flush()
    finally:
        del session.info[WRITING_LATER]


def may_be_lost(session: Session) -> None:
    """The transaction is not worth waiting for the disk: a crash of PostgreSQL may take it back."""
    cursor: Any = session.connection().connection.cursor()
    with cursor:
        cursor.later = True
        cursor.execute("SET LOCAL synchronous_commit TO off")


@event.listens_for(Session, "after_flush")
def _flushed(session: Session, context: UOWTransaction) -> None:
    """The rows of one flush go together, and what the database refuses of them fails the flush."""
    del context
    if WRITING_LATER not in session.info:
        send(session)
