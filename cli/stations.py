"""`voltbay stations`: each group of its commands is a file."""

import typer

from cli import station_credentials

app = typer.Typer(help="Stations and what they prove themselves with.", no_args_is_help=True)
station_credentials.register(app)
