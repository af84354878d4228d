from typing import Annotated

import typer

from cli import migrations
from cli.running import settings_with_database
from fleet.db import create_engine_from


def migrate(
    revision: Annotated[str, typer.Argument(help="Alembic revision.")] = "head",
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 unless the schema is current.")
    ] = False,
) -> None:
    """Bring the database schema up to date."""
    with settings_with_database() as settings:
        url = settings.database_url.get_secret_value()
        if not check:
            migrations.upgrade(url, revision)
        engine = create_engine_from(url, name="voltbay-migrate")
        at, head = migrations.current(engine), migrations.head()
        engine.dispose()
    typer.echo(f"schema at {at or 'nothing'}" + ("" if at == head else f", newest is {head}"))
    if check and at != head:
        raise typer.Exit(1)
