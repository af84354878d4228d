"""`voltbay stations`: each group of its commands is a file."""

import typer

from cli import fleet_views, station_cabinets, station_credentials, station_desk

app = typer.Typer(help="Stations and what they prove themselves with.", no_args_is_help=True)
station_desk.register(app)
station_credentials.register(app)
station_cabinets.register(app)
app.command("charge")(fleet_views.station_charge)
app.command("health")(fleet_views.station_health)
