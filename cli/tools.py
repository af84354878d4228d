"""Small commands around a system: a database shell, a Python shell, the published API document, the version."""

import code
import json
import os
import subprocess
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import make_url
from sqlalchemy.orm import Session

from cli.embedded.postgres import binary
from cli.running import settings_with_database
from fleet.db import Base, create_engine_from
from fleet.registry import AREAS
from fleet.settings import Settings

_OPENAPI_FILE = Path(__file__).resolve().parents[1] / "docs" / "openapi.json"


def psql(context: typer.Context) -> None:
    """PostgreSQL's own shell on this system's database; further arguments are passed on: voltbay psql -- -c '…'."""
    with settings_with_database() as settings:
        url = make_url(settings.database_url.get_secret_value())
        environment = os.environ | ({"PGPASSWORD": str(url.password)} if url.password else {})
        address = url._replace(password=None).render_as_string()
        done = subprocess.run([str(binary("psql")), address, *context.args], check=False, env=environment)
    raise typer.Exit(done.returncode)


def shell() -> None:
    """Python with an open session and every model at hand; what you do is rolled back unless you commit it."""
    with settings_with_database() as settings:
        engine = create_engine_from(settings.database_url.get_secret_value(), name="voltbay-shell")
        with Session(engine) as session:
            names: dict[str, Any] = {"session": session, "engine": engine, "settings": settings}
            names |= {mapper.class_.__name__: mapper.class_ for mapper in Base.registry.mappers}
            code.interact(f"session, engine, settings and the models of {len(AREAS)} areas", local=names, exitmsg="")
        engine.dispose()


def openapi(
    output: Annotated[Path | None, typer.Option(help="Where to write; default docs/openapi.json.")] = None,
) -> None:
    """Write the API's OpenAPI document from the code."""
    from api.app import create_app  # noqa: PLC0415  # only this command pays for importing the whole API

    path = output or _OPENAPI_FILE
    path.write_text(json.dumps(create_app(Settings()).openapi(), indent=2, ensure_ascii=False) + "\n")
    typer.echo(f"wrote {path}")


def version() -> None:
    """Print the version."""
    typer.echo(f"voltbay {installed_version('voltbay')}")
