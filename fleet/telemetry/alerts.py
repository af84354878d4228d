"""What operators do with alerts and their rules."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, joinedload, selectinload

from fleet.common.errors import InvalidInput
from fleet.common.outbox import publish
from fleet.stations.queries import find_station
from fleet.telemetry import errors
from fleet.telemetry.alert_rules import check_rule
from fleet.telemetry.alerting import close_alerts_of
from fleet.telemetry.events import AlertAcknowledged
from fleet.telemetry.models import Alert, AlertEvent, AlertKind, AlertRule, AlertState, Severity


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """A rule as an operator says it. `station`: its code; without station and city it is for all."""

    name: str
    kind: AlertKind
    severity: Severity
    threshold: float | None = None
    duration: timedelta = timedelta(0)
    clear_after: timedelta = timedelta(minutes=5)
    station: str | None = None
    city: str | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Only:
    """Which alerts are listed; None: all. `current`: those that are not closed."""

    state: AlertState | None = None
    kind: AlertKind | None = None
    severity: Severity | None = None
    station: str | None = None
    current: bool = False


def list_alerts(session: Session, only: Only, limit: int, before: int | None = None) -> list[Alert]:
    """Newest first; rule, station and bank loaded. Raises StationNotFound."""
    query = _with_all(select(Alert)).order_by(Alert.id.desc()).limit(limit)
    if only.current:
        query = query.where(Alert.state != AlertState.CLOSED)
    if only.state is not None:
        query = query.where(Alert.state == only.state)
    if only.kind is not None:
        query = query.where(Alert.kind == only.kind)
    if only.severity is not None:
        query = query.where(Alert.severity == only.severity)
    if only.station is not None:
        query = query.where(Alert.station_id == find_station(session, only.station).id)
    if before is not None:
        query = query.where(Alert.id < before)
    return list(session.scalars(query))


def count_open(session: Session) -> list[tuple[AlertKind, Severity, int]]:
    """How many are not closed, by kind and severity; 0 of what a rule looks for and does not find."""
    finds = (Alert.rule_id == AlertRule.id) & (Alert.state != AlertState.CLOSED)
    query = (
        select(AlertRule.kind, AlertRule.severity, func.count(Alert.id))
        .outerjoin(Alert, finds)
        .where(AlertRule.enabled, AlertRule.removed_at.is_(None))
        .group_by(AlertRule.kind, AlertRule.severity)
        .order_by(AlertRule.kind, AlertRule.severity)
    )
    return [(kind, severity, count) for kind, severity, count in session.execute(query)]


def get_alert(session: Session, alert_id: int) -> Alert:
    """With its history. Raises AlertNotFound."""
    query = _with_all(select(Alert)).options(selectinload(Alert.history)).where(Alert.id == alert_id)
    alert = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if alert is None:
        raise errors.AlertNotFound(f"no alert {alert_id}", alert_id=alert_id)
    return alert


def acknowledge(session: Session, alert_id: int, *, actor_id: UUID | None, note: str | None, now: datetime) -> Alert:
    """An operator looks after it; again, it is only a further note. Raises AlertNotFound, AlertClosed."""
    query = select(Alert).where(Alert.id == alert_id).with_for_update()
    alert = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if alert is None:
        raise errors.AlertNotFound(f"no alert {alert_id}", alert_id=alert_id)
    if alert.state is AlertState.CLOSED:
        raise errors.AlertClosed("the alert is over", alert_id=alert_id)
    first = alert.state is AlertState.OPEN
    if first:
        alert.state, alert.acknowledged_at, alert.acknowledged_by = AlertState.ACKNOWLEDGED, now, actor_id
        publish(session, AlertAcknowledged(alert.id), now)
    if first or note is not None:
        what = "acknowledged" if first else "noted"
        session.add(AlertEvent(alert_id=alert.id, at=now, what=what, actor_id=actor_id, note=note))
    session.flush()  # it is read back with its history
    return get_alert(session, alert_id)


def list_rules(session: Session) -> list[AlertRule]:
    query = select(AlertRule).options(joinedload(AlertRule.station)).where(AlertRule.removed_at.is_(None))
    return list(session.scalars(query.order_by(AlertRule.id)))


def get_rule(session: Session, rule_id: int) -> AlertRule:
    """Locked. Raises AlertRuleNotFound."""
    query = (
        select(AlertRule)
        .options(joinedload(AlertRule.station))
        .where(AlertRule.id == rule_id, AlertRule.removed_at.is_(None))
        .with_for_update(of=AlertRule, key_share=True)  # whoever evaluates it refers to it
    )
    rule = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if rule is None:
        raise errors.AlertRuleNotFound(f"no alert rule {rule_id}", rule_id=rule_id)
    return rule


def create_rule(session: Session, spec: RuleSpec, now: datetime) -> AlertRule:
    """Raises InvalidInput, StationNotFound, AlertRuleNameTaken."""
    rule = AlertRule(created_at=now)
    _set(session, rule, spec, now)
    session.add(rule)
    session.flush()  # what the database refuses belongs to this call
    return rule


def change_rule(session: Session, rule_id: int, spec: RuleSpec, now: datetime) -> AlertRule:
    """What it found by its old words is over; what is so by the new ones is found anew. Raises as `create_rule`."""
    rule = get_rule(session, rule_id)
    _set(session, rule, spec, now)
    close_alerts_of(session, rule, "rule_changed" if spec.enabled else "rule_disabled", now)
    session.flush()  # what the database refuses belongs to this call
    return rule


def remove_rule(session: Session, rule_id: int, now: datetime) -> None:
    """Raises AlertRuleNotFound."""
    rule = get_rule(session, rule_id)
    rule.removed_at = rule.updated_at = now
    close_alerts_of(session, rule, "rule_removed", now)


def load_rules(session: Session, rows: Iterable[dict[str, Any]], now: datetime) -> int:
    """Add the rules of an initial-data file whose name was never there; returns how many. Raises InvalidInput."""
    known = set(session.scalars(select(AlertRule.name)))
    fresh = [row for row in rows if row.get("name") not in known]
    for row in fresh:
        create_rule(session, _spec(row), now)
    return len(fresh)


def _spec(row: dict[str, Any]) -> RuleSpec:
    try:
        return RuleSpec(
            name=row["name"],
            kind=AlertKind(row["kind"]),
            severity=Severity(row["severity"]),
            threshold=row.get("threshold"),
            duration=timedelta(minutes=row.get("minutes", 0)),
            clear_after=timedelta(minutes=row.get("clear_after_minutes", 5)),
            enabled=row.get("enabled", True),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"an alert rule of the file is not one: {error!r}", field="alert_rules") from error


def _set(session: Session, rule: AlertRule, spec: RuleSpec, now: datetime) -> None:
    check_rule(spec.kind, spec.threshold, spec.duration, spec.clear_after)
    if spec.station is not None and spec.city is not None:
        raise InvalidInput("a rule is for a station or for a city", field="city")
    namesake = select(AlertRule.id).where(AlertRule.name == spec.name, AlertRule.removed_at.is_(None))
    found = session.scalar(namesake)
    if found is not None and found != rule.id:
        raise errors.AlertRuleNameTaken(f"there is a rule {spec.name} already", name=spec.name)
    station = None if spec.station is None else find_station(session, spec.station)
    rule.name, rule.kind, rule.severity, rule.threshold = spec.name, spec.kind, spec.severity, spec.threshold
    rule.duration, rule.clear_after, rule.enabled, rule.city = spec.duration, spec.clear_after, spec.enabled, spec.city
    rule.station_id = None if station is None else station.id
    rule.updated_at = now
    rule.station = station


def _with_all(query: Select[Alert]) -> Select[Alert]:
    return query.options(joinedload(Alert.rule), joinedload(Alert.station), joinedload(Alert.power_bank))
