"""`voltbay doctor`: what this machine has, what is missing, and how to get it."""

import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import psycopg2
import typer
from rich.table import Table

from cli import migrations
from cli.console import console
from cli.embedded.errors import ProgramMissing
from cli.embedded.home import Home
from cli.embedded.mosquitto import EmbeddedMosquitto
from cli.embedded.mosquitto_version import is_forgetful, version_of
from cli.embedded.mqtt_probe import mqtt_problem
from cli.embedded.ports import problem_of
from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.redis import EmbeddedRedis
from cli.probes import database_report, redis_problem
from cli.running import RunState, adopt, default_home, find_running
from fleet.settings import Settings

_NEEDED_DISK_BYTES = 1024**3
_COMFORTABLE_FILES = 8192
_MIN_PYTHON = (3, 11)


class Verdict(StrEnum):
    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    verdict: Verdict
    detail: str


def doctor() -> None:
    """Say what is missing and how to get it; exit 1 when something needed is missing."""
    home = default_home()
    state = find_running(home)
    if state is not None:
        adopt(state)
    findings = list(examine(home, state, Settings()))
    table = Table(box=None)
    for column in ("", "what", "found"):
        table.add_column(column)
    colours = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.MISSING: "red"}
    for finding in findings:
        table.add_row(f"[{colours[finding.verdict]}]{finding.verdict}[/]", finding.what, finding.detail)
    console().print(table)
    if any(finding.verdict is Verdict.MISSING for finding in findings):
        raise typer.Exit(1)


def examine(home: Home, state: RunState | None, settings: Settings) -> Iterator[Finding]:
    """Every finding, the plain ones first."""
    yield _python()
    yield _disk(home.root)
    yield _permissions(home.root)
    yield _open_files()
    if os.geteuid() == 0:
        yield _setpriv()
    given = settings.model_fields_set
    if "database_url" in given:
        yield from _database(settings.database_url.get_secret_value())
    else:
        yield _program("PostgreSQL", EmbeddedPostgres(home).program)
        yield Finding("time series", Verdict.NOTE, "native partitions; TimescaleDB is not in the embedded PostgreSQL")
    if "redis_url" in given:
        yield _redis(settings.redis_url.get_secret_value())
    else:
        yield _program("Redis", EmbeddedRedis(home).program)
    if "mqtt_url" in given:
        problem = mqtt_problem(settings.mqtt_url.get_secret_value(), settings.mqtt_ca_file)
        yield Finding("broker", Verdict.MISSING if problem else Verdict.OK, problem or "answers")
    else:
        yield _mosquitto(EmbeddedMosquitto(home).program)
    yield _http(state, settings)
    yield _codes(settings)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _MIN_PYTHON:
        return Finding("Python", Verdict.MISSING, f"{found}; 3.11 or newer is needed")
    return Finding("Python", Verdict.OK, found)


def _disk(root: Path) -> Finding:
    existing = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{free / 1024**3:.1f} GiB free at {existing}"
    if free < _NEEDED_DISK_BYTES:
        return Finding("disk", Verdict.MISSING, f"{detail}; 1 GiB is needed, choose another folder with VOLTBAY_HOME")
    return Finding("disk", Verdict.OK, detail)


