"""Wake-ups through PostgreSQL NOTIFY. They carry ids only, arrive after commit, and losing one loses only time."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class
from sqlalchemy import column, event, func, select, text
from sqlalchemy.orm import Session, SessionTransaction

from fleet import silence
from fleet.common.prepared import Prepared

#: Where a session keeps what it is to tell.
_WAITING: Final = "voltbay_notify"
_NOTIFY: Final = Prepared(
    select(func.pg_notify(column("channel"), column("payload"))).select_from(
        text("unnest(CAST(:channels AS text[]), CAST(:payloads AS text[])) AS v(channel, payload)")
    )
)


class Channel(StrEnum):
    #: A device command waits (payload: station id), or one that waited may be sent now (no payload).
    DEVICE_COMMAND = "vb_device_command"
    #: A device's credential changed: the broker must hear of it (no payload).
    CREDENTIAL = "vb_credential"
    #: An outbox event waits (payload: its name).
    OUTBOX = "vb_outbox"
    #: A rental changed (payload: rental id).
    RENTAL = "vb_rental"
    #: A station changed what its page shows (payload: station id).
    STATION = "vb_station"
    #: Configuration changed (payload: key).
    CONFIG = "vb_config"


def listening(url: str, name: str, channels: Iterable[Channel]) -> Connection:
    """A connection in autocommit that hears these channels, for whoever reads and closes it. Raises psycopg2.Error."""
    connection: Connection = psycopg2.connect(url, application_name=name, connect_timeout=3, **silence.LIBPQ)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for channel in channels:
            cursor.execute(f'LISTEN "{channel.value}"')
    return connection


def notify(session: Session, channel: Channel, payload: str = "") -> None:
    """NOTIFY when the session's transaction commits: all of one transaction in one statement, equal ones once.

    What was asked for under a savepoint that is rolled back is told as well: a wake-up without need costs a look.
    """
    session.info.setdefault(_WAITING, {})[channel.value, payload] = None


@event.listens_for(Session, "before_commit")
def _tell(session: Session) -> None:
    if session.in_nested_transaction():
        return
    waiting = session.info.pop(_WAITING, None)
    if waiting:
        channels, payloads = zip(*waiting, strict=True)
        _NOTIFY.later(session, channels=list(channels), payloads=list(payloads))


@event.listens_for(Session, "after_transaction_end")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info.pop(_WAITING, None)
