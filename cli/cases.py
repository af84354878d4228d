"""`voltbay cases`: banks that left a cabinet and that no rental explains, worked off as over the API."""

from typing import Annotated
from uuid import UUID

import typer

from cli.desk import AsJson, Desk, Limit, Reason, desk, print_table
from fleet.rentals.cases import service
from fleet.rentals.cases.models import CaseState, OrphanBankCase
from fleet.rentals.cases.places import Place
from fleet.rentals.corrections import desk as decisions
from fleet.rentals.corrections.desk import CaseAct
from fleet.rentals.rules import RentalPolicy
from fleet.users import audit

app = typer.Typer(
    help="Orphan banks, which left and no rental explains: list, found, lost, foreign, assign, resolve.",
    no_args_is_help=True,
)
_Id = Annotated[UUID, typer.Argument(metavar="CASE", help="As `list` shows it.")]


@app.command("list")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Those that are closed too.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Open cases, newest first."""
    with desk() as at:
        rows = service.list_cases(at.session, None if every else CaseState.OPEN, limit)
    columns = ("id", "since", "bank", "station", "slot", "reason", "rental", "state", "resolution")
    print_table(columns, map(_row, rows), as_json=as_json)


@app.command()
def found(
    case: _Id,
    reason: Reason,
    station: Annotated[str | None, typer.Option(help="It lies in this station …")] = None,
    slot: Annotated[int | None, typer.Option(min=1, help="… and this slot.")] = None,
) -> None:
    """The bank was found: in a slot that cannot tell of it, or else in somebody's hands, and is held back."""
    if (station is None) != (slot is None):
        raise typer.BadParameter("name both, or neither", param_hint="--station, --slot")
    place = None if station is None or slot is None else Place(station, slot)
    with desk() as at:
        _say(decisions.found(_act(at, case, reason), place))


@app.command()
def lost(case: _Id, reason: Reason) -> None:
    """The bank is given up for lost; it is welcome when it comes back."""
    with desk() as at:
        _say(decisions.lost(_act(at, case, reason)))


@app.command()
def foreign(case: _Id, reason: Reason) -> None:
    """The bank is not one of the fleet's: no cabinet gives it to a rider any more."""
    with desk() as at:
        _say(decisions.foreign(_act(at, case, reason)))


@app.command()
def assign(case: _Id, rental: UUID, reason: Reason) -> None:
    """The rider of this rental has the bank: one that was thought to have failed is open again since the bank left."""
    with desk() as at:
        _say(decisions.assign(_act(at, case, reason), rental, RentalPolicy.from_settings(at.settings)))


@app.command()
def resolve(case: _Id, resolution: Annotated[str, typer.Argument(help="What was found out.")]) -> None:
    """Close a case that needs nothing put right. One whose bank comes back is closed by itself."""
    with desk() as at:
        row = service.resolve_case(at.session, case, resolution, at.now)
        detail = {"resolution": resolution, "console": at.actor.console}
        audit.record(at.session, action="orphan_case.resolve", now=at.now, target=str(case), detail=detail)
        _say(row)


def _act(at: Desk, case: UUID, reason: str) -> CaseAct:
    return CaseAct(at.session, case, reason, at.actor, at.now)


def _say(case: OrphanBankCase) -> None:
    typer.echo(f"{case.power_bank.serial}: {case.state}, {case.resolution}")


def _row(case: OrphanBankCase) -> tuple[object, ...]:
    return (
        case.id, case.opened_at, case.power_bank.serial, case.station.code, case.slot_number, case.reason,
        case.rental_id, case.state, case.resolution,
    )  # fmt: skip
