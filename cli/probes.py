"""Questions to services that are not ours to run."""

from dataclasses import dataclass

import psycopg2


@dataclass(frozen=True, slots=True)
class DatabaseReport:
    version: str
    timescale: bool
    #: Alembic's; None before the first migration.
    revision: str | None


def database_report(url: str) -> DatabaseReport:
    """Raises psycopg2.OperationalError when it does not answer."""
    connection = psycopg2.connect(url, connect_timeout=5)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SHOW server_version")
            version = _first(cursor.fetchone())
            cursor.execute("SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'")
            timescale = _first(cursor.fetchone()) != "0"
            cursor.execute("SELECT to_regclass('alembic_version') IS NOT NULL")
            revision = None
            if _first(cursor.fetchone()) == "True":
                cursor.execute("SELECT version_num FROM alembic_version")
                row = cursor.fetchone()
                revision = None if row is None else _first(row)
    finally:
        connection.close()
    return DatabaseReport(version, timescale, revision)


def _first(row: tuple[object, ...] | None) -> str:
    assert row is not None
    return str(row[0])
