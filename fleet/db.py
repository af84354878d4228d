"""Engine, session scope, and the base that every model shares."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from time import monotonic
from typing import Any, Final
from uuid import UUID

from sqlalchemy import DateTime, Dialect, Engine, Enum, MetaData, Uuid, create_engine, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column
from sqlalchemy.types import TypeDecorator
from uuid_utils.compat import uuid7

from fleet import silence
from fleet.common.plans import plan_once
from fleet.common.roundtrips import Connection

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

#: A connection that was in use so lately is taken to be alive; one that rested longer is asked first. Less than
#: PostgreSQL takes to come back after a crash, so that none of those from before are trusted.
TRUSTED_S: Final = 0.2
_RETURNED: Final = "returned"
_SESSION: Final = {
    "timezone": "UTC",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    # What is planned once is planned at its first use, and not five times before (decision 0360).
    "plan_cache_mode": "force_generic_plan",
}


class UtcDateTime(TypeDecorator[datetime]):
    """timestamptz that refuses naive values and always comes back in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect
        if value is not None and value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r} where an aware one is needed")
        return value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect
        return value.astimezone(UTC) if value is not None else None


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it as a class attribute
        datetime: UtcDateTime,
        UUID: Uuid(),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
    }


def new_id() -> UUID:
    """UUIDv7: people, rentals and money (RFC 9562, 5.7), so that index pages fill in order of time."""
    return uuid7()


def text_enum(enum: type[StrEnum], length: int) -> Enum:
    """A StrEnum kept as its value in a varchar: readable in psql, and a new value needs no ALTER TYPE."""
    return Enum(enum, native_enum=False, length=length, values_callable=lambda e: [member.value for member in e])


def uuid_pk() -> Any:
    """The primary key of people, rentals and money: `new_id`, unless it is given."""
    return mapped_column(Uuid(), primary_key=True, default=new_id)


def create_engine_from(url: str, *, pool_size: int = 10, max_overflow: int = 20, name: str = "voltbay") -> Engine:
    """Engine for `postgresql://…`; every connection speaks UTC and gives up on locks after 10 s instead of piling up.

    At most `pool_size` + `max_overflow` connections at once; whoever needs one more waits 30 s, then TimeoutError of
    SQLAlchemy. `name` is what PostgreSQL shows of them.
    """
    if url.startswith(("postgres://", "postgresql://")):
        url = "postgresql+psycopg2://" + url.split("://", 1)[1]
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=max_overflow,
        use_native_hstore=False,  # one question less for each new connection
        pool_use_lifo=True,  # few connections in use often, so that most need not be asked
        connect_args={
            "connection_factory": Connection,
            "application_name": name,
            "connect_timeout": 5,
            **silence.LIBPQ,
            "options": " ".join(f"-c {name}={value}" for name, value in _SESSION.items()),
        },
    )
    _ask_the_rested(engine)
    plan_once(engine)
    return engine


def _ask_the_rested(engine: Engine) -> None:
    """Ping connections that lay in the pool for a while, and replace them when they are dead.

    SQLAlchemy's own `pool_pre_ping` asks every time: one more round trip for every transaction.
    """

    @event.listens_for(engine, "checkin")
    def _returned(connection: Any, record: Any) -> None:
        del connection
        record.info[_RETURNED] = monotonic()

    @event.listens_for(engine, "checkout")
    def _taken(connection: Any, record: Any, proxy: Any) -> None:
        del proxy
        returned = record.info.get(_RETURNED)
        if returned is None or monotonic() - returned < TRUSTED_S:
            return
        try:
            alive = engine.dialect.do_ping(connection)
        except (DBAPIError, engine.dialect.loaded_dbapi.Error) as error:
            raise DisconnectionError("the connection died while it rested") from error
        if not alive:
            raise DisconnectionError("the connection died while it rested")


@contextmanager
def session_scope(engine: Engine) -> Iterator[Session]:
    """One transaction: committed when the block ends, rolled back when it raises. For edges only."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session
