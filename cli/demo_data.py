from typing import Annotated

import typer

from cli.running import settings_with_database
from cli.seed import OPERATOR_EMAIL, RIDER_EMAIL, seed_demo
from fleet.common.clock import utc_now
from simulators.spec import default_fleet


def seed(
    stations: Annotated[int, typer.Option(min=0, help="Simulated cabinets VB-0001… to create.")] = 6,
    seed_number: Annotated[int, typer.Option("--seed", help="As told to `voltbay simulate`.")] = 1,
) -> None:
    """Fill a development system as `voltbay up` does: tariff, stations, banks, a rider, an operator; once."""
    with settings_with_database() as settings:
        if settings.production:
            typer.echo("voltbay: demo accounts have no place in production (VOLTBAY_ENVIRONMENT)", err=True)
            raise typer.Exit(1)
        fleet = default_fleet(stations, seed_number)
        seed_demo(settings.database_url.get_secret_value(), fleet, settings.currency, utc_now())
    typer.echo(f"{stations} stations; rider {RIDER_EMAIL}, operator {OPERATOR_EMAIL}")
