"""Questions to services that are not ours to run."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg2
from redis import Redis
from redis.exceptions import RedisError

from cli.embedded.mqtt_probe import mqtt_problem
from fleet.settings import Settings


@dataclass(frozen=True, slots=True)
class DatabaseReport:
    version: str
    timescale: bool
    #: Alembic's; None before the first migration.
    revision: str | None


def database_report(url: str) -> DatabaseReport:
    """Raises psycopg2.Error when it does not answer."""
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


def redis_problem(url: str) -> str | None:
    """None when it answers."""
    try:
        with Redis.from_url(url, socket_timeout=3) as client:
            client.ping()
    except (RedisError, ValueError) as error:
        return str(error)
    return None


def problems(settings: Settings) -> Iterator[str]:
    """A line for each service whose address was given and that does not answer there."""
    given = settings.model_fields_set
    if "database_url" in given:
        try:
            database_report(settings.database_url.get_secret_value())
        except psycopg2.Error as error:
            yield f"DATABASE_URL does not answer: {str(error).strip()}"
    if "redis_url" in given and (problem := redis_problem(settings.redis_url.get_secret_value())):
        yield f"REDIS_URL does not answer: {problem}"
    if "mqtt_url" in given and (problem := mqtt_problem(settings.mqtt_url.get_secret_value(), settings.mqtt_ca_file)):
        yield f"MQTT_URL: {problem}"


def _first(row: tuple[object, ...] | None) -> str:
    assert row is not None
    return str(row[0])
