"""Whose fault an error is: the message's, or the world's."""

from typing import Final

import psycopg2
from psycopg2.errors import ReadOnlySqlTransaction
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from firmware_protocol.errors import ProtocolError
from fleet.common.errors import FleetError

#: What the counters and dead letters call an error that nobody declared.
INTERNAL: Final = "internal"


def is_transient(error: BaseException) -> bool:
    """Another try may succeed: the database is away, or two transactions met (deadlock, lock timeout)."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, ReadOnlySqlTransaction):  # a replica that is to take over, and has not yet
        return True
    # Bulk statements go through the driver's own cursor, and their errors come as the driver's.
    return isinstance(error, OperationalError | InterfaceError | psycopg2.OperationalError | psycopg2.InterfaceError)


def code_of(error: BaseException) -> str:
    """A stable word for metrics and dead letters."""
    if isinstance(error, ProtocolError | FleetError):
        return error.code
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(error, DBAPIError) or isinstance(cause, psycopg2.Error):
        return f"database_{getattr(cause, 'pgcode', None) or 'error'}"
    return INTERNAL


def reason_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