def _permissions(root: Path) -> Finding:
    existing = next(path for path in (root, *root.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding("home folder", Verdict.MISSING, f"{existing} is not writable; choose another with VOLTBAY_HOME")
    strange = [path.name for path in (root / "postgres", root / "redis", root / "mosquitto") if not _usable(path)]
    if strange:
        detail = f"{', '.join(strange)} in {root} belong to another user: chown or remove them"
        return Finding("home folder", Verdict.MISSING, detail)
    return Finding("home folder", Verdict.OK, str(root))


def _usable(folder: Path) -> bool:
    return os.geteuid() == 0 or not folder.exists() or folder.stat().st_uid == os.geteuid()


def _open_files() -> Finding:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < _COMFORTABLE_FILES:
        return Finding("open files", Verdict.NOTE, f"limit {hard}: enough for about {hard // 2} cabinets (ulimit -n)")
    return Finding("open files", Verdict.OK, "no limit" if hard == resource.RLIM_INFINITY else f"limit {hard}")


def _setpriv() -> Finding:
    path = shutil.which("setpriv")
    if path is None:
        return Finding("setpriv", Verdict.MISSING, "PostgreSQL refuses root: install util-linux, or be another user")
    return Finding("setpriv", Verdict.OK, f"{path}; services run as somebody else than root")


def _program(what: str, find: Callable[[], Path]) -> Finding:
    try:
        return Finding(what, Verdict.OK, f"{find()} (embedded)")
    except ProgramMissing as error:
        return Finding(what, Verdict.MISSING, str(error))


def _mosquitto(find: Callable[[], Path]) -> Finding:
    found = _program("Mosquitto", find)
    version = version_of(find()) if found.verdict is Verdict.OK else None
    if version is None or not is_forgetful(version):
        return found
    number = ".".join(map(str, version))
    return replace(
        found,
        verdict=Verdict.NOTE,
        detail=f"{found.detail}; {number} drops what cabinets say while a gateway restarts, and native ones repeat it"
        " after a minute: 2.0.11, 2.0.23 and newer keep it (docs/decisions/0332)",
    )


def _database(url: str) -> Iterator[Finding]:
    try:
        report = database_report(url)
    except psycopg2.Error as error:
        yield Finding("PostgreSQL", Verdict.MISSING, f"DATABASE_URL does not answer: {str(error).strip()}")
        return
    yield Finding("PostgreSQL", Verdict.OK, f"{report.version} answers")
    timescale = "TimescaleDB" if report.timescale else "native partitions; TimescaleDB is not available on this server"
    yield Finding("time series", Verdict.OK if report.timescale else Verdict.NOTE, timescale)
    head = migrations.head()
    if report.revision != head:
        yield Finding("schema", Verdict.MISSING, f"at {report.revision or 'nothing'}, newest {head}: voltbay migrate")
    else:
        yield Finding("schema", Verdict.OK, f"at {head}")


def _redis(url: str) -> Finding:
    problem = redis_problem(url)
    if problem is not None:
        return Finding("Redis", Verdict.MISSING, f"REDIS_URL does not answer: {problem}")
    return Finding("Redis", Verdict.OK, "answers")


def _http(state: RunState | None, settings: Settings) -> Finding:
    if state is not None:
        return Finding("system", Verdict.OK, f"running at {state.url}")
    port = settings.http_port
    problem = problem_of(port, settings.http_host)
    if problem is None:
        return Finding("HTTP port", Verdict.OK, f"{port} is free")
    if "http_port" in settings.model_fields_set:
        return Finding("HTTP port", Verdict.MISSING, f"{port} {problem}; set VOLTBAY_HTTP_PORT to another")
    return Finding("HTTP port", Verdict.NOTE, f"{port} {problem}: another will be chosen")


def _codes(settings: Settings) -> Finding:
    """Whom one-time codes can reach."""
    missing = [
        f"{what} cannot be sent: set {how}"
        for what, how, address in (
            ("e-mail", "VOLTBAY_SMTP_URL and VOLTBAY_MAIL_FROM", settings.smtp_url),
            ("text messages", "VOLTBAY_SMS_WEBHOOK_URL and VOLTBAY_SMS_WEBHOOK_SECRET", settings.sms_webhook_url),
        )
        if not address
    ]
    if not settings.production:
        return Finding("one-time codes", Verdict.OK, "inbox page" if missing else "e-mail and text messages")
    nobody = len(missing) == 2
    verdict = Verdict.MISSING if nobody else Verdict.NOTE if missing else Verdict.OK
    return Finding("one-time codes", verdict, "; ".join(missing) or "e-mail and text messages")
