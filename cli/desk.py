"""What commands for operators share: one transaction, who acts, and how answers are printed."""

import getpass
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from sqlalchemy.orm import Session

from cli.console import console
from cli.running import settings_with_database
from fleet.common.clock import utc_now
from fleet.common.errors import FleetError
from fleet.db import create_engine_from, session_scope
from fleet.settings import Settings
from fleet.users.audit import Actor

Reason = Annotated[str, typer.Option(help="For the audit log.", prompt=True)]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Limit = Annotated[int, typer.Option(min=1, max=1000)]


@dataclass(frozen=True, slots=True)
class Desk:
    session: Session
    settings: Settings
    now: datetime
    actor: Actor


@contextmanager
def desk() -> Iterator[Desk]:
    """One transaction. What the business refuses ends the command with its message and exit code 1, nothing done."""
    with settings_with_database() as settings:
        engine = create_engine_from(settings.database_url.get_secret_value(), name="voltbay-desk")
        try:
            with session_scope(engine) as session:
                yield Desk(session, settings, utc_now(), Actor(console=_console_user()))
        except FleetError as error:
            typer.echo(f"voltbay: {error.message} ({error.code})", err=True)
            raise typer.Exit(1) from None
        finally:
            engine.dispose()


def _console_user() -> str:
    """As the operating system calls whoever runs this; in a container there may be no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, as_json: bool) -> None:
    """A table for people, or a JSON array of objects."""
    if as_json:
        found = [dict(zip(columns, row, strict=True)) for row in rows]
        typer.echo(json.dumps(found, default=str, ensure_ascii=False, indent=2))
        return
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console().print(table if table.rows else "none")


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, default=str, ensure_ascii=False, indent=2))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)
