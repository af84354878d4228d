"""Alerts and the rules that make them."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query, Response
from pydantic import ConfigDict, Field

from api.admin.acts import ActsDep
from api.admin.schemas import Code
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Input, Instant, Limit, Page, Schema
from api.v1 import area
from fleet.telemetry import alerts
from fleet.telemetry.alert_rules import LONGEST_S
from fleet.telemetry.alerts import Only, RuleSpec
from fleet.telemetry.models import Alert, AlertKind, AlertRule, AlertState, Severity

router = area("admin", "admin")
Id = Annotated[int, Path(ge=1, le=2**62)]
RuleId = Annotated[int, Path(ge=1, le=2**31 - 1)]


class AlertOut(Schema):
    id: int
    rule_id: int
    rule: str
    kind: AlertKind
    severity: Severity
    state: AlertState
    #: What it is about: `station:5`, `bank:77`, `cabinet:5`, or `rental:` and the id that the other calls take.
    subject: str
    station: str | None
    slot: int | None
    serial: str | None
    value: float | None
    since: Instant
    opened_at: Instant
    acknowledged_at: Instant | None
    acknowledged_by: UUID | None
    closed_at: Instant | None
    close_reason: str | None

    @classmethod
    def values(cls, alert: Alert) -> dict[str, Any]:
        own = {name: getattr(alert, name) for name in cls.model_fields if hasattr(alert, name)}
        return own | {
            "rule": alert.rule.name,
            "station": None if alert.station is None else alert.station.code,
            "slot": alert.slot_number,
            "serial": None if alert.power_bank is None else alert.power_bank.serial,
        }


class AlertEventOut(Schema):
    at: Instant
    what: str
    actor_id: UUID | None
    note: str | None


class AlertDetailOut(AlertOut):
    history: list[AlertEventOut]

    @classmethod
    def of(cls, alert: Alert) -> "AlertDetailOut":
        history = [AlertEventOut.model_validate(each) for each in alert.history]
        return cls(**AlertOut.values(alert), history=history)


class AcknowledgeIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"note": "technician is on the way"}]})

    note: Annotated[str | None, Field(min_length=1, max_length=1000)] = None


class AlertRuleIn(Input):
    """Without `station` and `city` it is for all stations."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Zürich offline",
                    "kind": "offline",
                    "severity": "warning",
                    "duration_s": 600,
                    "city": "Zürich",
                }
            ]
        }
    )

    name: Annotated[str, Field(min_length=1, max_length=100)]
    kind: AlertKind
    severity: Severity
    threshold: Annotated[
        float | None,
        Field(
            description="over_temperature: °C; low_charge: %; full, empty: slots or banks; jam_rate: jams in 24 h;"
            " certificate: days; flapping: connections in 15 minutes; long_rental, bank_missing: hours"
        ),
    ] = None
    duration_s: Annotated[int, Field(ge=0, le=LONGEST_S, description="how long it must be so")] = 0
    clear_after_s: Annotated[int, Field(ge=0, le=LONGEST_S, description="how long it must be over")] = 300
    station: Code | None = None
    city: Annotated[str | None, Field(min_length=1, max_length=100)] = None
    enabled: bool = True

    def spec(self) -> RuleSpec:
        values = self.model_dump(exclude={"duration_s", "clear_after_s"})
        duration, clear_after = timedelta(seconds=self.duration_s), timedelta(seconds=self.clear_after_s)
        return RuleSpec(**values, duration=duration, clear_after=clear_after)


class AlertRuleOut(Schema):
    id: int
    name: str
    kind: AlertKind
    severity: Severity
    threshold: float | None
    duration_s: int
    clear_after_s: int
    station: str | None
    city: str | None
    enabled: bool

    @classmethod
    def of(cls, rule: AlertRule) -> "AlertRuleOut":
        return cls(
            id=rule.id,
            name=rule.name,
            kind=rule.kind,
            severity=rule.severity,
            threshold=rule.threshold,
            duration_s=round(rule.duration.total_seconds()),
            clear_after_s=round(rule.clear_after.total_seconds()),
            station=None if rule.station is None else rule.station.code,
            city=rule.city,
            enabled=rule.enabled,
        )


