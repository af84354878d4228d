"""deploy/healthcheck.py, run as the containers run it."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg2
import pytest

from cli.processes import command_of
from tests.databases import Database
from tests.deploy.compose import ROOT


def _check(*arguments: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "deploy/healthcheck.py", *arguments],
        cwd=ROOT, env=os.environ | environment, check=False, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()
        self.wfile.write(b"the broker is away")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield str(server.server_port)
        server.shutdown()


def test_http_is_well_with_200_only(port: str) -> None:
    assert _check("http", port, "/well") == (0, "")
    assert _check("http", port, "/ill") == (1, "503 the broker is away\n")


def test_http_that_nobody_answers_is_ill() -> None:
    code, output = _check("http", "1", "/")
    assert code == 1
    assert "refused" in output


def test_the_relay_is_well_while_it_is_connected_and_nothing_waits(clean_database: Database) -> None:
    address = clean_database.url
    assert _check("relay", DATABASE_URL=address) == (1, "the relay is not connected to the database\n")
    relay = psycopg2.connect(address, application_name="voltbay-relay")
    try:
        assert _check("relay", DATABASE_URL=address) == (0, "")
        with clean_database.engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO outbox_event (name, payload, created_at) VALUES ('x', '{}', now() - interval '61 s'),"
                " ('x', '{}', now())"
            )
        assert _check("relay", DATABASE_URL=address) == (1, "1 outbox rows have been waiting for more than a minute\n")
    finally:
        relay.close()


def test_no_database_is_one_line_and_not_a_traceback() -> None:
    code, output = _check("relay", DATABASE_URL="postgresql://postgres@127.0.0.1:1/none")
    assert code == 1
    assert "Traceback" not in output


def test_beat_is_well_while_it_sends(redis_url: str, tmp_path: Path) -> None:
    home = str(tmp_path)
    assert _check("beat", VOLTBAY_HOME=home) == (1, "nothing has been sent yet\n")
    with (tmp_path / "log").open("wb") as log:
        beat = subprocess.Popen(
            command_of("beat", home=tmp_path),
            cwd=ROOT, stdout=log, stderr=log, env=os.environ | {"VOLTBAY_HOME": home, "REDIS_URL": redis_url},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while (found := _check("beat", VOLTBAY_HOME=home)) != (0, "") and time.monotonic() < deadline:
            assert beat.poll() is None
        assert found == (0, ""), (tmp_path / "log").read_text()
    finally:
        beat.terminate()
        beat.wait(30)
    long_ago = time.time() - 3600
    os.utime(tmp_path / "beat-sent", (long_ago, long_ago))
    assert _check("beat", VOLTBAY_HOME=home)[1].startswith("nothing has been sent for 36")


def test_a_worker_is_well_when_it_answers_over_the_queue(redis_url: str, tmp_path: Path) -> None:
    name = f"celery@{socket.gethostname()}"
    assert _check("worker", REDIS_URL=redis_url) == (1, f"{name} does not answer\n")
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-b", redis_url, "worker", "--pool", "solo", "-n", name],
            cwd=tmp_path, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while (found := _check("worker", REDIS_URL=redis_url)) != (0, "") and time.monotonic() < deadline:
            assert worker.poll() is None
        assert found == (0, ""), (tmp_path / "log").read_text()
    finally:
        worker.terminate()
        worker.wait(30)


def test_no_queue_is_one_line_and_not_a_traceback() -> None:
    code, output = _check("worker", REDIS_URL="redis://127.0.0.1:1/0")
    assert code == 1
    assert "Traceback" not in output
