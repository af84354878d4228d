"""`voltbay alerts add-rule|change-rule|remove-rule`: the rules that make alerts, edited at the console."""

from dataclasses import asdict, replace
from datetime import timedelta
from typing import Annotated, Any

import typer

from cli.desk import Reason, desk
from fleet.telemetry import alerts
from fleet.telemetry.alerts import RuleSpec
from fleet.telemetry.models import AlertKind, AlertRule, Severity
from fleet.users import audit

_Id = Annotated[int, typer.Argument(help="As `rules` shows it.")]
_Threshold = Annotated[
    float | None,
    typer.Option(
        help="over_temperature: °C; low_charge: %; full, empty: slots, banks; jam_rate: a day; certificate: days;"
        " flapping: a quarter of an hour; long_rental, bank_missing: hours."
    ),
]
_Duration = Annotated[int | None, typer.Option(min=0, help="Seconds that it must be so.")]
_Clear = Annotated[int | None, typer.Option(min=0, help="Seconds that it must be over.")]
_Station = Annotated[str | None, typer.Option(help="Only for this station.")]
_City = Annotated[str | None, typer.Option(help="Only for stations of this city.")]
_Enabled = Annotated[bool | None, typer.Option("--enabled/--disabled")]


def register(app: typer.Typer) -> None:
    app.command("add-rule")(add_rule)
    app.command("change-rule")(change_rule)
    app.command("remove-rule")(remove_rule)


def add_rule(  # noqa: PLR0917  # typer gives them by name
    name: str,
    kind: AlertKind,
    reason: Reason,
    severity: Severity = Severity.WARNING,
    threshold: _Threshold = None,
    duration_s: _Duration = None,
    clear_after_s: _Clear = None,
    station: _Station = None,
    city: _City = None,
    enabled: _Enabled = None,
) -> None:
    """Make a rule; without --station and --city it is for all stations."""
    given = _given(threshold, duration_s, clear_after_s, station, city, enabled)
    spec = replace(RuleSpec(name, kind, severity), **given)
    with desk() as at:
        rule = alerts.create_rule(at.session, spec, at.now)
        audit.act(at.session, at.actor, "alert_rule.create", rule.name, at.now, reason=reason, after=_noted(spec))
        typer.echo(f"{rule.id}: {rule.name}")


def change_rule(  # noqa: PLR0917  # typer gives them by name
    rule_id: _Id,
    reason: Reason,
    name: Annotated[str | None, typer.Option()] = None,
    severity: Annotated[Severity | None, typer.Option()] = None,
    threshold: _Threshold = None,
    duration_s: _Duration = None,
    clear_after_s: _Clear = None,
    station: _Station = None,
    city: _City = None,
    enabled: _Enabled = None,
    everywhere: Annotated[bool, typer.Option("--everywhere", help="For all stations again.")] = False,
) -> None:
    """Change what is named; alerts that it found by its old words are over."""
    given = _given(threshold, duration_s, clear_after_s, station, city, enabled)
    given |= {key: value for key, value in (("name", name), ("severity", severity)) if value is not None}
    if station is not None or city is not None or everywhere:
        given = {"station": None, "city": None, **given}
    with desk() as at:
        before = _spec_of(alerts.get_rule(at.session, rule_id))
        after = replace(before, **given)
        rule = alerts.change_rule(at.session, rule_id, after, at.now)
        changes = {"before": _noted(before), "after": _noted(after)}
        audit.act(at.session, at.actor, "alert_rule.change", rule.name, at.now, reason=reason, **changes)
        typer.echo(f"{rule.id}: {rule.name}")


def remove_rule(rule_id: _Id, reason: Reason) -> None:
    """Take a rule away; the alerts that it found are over."""
    with desk() as at:
        name = alerts.get_rule(at.session, rule_id).name
        alerts.remove_rule(at.session, rule_id, at.now)
        audit.act(at.session, at.actor, "alert_rule.remove", name, at.now, reason=reason)
        typer.echo(f"{rule_id}: removed")


def _given(  # noqa: PLR0917  # two callers, each option once
    threshold: float | None,
    duration_s: int | None,
    clear_after_s: int | None,
    station: str | None,
    city: str | None,
    enabled: bool | None,
) -> dict[str, Any]:
    values: dict[str, Any] = {
        "threshold": threshold,
        "duration": None if duration_s is None else timedelta(seconds=duration_s),
        "clear_after": None if clear_after_s is None else timedelta(seconds=clear_after_s),
        "station": station,
        "city": city,
        "enabled": enabled,
    }
    return {name: value for name, value in values.items() if value is not None}


def _spec_of(rule: AlertRule) -> RuleSpec:
    return RuleSpec(
        name=rule.name,
        kind=rule.kind,
        severity=rule.severity,
        threshold=rule.threshold,
        duration=rule.duration,
        clear_after=rule.clear_after,
        station=None if rule.station is None else rule.station.code,
        city=rule.city,
        enabled=rule.enabled,
    )


def _noted(spec: RuleSpec) -> dict[str, Any]:
    seconds = {"duration": spec.duration.total_seconds(), "clear_after": spec.clear_after.total_seconds()}
    return {**asdict(spec), **seconds}
