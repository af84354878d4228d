"""`voltbay dead-letters`: frames that could not be applied, for people to look at and run again."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy import Engine

from cli.console import console
from cli.running import settings_with_database
from device_gateway.business import fact_handler
from device_gateway.replay import replay as replay_one
from fleet.common.clock import utc_now
from fleet.common.errors import FleetError
from fleet.db import create_engine_from, session_scope
from fleet.devices import dead_letters
from fleet.devices.models import DeadLetter
from fleet.settings import Settings

app = typer.Typer(help="Frames that could not be applied: list, show, replay, discard.", no_args_is_help=True)
_Id = Annotated[int, typer.Argument(help="As `list` shows it.")]
_PAGE = 500


@contextmanager
def _database() -> Iterator[tuple[Engine, Settings]]:
    """The fleet's database; what the business refuses ends the command with its message and exit code 1."""
    with settings_with_database() as settings:
        engine = create_engine_from(settings.database_url.get_secret_value(), name="voltbay-dead-letters")
        try:
            yield engine, settings
        except FleetError as error:
            typer.echo(f"voltbay: {error}", err=True)
            raise typer.Exit(1) from None
        finally:
            engine.dispose()


@app.command("list")
def list_(
    station: Annotated[str | None, typer.Option(help="Only of this station.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
) -> None:
    """Those that wait, newest first."""
    with _database() as (engine, _), session_scope(engine) as session:
        letters = dead_letters.list_waiting(session, limit=limit, station_code=station)
    table = Table("id", "received", "topic", "error", box=None)
    for letter in letters:
        table.add_row(str(letter.id), f"{letter.received_at:%Y-%m-%d %H:%M:%S}", letter.topic, letter.error_code)
    console().print(table if letters else "none waits")


@app.command()
def show(dead_letter_id: _Id) -> None:
    """One of them with its bytes, as JSON; `voltbay decode` explains payload_hex."""
    with _database() as (engine, _), session_scope(engine) as session:
        typer.echo(json.dumps(_described(dead_letters.get(session, dead_letter_id)), indent=2, ensure_ascii=False))


@app.command()
def replay(
    dead_letter_ids: Annotated[list[int] | None, typer.Argument(help="Which ones.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that wait, oldest first.")] = False,
) -> None:
    """Run them through the pipeline again; exit 1 when any is refused again."""
    if bool(dead_letter_ids) == every:
        raise typer.BadParameter("name some, or give --all")
    refused = 0
    with _database() as (engine, settings):
        handle = fact_handler(settings)
        for number in dead_letter_ids or _all_waiting(engine):
            done = replay_one(engine, number, handle, settings, utc_now())
            typer.echo(f"{number}: {done.error or 'applied'}")
            refused += done.error is not None
    if refused:
        raise typer.Exit(1)


@app.command()
def discard(dead_letter_id: _Id) -> None:
    """Note that nothing is to be done about it."""
    with _database() as (engine, _), session_scope(engine) as session:
        dead_letters.discard(session, dead_letter_id)
    typer.echo(f"{dead_letter_id}: discarded")


def _all_waiting(engine: Engine) -> list[int]:
    """Ids of all that wait now, oldest first, so that a station's frames come in their order."""
    found: list[int] = []
    while True:
        with session_scope(engine) as session:
            page = dead_letters.list_waiting(session, limit=_PAGE, before=found[-1] if found else None)
        found += [letter.id for letter in page]
        if len(page) < _PAGE:
            return found[::-1]


def _described(letter: DeadLetter) -> dict[str, str | int | None]:
    return {
        "id": letter.id,
        "state": letter.state,
        "topic": letter.topic,
        "station": letter.station_code,
        "received_at": letter.received_at.isoformat(),
        "error_code": letter.error_code,
        "error": letter.error,
        "content_type": letter.content_type,
        "payload_hex": bytes(letter.payload).hex(),
        "replayed_at": letter.replayed_at.isoformat() if letter.replayed_at else None,
        "replay_error": letter.replay_error,
    }
