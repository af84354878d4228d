"""`voltbay rollouts`: firmware on its way through the fleet."""

from typing import Annotated, Final
from uuid import UUID

import typer

from cli.database import fleet_session
from cli.desk import AsJson, Limit, print_table
from cli.device_upkeep import record
from fleet.common.clock import utc_now
from fleet.devices.firmware import queries, releases, rollouts
from fleet.devices.firmware.models import TargetState
from fleet.devices.firmware.rollouts import GroupSpec
from fleet.devices.firmware.rules import Action

_MOST_NAME: Final = 64
app = typer.Typer(help="Firmware on its way: plan, list, show, targets, events, steer.", no_args_is_help=True)


@app.command("plan")
def plan(  # noqa: PLR0917  # typer gives them by name
    release_id: int,
    to: Annotated[
        list[str] | None,
        typer.Option(
            help="A group of stations, once for each, in their order: 10% (of those that no group before has), "
            "group:NAME (a device group), or CODE,CODE."
        ),
    ] = None,
    percent: Annotated[
        list[int] | None, typer.Option(help="The same as --to N%; these groups come after those of --to.")
    ] = None,
    by_itself: Annotated[
        bool, typer.Option("--by-itself", help="Each group starts when the one before is through; else next_group.")
    ] = False,
    name: str = "",
    per_minute: Annotated[int, typer.Option(min=1, max=6000)] = 10,
    failure_pct: Annotated[int, typer.Option(min=0, max=100)] = 10,
    deadline_s: Annotated[int, typer.Option(min=30, max=604_800, help="For one station.")] = 1800,
) -> None:
    """A draft: nothing is sent before it is approved. Give --to or --percent at least once."""
    chosen = [*(to or ()), *(f"{each}%" for each in percent or ())]
    if not chosen:
        raise typer.BadParameter("which stations? Say --to 10%, --to group:NAME, or --to CODE,CODE")
    specs = [_group(each, by_itself=by_itself) for each in chosen]
    with fleet_session("devices") as (session, _):
        row = rollouts.create(
            session,
            release_id=release_id,
            name=name or f"release {release_id}",
            specs=specs,
            now=utc_now(),
            failure_pct=failure_pct,
            per_minute=per_minute,
            device_deadline_s=deadline_s,
        )
        record(session, "firmware.rollout", str(row.id), release_id=release_id)
        typer.echo(str(row.id))


def _group(chosen: str, *, by_itself: bool) -> GroupSpec:
    share = chosen.removesuffix("%").strip()
    if share != chosen:
        if not share.isdecimal() or not 1 <= int(share) <= 100:
            raise typer.BadParameter(f"{chosen!r}: expected 1% to 100%")
        return GroupSpec(f"{share} %", percent=int(share), starts_by_itself=by_itself)
    kind, colon, group = chosen.partition(":")
    if colon:
        if kind != "group" or not group:
            raise typer.BadParameter(f"{chosen!r}: expected group:NAME")
        return GroupSpec(group, group=group, starts_by_itself=by_itself)
    codes = tuple(code for each in chosen.split(",") if (code := each.strip()))
    if not codes:
        raise typer.BadParameter(f"{chosen!r} names no station")
    return GroupSpec(", ".join(codes)[:_MOST_NAME], stations=codes, starts_by_itself=by_itself)


@app.command("show")
def show_rollout(rollout_id: UUID) -> None:
    """How far it is, group by group."""
    with fleet_session("devices") as (session, _):
        row = queries.get_rollout(session, rollout_id)
        version = releases.get_release(session, row.release_id).version
        typer.echo(f"{row.name} ({version}): {row.state}{f', {row.reason}' if row.reason else ''}")
        for group, counts in queries.groups_of(session, row.id):
            states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
            mark = "*" if group.number == row.current_group else " "
            typer.echo(f"{mark} {group.number} {group.name}: {states}")


@app.command("steer")
def steer(
    rollout_id: UUID,
    action: Action,
    reason: str = "",
    retry_failed: Annotated[bool, typer.Option(help="With resume: those that failed get another turn.")] = False,
) -> None:
    """Approve, pause, resume, next group, abort."""
    with fleet_session("devices") as (session, _):
        row = rollouts.steer(
            session, rollout_id, action, utc_now(), actor_id=None, reason=reason or None, retry_failed=retry_failed
        )
        record(session, f"firmware.{action}", str(rollout_id), reason=reason)
        typer.echo(row.state)


@app.command("list")
def list_(limit: Limit = 50, as_json: AsJson = False) -> None:
    """Newest first."""
    with fleet_session("devices") as (session, _):
        rows = [
            (row.id, row.name, row.state, row.reason, row.created_at) for row in queries.rollouts(session, limit=limit)
        ]
    print_table(("id", "name", "state", "reason", "planned"), rows, as_json=as_json)


@app.command()
def targets(
    rollout_id: UUID,
    state: Annotated[TargetState | None, typer.Option(help="Only those.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Each station of a rollout."""
    with fleet_session("devices") as (session, _):
        queries.get_rollout(session, rollout_id)
        found = queries.targets_of(session, rollout_id, limit=limit, state=state)
        rows = [(code, row.group_number, row.state, row.from_version, row.attempts, row.code) for row, code in found]
    print_table(("station", "group", "state", "from", "attempts", "code"), rows, as_json=as_json)


@app.command()
def events(rollout_id: UUID, limit: Limit = 100, as_json: AsJson = False) -> None:
    """Everything that happened in a rollout, newest first."""
    with fleet_session("devices") as (session, _):
        queries.get_rollout(session, rollout_id)
        rows = [
            (row.at, row.what, code, row.before, row.after)
            for row, code in queries.events_of(session, rollout_id, limit=limit)
        ]
    print_table(("at", "what", "station", "before", "after"), rows, as_json=as_json)
