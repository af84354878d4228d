"""`voltbay device-config`, `voltbay device-logs`: what operators do over HTTP, from a shell."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy.orm import Session

from cli.database import fleet_session
from cli.desk import AsJson, Limit, print_table
from firmware_protocol.config_keys import KEYS
from fleet.common.clock import utc_now
from fleet.devices.configuration import layers, queries, rules, sync
from fleet.devices.configuration.models import ConfigScope
from fleet.devices.configuration.rules import Standing
from fleet.devices.logs import collect
from fleet.stations.models import Station
from fleet.users import audit

config = typer.Typer(
    help="What cabinets are told: keys, show, set, layer, layers, drop-layer, stations.", no_args_is_help=True
)
logs = typer.Typer(help="Cabinets' logs: fetch, list, save.", no_args_is_help=True)
_Code = Annotated[str, typer.Argument(help="Station code.")]
_Values = Annotated[list[str] | None, typer.Argument(help="KEY=VALUE, VALUE as JSON or plain text; none: nothing.")]


def record(session: Session, action: str, target: str, **detail: Any) -> None:
    """As the API does; the actor is whoever has a shell here."""
    audit.record(session, action=action, now=utc_now(), target=target, detail={"by": "voltbay", **detail})


def _parsed(pairs: list[str] | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE")
        try:
            values[key] = json.loads(value)
        except json.JSONDecodeError:
            values[key] = value
    return values


@config.command("show")
def show_config(code: _Code) -> None:
    """What a station should have, what it says it has, and where they differ; as JSON."""
    with fleet_session("devices") as (session, _):
        row = queries.config_of(session, code)
        found = [] if row.reported is None else rules.differences(row.desired, row.reported)
        shown = {
            "version": row.version,
            "accepted_version": row.accepted_version,
            "desired": row.desired,
            "reported": row.reported,
            "differences": [each.key for each in found],
            "refused_code": row.refused_code,
        }
    typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))


@config.command("set")
def set_config(code: _Code, values: _Values = None) -> None:
    """Replace what one station alone is told."""
    parsed = _parsed(values)
    with fleet_session("devices") as (session, _):
        row = layers.set_overrides(session, code, parsed, utc_now())
        sync.sync_station(session, row.station_id, utc_now())
        record(session, "device_config.put", code, values=parsed)
        typer.echo(f"{code}: version {row.version}")


@config.command("layer")
def set_layer(
    scope: ConfigScope,
    name: Annotated[str, typer.Argument(help="Dialect, hardware model or group.")],
    values: _Values = None,
) -> None:
    """Replace what a dialect, model or group is told."""
    parsed = _parsed(values)
    with fleet_session("devices") as (session, _):
        layer = layers.put_layer(session, scope, name, parsed, utc_now())
        record(session, "device_config.put", f"{scope}:{name}", values=parsed)
        typer.echo(f"{scope} {name}: version {layer.version}")


@config.command("keys")
def list_keys(as_json: AsJson = False) -> None:
    """The keys that cabinets understand."""
    rows = (
        (key.name, key.kind, "" if key.high == key.low else f"{key.low} to {key.high}", key.meaning)
        for key in KEYS.values()
    )
    print_table(("key", "kind", "bounds", "meaning"), rows, as_json=as_json)


@config.command("layers")
def list_layers(as_json: AsJson = False) -> None:
    """What dialects, models and groups are told."""
    with fleet_session("devices") as (session, _):
        rows = [(each.scope, each.name, each.version, json.dumps(each.values)) for each in layers.all_layers(session)]
    print_table(("scope", "name", "version", "values"), rows, as_json=as_json)


@config.command("drop-layer")
def drop_layer(
    scope: ConfigScope, name: Annotated[str, typer.Argument(help="Dialect, hardware model or group.")]
) -> None:
    """Say nothing any more: its keys fall to wider layers, or back to the cabinets' own defaults."""
    with fleet_session("devices") as (session, _):
        layers.delete_layer(session, scope, name)
        record(session, "device_config.delete", f"{scope}:{name}")
    typer.echo(f"{scope} {name}: gone")


@config.command("stations")
def list_stations(
    standing: Annotated[Standing, typer.Option(help="pending, refused or drifted.")] = Standing.DRIFTED,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Stations that are not as they should be."""
    with fleet_session("devices") as (session, _):
        found = queries.stations_in(session, standing, limit=limit)
        rows = [(code, row.version, row.accepted_version, row.refused_code, row.reported_at) for row, code in found]
    print_table(("station", "version", "accepted", "refused", "reported"), rows, as_json=as_json)


@logs.command("fetch")
def fetch_log(
    code: _Code,
    hours: Annotated[
        float | None, typer.Option(min=0.01, max=9600, help="Only the lines of the last so many hours.")
    ] = None,
    max_bytes: Annotated[
        int, typer.Option(min=1024, max=collect.LARGEST_MAX_BYTES, help="The newest, at most so many.")
    ] = collect.DEFAULT_MAX_BYTES,
) -> None:
    """Ask a cabinet for its log; `save` writes what has come."""
    with fleet_session("devices") as (session, _):
        now = utc_now()
        since = None if hours is None else now - timedelta(hours=hours)
        log = collect.request_log(session, code, now, since=since, max_bytes=max_bytes)
        record(session, "device_log.request", code, log_id=str(log.id))
        typer.echo(str(log.id))


@logs.command("list")
def list_logs(limit: Limit = 50, as_json: AsJson = False) -> None:
    """Newest first."""
    with fleet_session("devices") as (session, _):
        rows = [
            (log.id, session.get_one(Station, log.station_id).code, log.state, log.size, log.created_at)
            for log in collect.logs_of(session, station_id=None, limit=limit)
        ]
    print_table(("id", "station", "state", "bytes", "asked for"), rows, as_json=as_json)


@logs.command("save")
def save_log(log_id: UUID, output: Annotated[Path, typer.Argument(help="A gzip file.")]) -> None:
    """Write what has come of a log."""
    with fleet_session("devices") as (session, _):
        output.write_bytes(b"".join(collect.content_gzip(session, log_id)))
        record(session, "device_log.download", str(log_id))
        typer.echo(f"{collect.get_log(session, log_id).state}: {output}")
