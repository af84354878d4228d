"""`voltbay device-config`, `voltbay device-logs`, `voltbay rollouts`: what operators do over HTTP, from a shell."""

import json
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.orm import Session

from cli.database import fleet_session
from fleet.common.clock import utc_now
from fleet.devices.configuration import layers, queries, rules, sync
from fleet.devices.configuration.models import ConfigScope
from fleet.devices.firmware import queries as rollout_queries
from fleet.devices.firmware import releases
from fleet.devices.firmware import rollouts as service
from fleet.devices.firmware.rollouts import GroupSpec
from fleet.devices.firmware.rules import Action
from fleet.devices.logs import collect
from fleet.stations.models import Station
from fleet.users import audit

config = typer.Typer(help="What cabinets are told: show, set, layer.", no_args_is_help=True)
logs = typer.Typer(help="Cabinets' logs: fetch, list, save.", no_args_is_help=True)
rollouts = typer.Typer(help="Firmware on its way: plan, show, steer.", no_args_is_help=True)
_Code = Annotated[str, typer.Argument(help="Station code.")]
_Values = Annotated[list[str] | None, typer.Argument(help="KEY=VALUE, VALUE as JSON or plain text; none: nothing.")]


def _record(session: Session, action: str, target: str, **detail: Any) -> None:
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
        _record(session, "device_config.put", code, values=parsed)
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
        _record(session, "device_config.put", f"{scope}:{name}", values=parsed)
        typer.echo(f"{scope} {name}: version {layer.version}")


@logs.command("fetch")
def fetch_log(code: _Code) -> None:
    """Ask a cabinet for its log; `save` writes what has come."""
    with fleet_session("devices") as (session, _):
        log = collect.request_log(session, code, utc_now())
        _record(session, "device_log.request", code, log_id=str(log.id))
        typer.echo(str(log.id))


@logs.command("list")
def list_logs(limit: Annotated[int, typer.Option(min=1, max=1000)] = 50) -> None:
    """Newest first."""
    table = Table("id", "station", "state", "bytes", "asked for", box=None)
    with fleet_session("devices") as (session, _):
        for log in collect.logs_of(session, station_id=None, limit=limit):
            code = session.get_one(Station, log.station_id).code
            table.add_row(str(log.id), code, log.state, str(log.size), f"{log.created_at:%Y-%m-%d %H:%M}")
    Console(width=140).print(table)


@logs.command("save")
def save_log(log_id: UUID, output: Annotated[Path, typer.Argument(help="A gzip file.")]) -> None:
    """Write what has come of a log."""
    with fleet_session("devices") as (session, _):
        output.write_bytes(b"".join(collect.content_gzip(session, log_id)))
        _record(session, "device_log.download", str(log_id))
        typer.echo(f"{collect.get_log(session, log_id).state}: {output}")


@rollouts.command("plan")
def plan(  # noqa: PLR0917  # typer gives them by name
    release_id: int,
    percent: Annotated[list[int], typer.Option(help="A group: so many % of what is left; once for each group.")],
    name: str = "",
    per_minute: Annotated[int, typer.Option(min=1, max=6000)] = 10,
    failure_pct: Annotated[int, typer.Option(min=0, max=100)] = 10,
    deadline_s: Annotated[int, typer.Option(min=30, max=604_800, help="For one station.")] = 1800,
) -> None:
    """A draft: nothing is sent before it is approved."""
    with fleet_session("devices") as (session, _):
        row = service.create(
            session,
            release_id=release_id,
            name=name or f"release {release_id}",
            specs=[GroupSpec(f"{each} %", percent=each) for each in percent],
            now=utc_now(),
            failure_pct=failure_pct,
            per_minute=per_minute,
            device_deadline_s=deadline_s,
        )
        _record(session, "firmware.rollout", str(row.id), release_id=release_id)
        typer.echo(str(row.id))


@rollouts.command("show")
def show_rollout(rollout_id: UUID) -> None:
    """How far it is, group by group."""
    with fleet_session("devices") as (session, _):
        row = rollout_queries.get_rollout(session, rollout_id)
        version = releases.get_release(session, row.release_id).version
        typer.echo(f"{row.name} ({version}): {row.state}{f', {row.reason}' if row.reason else ''}")
        for group, counts in rollout_queries.groups_of(session, row.id):
            states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
            mark = "*" if group.number == row.current_group else " "
            typer.echo(f"{mark} {group.number} {group.name}: {states}")


@rollouts.command("steer")
def steer(
    rollout_id: UUID,
    action: Action,
    reason: str = "",
    retry_failed: Annotated[bool, typer.Option(help="With resume: those that failed get another turn.")] = False,
) -> None:
    """Approve, pause, resume, next group, abort."""
    with fleet_session("devices") as (session, _):
        row = service.steer(
            session, rollout_id, action, utc_now(), actor_id=None, reason=reason or None, retry_failed=retry_failed
        )
        _record(session, f"firmware.{action}", str(rollout_id), reason=reason)
        typer.echo(row.state)
