"""`voltbay alerts`: what operators should look after, on the command line."""

from typing import Annotated

import typer

from cli import alert_rules
from cli.database import fleet_session
from cli.desk import AsJson, Limit, print_table
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
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Those that are not over, newest first."""
    state = AlertState.CLOSED if closed else None
    only = Only(state=state, severity=severity, station=station, current=not closed)
    with fleet_session("alerts") as (session, _):
        found = alerts.list_alerts(session, only, limit)
    columns = ("id", "since", "severity", "what", "where", "value", "state")
    rows = (
        (each.id, each.since, each.severity, each.kind, _where(each), _number(each.value), each.state) for each in found
    )
    print_table(columns, rows, as_json=as_json)


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
def rules(as_json: AsJson = False) -> None:
    """The rules that make alerts."""
    with fleet_session("alerts") as (session, _):
        found = alerts.list_rules(session)
    columns = ("id", "name", "kind", "severity", "threshold", "for", "where", "enabled")
    rows = (
        (
            rule.id,
            rule.name,
            rule.kind,
            rule.severity,
            _number(rule.threshold),
            rule.duration,
            rule.station.code if rule.station is not None else rule.city or "all",
            rule.enabled,
        )
        for rule in found
    )
    print_table(columns, rows, as_json=as_json)


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:g}"


def _where(alert: Alert) -> str:
    station = "-" if alert.station is None else alert.station.code
    slot = "" if alert.slot_number is None else f"/{alert.slot_number}"
    bank = "" if alert.power_bank is None else f" {alert.power_bank.serial}"
    rental = f" {alert.subject}" if alert.subject.startswith("rental:") else ""
    return f"{station}{slot}{bank}{rental}"