class AlertRulesOut(Schema):
    items: list[AlertRuleOut]


@router.get(
    "/alert", operation_id="admin_list_alerts", summary="What operators should look after",
    responses=problems(401, 403, 404),
)  # fmt: skip
def list_alerts(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: Annotated[AlertState | None, Query(description="left out: those that are not closed")] = None,
    kind: AlertKind | None = None,
    severity: Severity | None = None,
    station: Annotated[str | None, Query(max_length=64, description="code")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[AlertOut]:
    """Newest first."""
    only = Only(state=state, kind=kind, severity=severity, station=station, current=state is None)
    rows = alerts.list_alerts(session, only, limit + 1, runtime.cursors.read("alerts", cursor))
    more = runtime.cursors.make("alerts", rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[AlertOut(**AlertOut.values(row)) for row in rows[:limit]], next=more)


@router.get(
    "/alert/{alert_id}", operation_id="admin_get_alert", summary="An alert with its history",
    responses=problems(401, 403, 404),
)  # fmt: skip
def get_alert(alert_id: Id, session: SessionDep, _: CurrentOperator) -> AlertDetailOut:
    return AlertDetailOut.of(alerts.get_alert(session, alert_id))


@router.post(
    "/alert/{alert_id}/acknowledge", operation_id="admin_acknowledge_alert", summary="Say that somebody looks after it",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def acknowledge(alert_id: Id, body: AcknowledgeIn, acts: ActsDep) -> AlertDetailOut:
    """Sent again it adds the note. An alert closes by itself once it is over."""
    alert = alerts.acknowledge(acts.session, alert_id, actor_id=acts.operator.id, note=body.note, now=acts.now)
    acts.record("alert.acknowledge", target=str(alert_id), detail=body.model_dump())
    return AlertDetailOut.of(alert)


@router.get(
    "/alert-rule", operation_id="admin_list_alert_rules", summary="The rules that make alerts",
    responses=problems(401, 403),
)  # fmt: skip
def list_rules(session: SessionDep, _: CurrentOperator) -> AlertRulesOut:
    return AlertRulesOut(items=[AlertRuleOut.of(rule) for rule in alerts.list_rules(session)])


@router.post(
    "/alert-rule", operation_id="admin_create_alert_rule", summary="Make a rule", status_code=201,
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def create_rule(body: AlertRuleIn, acts: ActsDep) -> AlertRuleOut:
    rule = alerts.create_rule(acts.session, body.spec(), acts.now)
    acts.record("alert_rule.create", target=rule.name, detail=body.model_dump(mode="json"))
    return AlertRuleOut.of(rule)


@router.put(
    "/alert-rule/{rule_id}", operation_id="admin_change_alert_rule", summary="Change a rule",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def change_rule(rule_id: RuleId, body: AlertRuleIn, acts: ActsDep) -> AlertRuleOut:
    """What it found by its old words is closed; what is so by the new ones opens anew."""
    rule = alerts.change_rule(acts.session, rule_id, body.spec(), acts.now)
    acts.record("alert_rule.change", target=rule.name, detail=body.model_dump(mode="json"))
    return AlertRuleOut.of(rule)


@router.delete(
    "/alert-rule/{rule_id}", operation_id="admin_remove_alert_rule", summary="Remove a rule", status_code=204,
    responses=problems(401, 403, 404),
)  # fmt: skip
def remove_rule(rule_id: RuleId, acts: ActsDep) -> Response:
    """Its alerts are closed and can still be read."""
    alerts.remove_rule(acts.session, rule_id, acts.now)
    acts.record("alert_rule.remove", target=str(rule_id))
    return Response(status_code=204)
