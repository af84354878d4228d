"""Rules against what is true now: alerts open, hold, clear and close (decision 0113).

Only the state of the database counts, never the event that made somebody look: looking twice, late, or not at all for a
while changes nothing but the time.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.outbox import publish
from fleet.telemetry.alert_conditions import findings
from fleet.telemetry.alert_rules import Finding, Step, begun, with_alert, without_alert
from fleet.telemetry.events import AlertClosed, AlertOpened
from fleet.telemetry.models import Alert, AlertEvent, AlertRule, AlertState, AlertWatch

_LOCK: Final = 0x616C7274
CLEARED: Final = "cleared"


@dataclass(slots=True)
class Evaluated:
    opened: int = 0
    closed: int = 0


def sweep(session: Session, now: datetime) -> Evaluated:
    """All rules, all stations; twice at once the second one returns."""
    if not session.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}):
        return Evaluated()
    done = Evaluated()
    for rule in _rules(session):
        _evaluate(session, rule, now, done, station_id=None)
    return done


def look_at_station(session: Session, station_id: int, now: datetime) -> Evaluated:
    """All rules for one station, because something happened there; waits while others evaluate."""
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    done = Evaluated()
    for rule in _rules(session):
        if rule.station_id in {None, station_id}:
            _evaluate(session, rule, now, done, station_id=station_id)
    return done


def close_alerts_of(session: Session, rule: AlertRule, reason: str, now: datetime) -> None:
    """The rule counts no more; what it found is over, and what it watched is forgotten."""
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    session.execute(delete(AlertWatch).where(AlertWatch.rule_id == rule.id))
    for alert in _open_alerts(session, rule, None).values():
        _close(session, alert, reason, now)


def _rules(session: Session) -> list[AlertRule]:
    query = select(AlertRule).where(AlertRule.enabled, AlertRule.removed_at.is_(None)).order_by(AlertRule.id)
    return list(session.scalars(query.execution_options(populate_existing=True)))


def _evaluate(session: Session, rule: AlertRule, now: datetime, done: Evaluated, *, station_id: int | None) -> None:
    found = findings(session, rule, now, station_id=station_id)
    alerts = _open_alerts(session, rule, station_id)
    watched = _watched(session, rule, None if station_id is None else {*found, f"station:{station_id}"})
    fresh: dict[str, datetime] = {}
    over: list[str] = []
    for subject in sorted({*found, *watched, *alerts}):
        finding, alert = found.get(subject), alerts.get(subject)
        if alert is not None:
            ahead = with_alert(finding, alert.clear_since, rule.clear_after, now)
            done.closed += _go_on(session, alert, finding, ahead, now)
            continue
        step = without_alert(finding, watched.get(subject), rule.duration, now)
        if step is Step.WATCH and finding is not None and subject not in watched:
            fresh[subject] = begun(finding, None, now)
        elif step is Step.OPEN and finding is not None:
            done.opened += _open(session, rule, finding, begun(finding, watched.get(subject), now), now)
        if step in {Step.OPEN, Step.FORGET} and subject in watched:
            over.append(subject)
    _save_watches(session, rule, fresh, over)


def _go_on(session: Session, alert: Alert, finding: Finding | None, step: Step, now: datetime) -> bool:
    if step is Step.CLOSE:
        _close(session, alert, CLEARED, now)
        return True
    if step is Step.HOLD and finding is not None:
        alert.clear_since = None
        if finding.value is not None:
            alert.value = finding.value
    elif alert.clear_since is None:
        alert.clear_since = now
    return False


def _open(session: Session, rule: AlertRule, finding: Finding, since: datetime, now: datetime) -> bool:
    alert_id = session.scalar(
        insert(Alert)
        .values(
            rule_id=rule.id,
            kind=rule.kind,
            severity=rule.severity,
            subject=finding.subject,
            station_id=finding.station_id,
            slot_number=finding.slot_number,
            power_bank_id=finding.power_bank_id,
            state=AlertState.OPEN,
            since=since,
            opened_at=now,
            value=finding.value,
        )
        .on_conflict_do_nothing()
        .returning(Alert.id)
    )
    if alert_id is None:
        return False
    session.add(AlertEvent(alert_id=alert_id, at=now, what="opened"))
    publish(session, AlertOpened(alert_id, rule.kind, rule.severity, finding.subject, finding.station_id), now)
    return True


def _close(session: Session, alert: Alert, reason: str, now: datetime) -> None:
    alert.state, alert.closed_at, alert.close_reason = AlertState.CLOSED, now, reason
    session.add(AlertEvent(alert_id=alert.id, at=now, what="closed", note=reason))
    publish(session, AlertClosed(alert.id, reason), now)


def _open_alerts(session: Session, rule: AlertRule, station_id: int | None) -> dict[str, Alert]:
    """Locked: an operator may acknowledge at this moment."""
    query = select(Alert).where(Alert.rule_id == rule.id, Alert.state != AlertState.CLOSED).order_by(Alert.id)
    if station_id is not None:
        query = query.where(Alert.station_id == station_id)
    rows = session.scalars(query.with_for_update().execution_options(populate_existing=True))
    return {alert.subject: alert for alert in rows}


def _watched(session: Session, rule: AlertRule, subjects: set[str] | None) -> dict[str, datetime]:
    query = select(AlertWatch.subject, AlertWatch.since).where(AlertWatch.rule_id == rule.id)
    if subjects is not None:
        query = query.where(AlertWatch.subject.in_(subjects))
    return {subject: since for subject, since in session.execute(query)}  # noqa: C416  # typed rows


def _save_watches(session: Session, rule: AlertRule, fresh: dict[str, datetime], over: list[str]) -> None:
    if fresh:
        rows = [{"rule_id": rule.id, "subject": subject, "since": since} for subject, since in fresh.items()]
        session.execute(insert(AlertWatch).on_conflict_do_nothing(), rows)
    if over:
        session.execute(delete(AlertWatch).where(AlertWatch.rule_id == rule.id, AlertWatch.subject.in_(over)))
