# noqa: INP001  # a script of the image, no package
"""Health of the process in this container, for docker-compose.yml: exit 0 when well, 1 with a line that says why not.

healthcheck.py http PORT PATH | relay | beat | worker
"""

import os
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psycopg2

_TIMEOUT_S = 4
#: Beat sends what workers/beat.py notes every 10 seconds.
_BEAT_SILENT_S = 60


def http(port: str, path: str) -> str | None:
    """None when the address answers 200, else what it answered."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=_TIMEOUT_S):
            return None
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read(2000).decode(errors='replace')}"
    except OSError as error:
        return str(error)


def relay() -> str | None:
    """None while this container's relay holds its connection and no outbox row has been waiting for a minute."""
    with psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=_TIMEOUT_S) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'voltbay-relay' AND client_addr = inet_client_addr()"
        )
        connections = _number(cursor.fetchone())
        cursor.execute(
            "SELECT count(*) FROM outbox_event WHERE dispatched_at IS NULL AND created_at < now() - interval '1 minute'"
        )
        waiting = _number(cursor.fetchone())
    if connections == 0:
        return "the relay is not connected to the database"
    return f"{waiting} outbox rows have been waiting for more than a minute" if waiting else None


def beat() -> str | None:
    """None while this container's beat sends its tasks."""
    try:
        silent = time.time() - (Path(os.environ["VOLTBAY_HOME"]) / "beat-sent").stat().st_mtime
    except FileNotFoundError:
        return "nothing has been sent yet"
    return f"nothing has been sent for {silent:.0f} s" if silent > _BEAT_SILENT_S else None


def worker() -> str | None:
    """None when this container's worker answers over the queue. Not `celery inspect`, which loads all of our code."""
    from celery import Celery  # noqa: PLC0415  # the other checks need not wait for it
    from kombu.exceptions import OperationalError  # noqa: PLC0415

    name = f"celery@{socket.gethostname()}"
    try:
        answers = Celery(broker=os.environ["REDIS_URL"]).control.ping(destination=[name], timeout=_TIMEOUT_S)
    except (OperationalError, OSError) as error:
        return str(error)
    return None if answers else f"{name} does not answer"


def _number(row: tuple[int, ...] | None) -> int:
    return row[0] if row else 0


def check(arguments: list[str]) -> str | None:
    match arguments:
        case ["http", port, path]:
            return http(port, path)
        case ["relay"]:
            return relay()
        case ["beat"]:
            return beat()
        case ["worker"]:
            return worker()
    return f"unknown check {arguments}"


def main(arguments: list[str]) -> int:
    try:
        problem = check(arguments)
    except psycopg2.Error as error:
        problem = str(error)
    if problem is not None:
        sys.stdout.write(f"{problem}\n")
    return problem is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
