"""Alembic's entry. The address comes from DATABASE_URL (fleet.settings) or from the caller's `sqlalchemy.url`."""

from alembic import context
from sqlalchemy import Connection, text

from fleet.db import create_engine_from
from fleet.registry import metadata
from fleet.settings import Settings

#: Time-series tables are hypertables or native partitions: made by SQL, and their partitions and
#: rollups are nobody's drift.
PARTITION_MARKS = ("_p20", "_default", "_rollup", "_hyper_", "_compressed_")


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and name is not None and any(mark in name for mark in PARTITION_MARKS))


def configure(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=include_name,
        compare_type=True,
        compare_server_default=False,
        transaction_per_migration=True,
    )


def run(connection: Connection) -> None:
    configure(connection)
    connection.execute(text("SET lock_timeout = '10s'"))
    connection.execute(text("SET statement_timeout = '10min'"))
    connection.commit()
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    given: Connection | None = context.config.attributes.get("connection")
    if given is not None:
        run(given)
        return
    url = context.config.get_main_option("sqlalchemy.url") or Settings().database_url.get_secret_value()
    engine = create_engine_from(url, name="voltbay-migrate")
    with engine.connect() as connection:
        run(connection)
    engine.dispose()


main()
