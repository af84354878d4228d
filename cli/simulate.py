from pathlib import Path
from typing import Annotated

import typer

from cli.running import default_home, find_running
from simulators.main import run
from simulators.options import DEFAULT_MQTT_URL, SimulatorOptions
from simulators.spec import Kind
from simulators.tuning import REALISTIC_EJECT_MS, Wire


def simulate(  # noqa: PLR0917  # typer gives them by name
    stations: Annotated[int, typer.Option(min=1, help="Cabinets VB-0001…")] = 4,
    mqtt: Annotated[str | None, typer.Option(help="Broker; default: the running system's, else port 1883.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same fleet.")] = 1,
    control_port: Annotated[int, typer.Option(help="Control API on 127.0.0.1; 0: any free port.")] = 0,
    state: Annotated[Path | None, typer.Option(help="Folder that carries the cabinets over a restart.")] = None,
    encoding: Annotated[Wire, typer.Option(help="Of the cabinets' frames.")] = Wire.JSON,
    eject_ms: Annotated[str, typer.Option(help="Duration of an eject: 300 or 300-1200.")] = "",
    telemetry_s: Annotated[float | None, typer.Option(help="Instead of what the backend asks for.")] = None,
    heartbeat_s: Annotated[float | None, typer.Option(help="Instead of what the backend asks for.")] = None,
    codes_file: Annotated[Path | None, typer.Option(help="A fleet as .json, or one station code a line.")] = None,
    firmware_root: Annotated[Path | None, typer.Option(help="Root of trust: cabinets take signed updates.")] = None,
    kind: Annotated[Kind, typer.Option(help="What the cabinets are.")] = Kind.NATIVE,
    http_url: Annotated[str | None, typer.Option(help="Base of the HTTP calls that vendors' cabinets make.")] = None,
    relink: Annotated[str | None, typer.Option(help="host:port that Relink cabinets connect to.")] = None,
) -> None:
    """Run simulated cabinets against a broker, speaking the real protocol."""
    options = SimulatorOptions(
        stations=stations,
        mqtt_url=mqtt or _broker(),
        seed=seed,
        control_port=control_port,
        state=state,
        encoding=encoding,
        eject_ms=_milliseconds(eject_ms) if eject_ms else REALISTIC_EJECT_MS,
        telemetry_s=telemetry_s,
        heartbeat_s=heartbeat_s,
        codes_file=codes_file,
        firmware_root=firmware_root,
        kind=kind,
        http_url=http_url,
        relink=relink,
    )
    if mqtt is None:
        _refuse_the_running_systems(options)
    raise typer.Exit(run(options))


def _refuse_the_running_systems(options: SimulatorOptions) -> None:
    """Two cabinets of one name take each other's session, and the backend restarts whichever is there."""
    state = find_running(default_home())
    if state is None or state.control_url is None or options.codes_file is not None:
        return
    twice = sorted({station.code for station in options.fleet().stations} & set(state.stations))
    if twice:
        typer.echo(
            f"voltbay: the running system simulates {twice[0]} itself ({state.control_url}); start it with more "
            "--stations, or with --no-simulators",
            err=True,
        )
        raise typer.Exit(1)


def _broker() -> str:
    state = find_running(default_home())
    return DEFAULT_MQTT_URL if state is None else state.device_mqtt_url


def _milliseconds(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    try:
        span = int(low), int(high or low)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number of ms nor a range like 300-1200") from None
    if not 0 <= span[0] <= span[1]:
        raise typer.BadParameter(f"{text!r}: the range must rise from 0 or more")
    return span
