import logging
from typing import Annotated

import structlog
import typer

from cli.embedded.errors import EmbeddedError
from cli.preflight import CannotStart
from cli.system import System, SystemOptions
from fleet.settings import Settings


def up(  # noqa: PLR0917  # typer gives them by name
    stations: Annotated[int, typer.Option(min=1, max=20_000, help="Simulated cabinets.")] = 6,
    seed: Annotated[int, typer.Option(help="Seed of the simulated fleet: the same seed gives the same fleet.")] = 1,
    simulators: Annotated[bool, typer.Option(help="Run simulated cabinets beside the backend.")] = True,
    fast: Annotated[bool, typer.Option("--fast", help="Quick motors, telemetry every 2 s.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the processes' output here as well.")] = False,
    device_mqtt_url: Annotated[
        str | None, typer.Option(help="Where cabinets connect, if MQTT_URL names a broker with a listener for them.")
    ] = None,
) -> None:
    """Start everything on this machine; Ctrl-C stops it and keeps the data.

    DATABASE_URL, REDIS_URL and MQTT_URL each replace the embedded service; VOLTBAY_HOME (default .voltbay) holds the
    data, VOLTBAY_HTTP_PORT (default 8000, or a free one) is the API's port.
    """
    # What goes well is told once, below; the processes have logs of their own.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    options = SystemOptions(
        stations=stations,
        seed=seed,
        simulators=simulators,
        fast=fast,
        verbose=verbose,
        device_mqtt_url=device_mqtt_url,
    )
    try:
        failure = System(Settings(), options).run()
    except (EmbeddedError, CannotStart) as error:
        failure = str(error)
    if failure is not None:
        typer.echo(f"voltbay: {failure}", err=True)
        raise typer.Exit(1)
