"""Each embedded service keeps its data and its port through stop, kill -9 and orphanhood."""

import os
import socket
from collections.abc import Generator, Iterator
from pathlib import Path, PosixPath

import psutil
import psycopg2
import pytest
from redis import Redis

from cli.embedded import ports
from cli.embedded.errors import DataFromAnotherVersion, ServiceFailed
from cli.embedded.home import Home
from cli.embedded.launch import ServiceUser
from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.redis import EmbeddedRedis

_NOBODY = 65_534


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home with a space")


@pytest.fixture
def postgres(home: Home) -> Iterator[EmbeddedPostgres]:
    service = EmbeddedPostgres(home, fsync=False)
    yield service
    service.stop()


@pytest.fixture
def redis(home: Home) -> Iterator[EmbeddedRedis]:
    service = EmbeddedRedis(home)
    yield service
    service.stop()


def _query(url: str, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_postgres_keeps_what_was_committed_before_kill_9(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    _query(postgres.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    url, pid = postgres.url, postgres.pid
    postgres.kill()
    assert postgres.pid is None
    postgres.start()
    assert postgres.pid != pid
    assert postgres.url == url
    assert _query(url, "SELECT answer FROM kept") == [(42,)]


def test_a_later_start_finds_data_port_and_password_again(home: Home, postgres: EmbeddedPostgres) -> None:
    postgres.start()
    _query(postgres.url, "CREATE TABLE kept ()")
    url = postgres.url
    postgres.stop()
    later = EmbeddedPostgres(Home(home.root), fsync=False)
    later.start()
    try:
        assert later.url == url
        assert _query(url, "SELECT to_regclass('kept') IS NOT NULL") == [(True,)]
    finally:
        later.stop()


def test_postgres_lets_nobody_in_without_the_password(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
        psycopg2.connect(f"postgresql://voltbay@127.0.0.1:{postgres.port}/voltbay")


def test_postgres_is_durable_unless_a_test_says_otherwise(home: Home) -> None:
    service = EmbeddedPostgres(home)
    service.start()
    try:
        assert _query(service.url, "SHOW fsync") == [("on",)]
        assert _query(service.url, "SHOW synchronous_commit") == [("on",)]
    finally:
        service.stop()


def test_data_of_another_postgres_version_is_refused(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    postgres.stop()
    (postgres.data / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(DataFromAnotherVersion, match="PostgreSQL 9, this one is 18"):
        postgres.start()


def test_redis_keeps_what_was_written_before_kill_9(redis: EmbeddedRedis) -> None:
    redis.start()
    url = redis.url
    with Redis.from_url(url) as client:
        client.set("kept", "42")
    redis.kill()
    redis.start()
    assert redis.url == url
    with Redis.from_url(url) as client:
        assert client.get("kept") == b"42"


def test_a_port_that_somebody_took_is_chosen_anew(home: Home, redis: EmbeddedRedis) -> None:
    redis.start()
    before = redis.port
    redis.stop()
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", before))
        thief.listen()
        later = EmbeddedRedis(Home(home.root))
        later.start()
        try:
            assert later.port != before
            assert later.healthy()
        finally:
            later.stop()


def test_ports_are_below_the_range_of_outgoing_connections() -> None:
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert ports.free_port() < first_ephemeral


def test_an_orphan_is_ended_by_the_next_start(home: Home, redis: EmbeddedRedis) -> None:
    redis.start()
    orphan = redis.pid
    assert orphan is not None
    heir = EmbeddedRedis(Home(home.root))
    heir.start()
    try:
        assert heir.pid not in {None, orphan}
        assert redis.pid is None
        assert heir.healthy()
    finally:
        heir.stop()


def test_a_pid_file_that_names_a_stranger_harms_nobody(home: Home, redis: EmbeddedRedis) -> None:
    home.create()
    (home.root / "redis.pid").write_text(str(os.getpid()))
    redis.start()
    assert redis.healthy()


def test_what_keeps_a_service_from_starting_is_quoted(home: Home, redis: EmbeddedRedis) -> None:
    redis.start()
    redis.stop()
    # Redis 7 keeps a list of its append-only files, Redis 6 has just the one.
    listed = redis.data / "appendonlydir" / "appendonly.aof.manifest"
    (listed if listed.exists() else redis.data / "appendonly.aof").write_text("nonsense")
    with pytest.raises(ServiceFailed, match=r"FATAL AOF MANIFEST FILE ERROR|Bad file format reading the append only"):
        redis.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_no_service_runs_as_root(redis: EmbeddedRedis, postgres: EmbeddedPostgres) -> None:
    for service in (redis, postgres):
        service.start()
        assert service.pid is not None
        assert psutil.Process(service.pid).uids().effective != 0


def test_secrets_are_their_owners_only(home: Home) -> None:
    home.create()
    assert home.secret("x") == home.secret("x")
    assert (home.root / "secrets.json").stat().st_mode & 0o777 == 0o600


class _Moving(PosixPath):
    """A folder of which something is gone when it is looked at."""

    def rglob(self, pattern: str) -> Generator["_Moving", None, None]:
        yield self / "gone"
        yield from super().rglob(pattern)


def test_a_draft_that_is_renamed_meanwhile_stops_no_start(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    user = _NOBODY if os.geteuid() == 0 else os.geteuid()
    ServiceUser(user, os.getegid(), None).own(_Moving(tmp_path))
    assert (tmp_path / "there").stat().st_uid == user
