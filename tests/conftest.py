"""Fixtures on real services.

Each test process starts its own PostgreSQL, Redis and Mosquitto the moment a test asks for one, unless
VOLTBAY_TEST_DATABASE_URL (a role that may create databases), VOLTBAY_TEST_REDIS_URL or VOLTBAY_TEST_MQTT_URL names it.
VOLTBAY_TEST_TEMPLATE: a database on the first that is migrated already.
"""

import gc
import os
import sys
from collections.abc import Generator, Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import settings
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cli.embedded.home import Home
from cli.embedded.mosquitto import EmbeddedMosquitto
from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.redis import EmbeddedRedis
from cli.embedded.stack import raise_open_files_limit, without_credentials
from fleet.db import create_engine_from
from tests import memory
from tests.databases import Database, DatabaseServer

# Containers often forbid to keep compiled code. Then every process of every test, and there are hundreds of them, would
# compile the whole tree again, and pytest its assertions: minutes.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# An example that waits for its core is no counterexample.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

#: A test that fails is run this often again, and named in the summary if it passes then: for machines that nobody
#: watches, where a service may be starved of its core. Never for what looks for races itself (docs/testing.md).
RERUNS = int(os.environ.get("VOLTBAY_TEST_RERUNS") or 0)
_NEVER_AGAIN = ("model/", "races", "orders")
#: Of one Monday.
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if RERUNS and not any(part in item.nodeid for part in _NEVER_AGAIN):
            item.add_marker(pytest.mark.flaky(reruns=RERUNS))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported here stays: Python's collector need not go through it, neither now nor, as it is frozen then,
    whenever tests have made enough garbage.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def service_home() -> Iterator[Home]:
    """A home folder for the services of this test process."""
    raise_open_files_limit()
    with memory.service_home() as home:
        yield home


@pytest.fixture(scope="session")
def database_server(service_home: Home) -> Iterator[DatabaseServer]:
    """A PostgreSQL in which tests may create databases (`.create()` gives the address of a migrated one)."""
    given = os.environ.get("VOLTBAY_TEST_DATABASE_URL")
    if given:
        server = DatabaseServer(given, os.environ.get("VOLTBAY_TEST_TEMPLATE"))
        yield server
        server.close()
        return
    postgres = EmbeddedPostgres(service_home, fsync=False, settings={"max_wal_size": "256MB"})  # it may lie in memory
    postgres.start()
    server = DatabaseServer(postgres.url)
    server.sign_in_quickly()
    yield server
    postgres.stop()


@pytest.fixture(scope="session")
def database_url(database_server: DatabaseServer) -> Iterator[str]:
    """The migrated database of this test process, shared by all tests that roll back."""
    url = database_server.create()
    yield url
    database_server.drop(url)


@pytest.fixture(scope="session")
def engine(database_url: str) -> Iterator[Engine]:
    """On `database_url`. What a test commits here, every later test sees: use `session` or `clean_database`."""
    engine = create_engine_from(database_url, name="voltbay-test")
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session whose commits are savepoints of a transaction that is rolled back after the test."""
    with engine.connect() as connection:
        transaction = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
            yield session
        transaction.rollback()


@pytest.fixture
def clean_database(database_server: DatabaseServer) -> Iterator[Database]:
    """A migrated database of the test's own (`.url`, `.engine`), for what needs real commits or other processes."""
    with database_server.database() as database:
        yield database


@pytest.fixture(scope="session")
def redis_url(service_home: Home) -> Iterator[str]:
    given = os.environ.get("VOLTBAY_TEST_REDIS_URL")
    if given:
        yield given
        return
    redis = EmbeddedRedis(service_home)
    redis.start()
    yield redis.url
    redis.stop()


@pytest.fixture(scope="session")
def broker(service_home: Home) -> Iterator[EmbeddedMosquitto]:
    """The embedded Mosquitto itself, for tests that look at both listeners."""
    mosquitto = EmbeddedMosquitto(service_home)
    mosquitto.start()
    yield mosquitto
    mosquitto.stop()


@pytest.fixture(scope="session")
def mqtt_url(request: pytest.FixtureRequest) -> str:
    """Where the backend connects: mqtt://gateway:password@host:port."""
    given = os.environ.get("VOLTBAY_TEST_MQTT_URL")
    if given:
        return given
    broker: EmbeddedMosquitto = request.getfixturevalue("broker")
    return broker.url


@pytest.fixture(scope="session")
def device_mqtt_url(request: pytest.FixtureRequest) -> str:
    """Where cabinets connect: user name = station code, no password, own topics only."""
    given = os.environ.get("VOLTBAY_TEST_MQTT_URL")
    if given:
        return without_credentials(given)
    broker: EmbeddedMosquitto = request.getfixturevalue("broker")
    return broker.device_url


@pytest.fixture
def now() -> datetime:
    """For everything to which time is passed in."""
    return NOON
