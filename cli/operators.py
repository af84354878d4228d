from typing import Annotated

import typer

from cli.running import settings_with_database
from fleet.common.clock import utc_now
from fleet.common.errors import FleetError
from fleet.db import create_engine_from, session_scope
from fleet.users.service import create_operator


def createsuperuser(
    destination: Annotated[str, typer.Argument(help="E-mail address or phone (+41…) to which codes are sent.")],
    name: Annotated[str, typer.Option(help="As it appears in the audit log.")] = "Operator",
) -> None:
    """Make an operator account, or an operator of an account; signing in takes a code sent to the address."""
    with settings_with_database() as settings:
        engine = create_engine_from(settings.database_url.get_secret_value(), name="voltbay-createsuperuser")
        try:
            with session_scope(engine) as session:
                user = create_operator(session, destination, name, utc_now())
        except FleetError as error:
            typer.echo(f"voltbay: {error}", err=True)
            raise typer.Exit(1) from None
        finally:
            engine.dispose()
    typer.echo(f"operator {user.email or user.phone} ({user.id})")
