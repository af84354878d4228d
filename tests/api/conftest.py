"""A real API process's worth of server: uvicorn in a thread, on a database and a Redis of its own."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from api.main import Server, server_for
from fleet.common import logs
from fleet.settings import Settings
from tests.databases import Database
from tests.plain_http import NO_TLS


@dataclass(frozen=True, slots=True)
class Live:
    """A running API. `client` sends no token."""

    url: str
    settings: Settings
    engine: Engine
    server: Server
    client: httpx.Client


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(settings: Settings) -> tuple[Server, threading.Thread]:
    logs.configure(settings, "api")
    server = server_for(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 15
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server did not start in time"
        time.sleep(0.01)
    return server, thread


Serve = Callable[..., Live]


@pytest.fixture
def serve(clean_database: Database, redis_url: str, tmp_path: Path) -> Iterator[Serve]:
    """Start an API with settings of the test's choice; all of them end with the test."""
    running: list[tuple[Live, threading.Thread]] = []

    def start_one(**chosen: Any) -> Live:
        settings = Settings(
            **{
                "database_url": clean_database.url,
                "redis_url": redis_url,
                "http_port": free_port(),
                "home": tmp_path / "home",
                "rate_limit_scale": 0.0,
                **chosen,
            }
        )
        server, thread = start(settings)
        client = httpx.Client(base_url=settings.base_url, timeout=40, verify=NO_TLS)
        live = Live(settings.base_url, settings, clean_database.engine, server, client)
        running.append((live, thread))
        return live

    yield start_one
    for live, thread in running:
        live.client.close()
        live.server.handle_exit(15, None)
        thread.join(10)
        assert not thread.is_alive(), "the server did not end"


@pytest.fixture
def live(serve: Serve) -> Live:
    return serve()
