"""One transaction of the fleet's database for a command."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from sqlalchemy.orm import Session

from cli.running import settings_with_database
from fleet.common.errors import FleetError
from fleet.db import create_engine_from, session_scope
from fleet.settings import Settings


@contextmanager
def fleet_session(name: str) -> Iterator[tuple[Session, Settings]]:
    """What the business refuses ends the command with its message and exit code 1; nothing is then written.

    `name` is what PostgreSQL shows of the connection.
    """
    with settings_with_database() as settings:
        engine = create_engine_from(settings.database_url.get_secret_value(), name=f"voltbay-{name}")
        try:
            with session_scope(engine) as session:
                yield session, settings
        except FleetError as error:
            typer.echo(f"voltbay: {error}", err=True)
            raise typer.Exit(1) from None
        finally:
            engine.dispose()
