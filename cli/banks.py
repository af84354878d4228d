"""`voltbay banks`: where power banks are, what is decided about them, what became of them."""

from typing import Annotated, Final

import typer

from cli import fleet_views
from cli.desk import AsJson, Limit, Reason, desk, print_json, print_table
from cli.station_desk import print_history
from fleet.rentals.cases import banks as decisions
from fleet.rentals.records import histories
from fleet.stations import service
from fleet.stations.banks import BankView, bank_page, bank_view
from fleet.stations.exports import EXPORTS
from fleet.stations.models import PowerBankState
from fleet.users import audit

app = typer.Typer(help="Power banks: list, show, add, hold, release, adopt, history, export.", no_args_is_help=True)
app.command("health")(fleet_views.bank_health)
_Serial = Annotated[str, typer.Argument(help="The bank's serial.")]
_COLUMNS: Final = ("serial", "state", "known", "station", "slot", "charge_pct", "cycles", "health_pct", "reason")


@app.command("list")
def list_(
    state: Annotated[PowerBankState | None, typer.Option()] = None,
    foreign: Annotated[
        bool, typer.Option("--foreign", help="Those that cabinets reported and nobody entered.")
    ] = False,
    station: Annotated[str | None, typer.Option(help="In the slots of this station.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Power banks and where they are."""
    with desk() as at:
        rows = bank_page(at.session, limit=limit, state=state, known=False if foreign else None, station=station)
    print_table(_COLUMNS, ([getattr(row, name) for name in _COLUMNS] for row in rows), as_json=as_json)


@app.command()
def show(serial: _Serial) -> None:
    """One bank, as JSON."""
    with desk() as at:
        _print(bank_view(at.session, serial))


@app.command()
def add(serials: Annotated[list[str], typer.Argument(help="Serials as the labels show them.")]) -> None:
    """Enter banks into the fleet; foreign ones that a cabinet reported are adopted."""
    with desk() as at:
        report = service.add_power_banks(at.session, serials, at.now)
        detail = {"serials": serials, "console": at.actor.console}
        audit.record(at.session, action="bank.add", now=at.now, detail=detail)
    typer.echo(f"{report.added} added, {report.already_known} known already")


@app.command()
def hold(
    serial: _Serial,
    reason: Reason,
    state: Annotated[str, typer.Option(help="maintenance, damaged, quarantined or lost.")] = "quarantined",
) -> None:
    """Keep a bank from riders. With a rider it stays there, and is held when it comes back."""
    if state not in decisions.HELD:
        raise typer.BadParameter(f"one of {', '.join(sorted(decisions.HELD))}", param_hint="--state")
    with desk() as at:
        wanted = PowerBankState(state)
        decisions.hold(at.session, serial, wanted, reason=reason, actor=at.actor, now=at.now)
        at.session.flush()  # it is read back by SQL
        _print(bank_view(at.session, serial))


@app.command()
def quarantine(serial: _Serial, reason: Reason) -> None:
    """The usual hold."""
    hold(serial, reason, PowerBankState.QUARANTINED.value)


@app.command()
def release(serial: _Serial, reason: Reason) -> None:
    """Give a bank back to the fleet, whoever held it."""
    with desk() as at:
        decisions.release(at.session, serial, reason=reason, actor=at.actor, now=at.now)
        at.session.flush()  # it is read back by SQL
        _print(bank_view(at.session, serial))


@app.command()
def adopt(serial: _Serial, reason: Reason) -> None:
    """Make a foreign bank one of the fleet's."""
    with desk() as at:
        decisions.adopt(at.session, serial, reason=reason, actor=at.actor, now=at.now)
        at.session.flush()  # it is read back by SQL
        _print(bank_view(at.session, serial))


@app.command()
def history(serial: _Serial, limit: Limit = 50, as_json: AsJson = False) -> None:
    """Where a bank was, who had it, what was decided about it; newest first."""
    with desk() as at:
        entries = histories.bank_history(at.session, serial, limit=limit)
    print_history(entries, as_json=as_json)


@app.command()
def export() -> None:
    """All banks as CSV on standard output."""
    with desk() as at:
        for lines in EXPORTS["banks"](at.session):
            typer.echo(lines, nl=False)


def _print(bank: BankView) -> None:
    print_json({name: getattr(bank, name) for name in BankView.__slots__})
