"""`voltbay alerts`: what operators should look after, on the command line."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli import alert_rules
from cli.database import fleet_session
from fleet.common.clock import utc_now
from fleet.telemetry import alerts
from fleet.telemetry.alerts import Only
from fleet.telemetry.models import Alert, AlertState, Severity

app = typer.Typer(help="Alerts: list, show, acknowledge; and the rules that make them.", no_args_is_help=True)
alert_rules.register(app)
_Id = Annotated[int, typer.Argument(help="As `list` shows it.")]


@app.command("list")
def list_(
    station: Annotated[str | None, typer.Option(help="Only of this station.")] = None,
    severity: Annotated[Severity | None, typer.Option(help="Only of this one.")] = None,
    closed: Annotated[bool, typer.Option("--closed", help="Those that are over instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
) -> None:
    """Those that are not over, newest first."""
    state = AlertState.CLOSED if closed else None
    only = Only(state=state, severity=severity, station=station, current=not closed)
    with fleet_session("alerts") as (session, _):
        found = alerts.list_alerts(session, only, limit)
    table = Table("id", "since", "severity", "what", "where", "value", "state", box=None)
    for alert in found:
        value = "" if alert.value is None else f"{alert.value:g}"
        table.add_row(
            str(alert.id),
            f"{alert.since:%Y-%m-%d %H:%M}",
            alert.severity,
            alert.kind,
            _where(alert),
            value,
            alert.state,
        )
    Console().print(table if found else "no alerts")


@app.command()
def show(alert_id: _Id) -> None:
    """One alert with its history."""
    with fleet_session("alerts") as (session, _):
        alert = alerts.get_alert(session, alert_id)
    typer.echo(f"{alert.id}: {alert.rule.name} ({alert.kind}, {alert.severity}) at {_where(alert)}: {alert.state}")
    for event in alert.history:
        typer.echo(f"  {event.at:%Y-%m-%d %H:%M:%S} {event.what}{f': {event.note}' if event.note else ''}")


@app.command()
def acknowledge(alert_id: _Id, note: Annotated[str | None, typer.Option(help="What is being done.")] = None) -> None:
    """Say that somebody looks after it; again, it adds the note."""
    with fleet_session("alerts") as (session, _):
        alerts.acknowledge(session, alert_id, actor_id=None, note=note, now=utc_now())
    typer.echo(f"{alert_id}: acknowledged")


@app.command()
def rules() -> None:
    """The rules that make alerts."""
    with fleet_session("alerts") as (session, _):
        found = alerts.list_rules(session)
    table = Table("id", "name", "kind", "severity", "threshold", "for", "where", "enabled", box=None)
    for rule in found:
        place = rule.station.code if rule.station is not None else rule.city or "all"
        threshold = "" if rule.threshold is None else f"{rule.threshold:g}"
        enabled = "yes" if rule.enabled else "no"
        table.add_row(str(rule.id), rule.name, rule.kind, rule.severity, threshold, str(rule.duration), place, enabled)
    Console().print(table if found else "no rules")


def _where(alert: Alert) -> str:
    station = "-" if alert.station is None else alert.station.code
    slot = "" if alert.slot_number is None else f"/{alert.slot_number}"
    bank = "" if alert.power_bank is None else f" {alert.power_bank.serial}"
    return f"{station}{slot}{bank}"
