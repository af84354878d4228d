"""Rules against what is true now: alerts open, hold, clear and close (decision 0113).

Only the state of the database counts, never the event that made somebody look: looking twice, late, or not at all for a
while changes nothing but the time.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.bulk import instants, words
from fleet.common.outbox import publish
from fleet.telemetry.alert_conditions import STATEMENTS, findings
from fleet.telemetry.alert_rules import Finding, Step, begun, with_alert, without_alert
from fleet.telemetry.events import AlertClosed, AlertOpened
from fleet.telemetry.models import Alert, AlertEvent, AlertKind, AlertRule, AlertState, AlertWatch

_LOCK: Final = 0x616C7274
CLEARED: Final = "cleared"
_WATCH: Final = text("""
INSERT INTO alert_watch (rule_id, subject, since)
SELECT :rule, subject, since FROM unnest(CAST(:subjects AS text[]), CAST(:since AS timestamptz[])) AS v(subject, since)
ON CONFLICT DO NOTHING
""")


@dataclass(slots=True)
class Evaluated:
    opened: int = 0
    closed: int = 0


def sweep(session: Session, now: datetime) -> Evaluated:
    """All rules of this area, all stations; twice at once the second one returns."""
    if not session.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}):
        return Evaluated()
    return _look(session, _rules(session, STATEMENTS), now, None)


def sweep_others(session: Session, statements: Mapping[AlertKind, str], now: datetime) -> Evaluated:
    """All rules of kinds that an area above this one looks for, each by its statement, which gives a `Finding`'s
    columns; waits while others evaluate.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    return _look(session, _rules(session, statements), now, None, statements)


def look_at_stations(session: Session, station_ids: Collection[int], now: datetime) -> Evaluated:
    """All rules for these stations at once, because something happened there; waits while others evaluate."""
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    rules = [rule for rule in _rules(session, STATEMENTS) if rule.station_id is None or rule.station_id in station_ids]
    return _look(session, rules, now, sorted(station_ids))


def close_alerts_of(session: Session, rule: AlertRule, reason: str, now: datetime) -> None:
    """The rule counts no more; what it found is over, and what it watched is forgotten."""
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    session.execute(delete(AlertWatch).where(AlertWatch.rule_id == rule.id))
    for alert in _open_alerts(session, [rule.id], None)[rule.id].values():
        _close(session, alert, reason, now)


def _rules(session: Session, kinds: Collection[AlertKind]) -> list[AlertRule]:
    counts = AlertRule.enabled & AlertRule.removed_at.is_(None) & AlertRule.kind.in_(kinds)
    query = select(AlertRule).where(counts).order_by(AlertRule.id)
    return list(session.scalars(query.execution_options(populate_existing=True)))


def _look(
    session: Session,
    rules: Sequence[AlertRule],
    now: datetime,
    stations: Sequence[int] | None,
    statements: Mapping[AlertKind, str] = STATEMENTS,
) -> Evaluated:
    """One statement for each rule, whatever the number of stations (None: all), and one for what is known of all."""
    found = {rule.id: findings(session, rule, now, stations=stations, statements=statements) for rule in rules}
    alerts = _open_alerts(session, list(found), stations)
    watched = _watched(session, found, stations)
    done = Evaluated()
    for rule in rules:
        _evaluate(session, _Look(rule, found[rule.id], alerts[rule.id], watched[rule.id]), now, done)
    return done


@dataclass(frozen=True, slots=True)
class _Look:
    """What a rule finds, by subject, and what is known of it."""

    rule: AlertRule
    found: Mapping[str, Finding]
    alerts: Mapping[str, Alert]
    #: Since when.
    watched: Mapping[str, datetime]


def _evaluate(session: Session, look: _Look, now: datetime, done: Evaluated) -> None:
    rule, found, alerts, watched = look.rule, look.found, look.alerts, look.watched
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


def _open_alerts(
    session: Session, rules: Collection[int], stations: Collection[int] | None
) -> dict[int, dict[str, Alert]]:
    """By rule and subject. Locked: an operator may acknowledge at this moment."""
    query = select(Alert).where(Alert.rule_id.in_(rules), Alert.state != AlertState.CLOSED).order_by(Alert.id)
    if stations is not None:
        query = query.where(Alert.station_id.in_(stations))
    known: dict[int, dict[str, Alert]] = {rule_id: {} for rule_id in rules}
    for alert in session.scalars(query.with_for_update().execution_options(populate_existing=True)):
        known[alert.rule_id][alert.subject] = alert
    return known


def _watched(
    session: Session, found: Mapping[int, Mapping[str, Finding]], stations: Collection[int] | None
) -> dict[int, dict[str, datetime]]:
    """By rule and subject: of all subjects, or of what each rule found and the stations themselves."""
    query = select(AlertWatch.rule_id, AlertWatch.subject, AlertWatch.since).where(AlertWatch.rule_id.in_(found))
    themselves = {f"station:{station_id}" for station_id in stations or ()}
    if stations is not None:
        query = query.where(AlertWatch.subject.in_(themselves.union(*found.values())))
    known: dict[int, dict[str, datetime]] = {rule_id: {} for rule_id in found}
    for rule_id, subject, since in session.execute(query):
        if stations is None or subject in themselves or subject in found[rule_id]:
            known[rule_id][subject] = since
    return known


def _save_watches(session: Session, rule: AlertRule, fresh: dict[str, datetime], over: list[str]) -> None:
    if fresh:
        values = {"rule": rule.id, "subjects": words(fresh), "since": instants(fresh.values())}
        session.execute(_WATCH, values)
    if over:
        session.execute(delete(AlertWatch).where(AlertWatch.rule_id == rule.id, AlertWatch.subject.in_(over)))
