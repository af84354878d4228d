"""`voltbay device-groups`: groups of stations that are configured and updated together."""

from typing import Annotated

import typer

from cli.desk import AsJson, Reason, desk, print_table
from fleet.devices.configuration import groups
from fleet.users import audit

app = typer.Typer(help="Groups of cabinets: list, put, members, change, delete.", no_args_is_help=True)
_Name = Annotated[str, typer.Argument(help="Of the group.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """All groups, by name."""
    with desk() as at:
        rows = [(group.name, group.rank, count, group.description) for group, count in groups.groups(at.session)]
    print_table(("name", "rank", "stations", "description"), rows, as_json=as_json)


@app.command()
def put(
    name: _Name,
    reason: Reason,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    rank: Annotated[
        int, typer.Option(min=-1000, max=1000, help="Of two groups of a station the one with the higher rank counts.")
    ] = 0,
) -> None:
    """Make a group, or change it."""
    with desk() as at:
        groups.put_group(at.session, name, at.now, description=description, rank=rank)
        after = {"description": description, "rank": rank}
        audit.act(at.session, at.actor, "device_group.put", name, at.now, reason=reason, after=after)
    typer.echo(f"{name}: rank {rank}")


@app.command()
def members(name: _Name) -> None:
    """Station codes, a line each."""
    with desk() as at:
        found = groups.members(at.session, name)
    typer.echo("\n".join(found))


@app.command()
def change(
    name: _Name,
    reason: Reason,
    add: Annotated[list[str] | None, typer.Option(help="Station code; again for each.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Station code; again for each.")] = None,
) -> None:
    """Add or remove stations; their configuration follows."""
    joining, leaving = add or [], remove or []
    with desk() as at:
        count = groups.change_members(at.session, name, add=joining, remove=leaving)
        audit.act(at.session, at.actor, "device_group.change", name, at.now, reason=reason, add=joining, remove=leaving)
    typer.echo(f"{name}: {count} stations")


@app.command()
def delete(name: _Name, reason: Reason) -> None:
    """Dissolve a group that nothing is configured for any more."""
    with desk() as at:
        groups.delete_group(at.session, name)
        audit.act(at.session, at.actor, "device_group.delete", name, at.now, reason=reason)
    typer.echo(f"{name}: dissolved")
