"""Alembic's entry. The address comes from DATABASE_URL (fleet.settings) or from the caller's `sqlalchemy.url`."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from alembic import context
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from fleet.db import create_engine_from
from fleet.registry import metadata
from fleet.settings import Settings

#: Time-series tables are hypertables or native partitions: made by SQL, and their partitions and
#: rollups are nobody's drift.
PARTITION_MARKS = ("_p20", "_default", "_rollup", "_hyper_", "_compressed_")


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and name is not None and any(mark in name for mark in PARTITION_MARKS))


def dated(_context: MigrationContext, _revision: object, scripts: list[MigrationScript]) -> None:
    """A new revision is called after its day and its number within it, unless `--rev-id` says how."""
    for script in scripts:
        if re.fullmatch(r"[0-9a-f]{12}", script.rev_id or ""):  # Alembic's own choice
            known = context.script.walk_revisions()
            script.rev_id = next_revision(datetime.now(UTC), (each.revision for each in known))


def next_revision(now: datetime, known: Iterable[str]) -> str:
    day = f"{now:%Y%m%d}"
    taken = [int(number) for when, _, number in (each.partition("_") for each in known) if when == day]
    return f"{day}_{max(taken, default=0) // 10 * 10 + 10}"


def configure(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=include_name,
        compare_type=True,
        compare_server_default=False,
        transaction_per_migration=True,
        process_revision_directives=dated,
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
