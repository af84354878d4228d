"""What each kind of alert looks for, in one statement: all subjects within a rule's scope at which it is so."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from fleet.common.bulk import array, words
from fleet.devices.reconcile import STALE_AFTER
from fleet.stations.models import HealthKind
from fleet.telemetry.alert_rules import HYSTERESIS, Finding
from fleet.telemetry.models import AlertKind, AlertRule

#: What of slots each kind counts.
INCIDENTS: Final[Mapping[AlertKind, tuple[HealthKind, ...]]] = {
    AlertKind.JAM_RATE: (HealthKind.JAM, HealthKind.FAILED_EJECT),
    AlertKind.ANTI_THEFT: (HealthKind.ANTI_THEFT,),
}
#: A measurement older than this says nothing about now.
FRESH: Final = timedelta(minutes=15)
INCIDENTS_WITHIN: Final = timedelta(days=1)
CONNECTED_WITHIN: Final = timedelta(minutes=15)
CALLED_WITHIN: Final = timedelta(hours=1)

#: Stations that the rule is about. Of one that an operator keeps out of use only what is dangerous is told.
SCOPE: Final = """
    (CAST(:station_id AS integer) IS NULL OR s.id = :station_id) AND (CAST(:city AS text) IS NULL OR s.city = :city)
    AND (CAST(:only AS integer[]) IS NULL OR s.id = ANY(CAST(:only AS integer[])))
"""
_ACTIVE: Final = f"{SCOPE} AND s.status = 'active'"
_NOT_DISABLED: Final = f"{SCOPE} AND s.status <> 'disabled'"
_COLUMNS: Final = "'station:' || s.id AS subject, s.id AS station_id"
#: Without a slot and a bank.
_NOWHERE: Final = "CAST(NULL AS integer) AS slot_number, CAST(NULL AS integer) AS power_bank_id"

_OFFLINE: Final = f"""
SELECT {_COLUMNS}, true AS fires, {_NOWHERE}, extract(epoch FROM :now - s.online_changed_at) AS value,
       s.online_changed_at AS since
  FROM station s WHERE NOT s.online AND s.online_changed_at IS NOT NULL AND {_ACTIVE}
"""  # noqa: S608  # our own words
_FAULT: Final = f"""
SELECT {_COLUMNS}, true AS fires, {_NOWHERE}, CAST(NULL AS float) AS value, f.at AS since
  FROM station_fault f JOIN station s ON s.id = f.station_id
 WHERE f.active AND f.kind = :kind AND {_NOT_DISABLED}
"""  # noqa: S608  # our own words
_HOT: Final = f"""
{_FAULT} UNION ALL
SELECT 'bank:' || b.id, s.id, b.temperature_c >= :threshold, l.number, b.id, b.temperature_c, NULL
  FROM power_bank b JOIN station_slot l ON l.power_bank_id = b.id JOIN station s ON s.id = l.station_id
 WHERE b.temperature_c >= :clear AND b.sampled_at > :fresh AND {_NOT_DISABLED}
 UNION ALL
SELECT 'cabinet:' || s.id, s.id, s.temperature_c >= :threshold, NULL, NULL, s.temperature_c, NULL
  FROM station s WHERE s.temperature_c >= :clear AND s.last_heard_at > :fresh AND {_NOT_DISABLED}
"""  # noqa: S608  # our own words
_LOW_CHARGE: Final = f"""
SELECT {_COLUMNS}, max(b.charge_pct) < :threshold AS fires, {_NOWHERE}, max(b.charge_pct) AS value,
       CAST(NULL AS timestamptz) AS since
  FROM station s JOIN station_slot l ON l.station_id = s.id JOIN power_bank b ON b.id = l.power_bank_id
 WHERE s.online AND b.state = 'available' AND b.charge_pct IS NOT NULL AND {_ACTIVE}
 GROUP BY s.id HAVING max(b.charge_pct) < :clear
"""  # noqa: S608  # our own words
_FULL: Final = f"""
SELECT {_COLUMNS}, true AS fires, {_NOWHERE}, count(*) FILTER (WHERE l.state = 'empty' AND l.locked IS NOT TRUE
           AND l.disabled_reason IS NULL AND l.fault IS NULL) AS value, CAST(NULL AS timestamptz) AS since
  FROM station s JOIN station_slot l ON l.station_id = s.id WHERE s.online AND {_ACTIVE}
 GROUP BY s.id HAVING bool_and(l.observed_at IS NOT NULL) AND count(*) FILTER (WHERE l.state = 'empty'
       AND l.locked IS NOT TRUE AND l.disabled_reason IS NULL AND l.fault IS NULL) <= :threshold
"""  # noqa: S608  # our own words
_EMPTY: Final = f"""
SELECT {_COLUMNS}, true AS fires, {_NOWHERE}, count(b.id) AS value, CAST(NULL AS timestamptz) AS since
  FROM station s JOIN station_slot l ON l.station_id = s.id
  LEFT JOIN power_bank b ON b.id = l.power_bank_id AND b.state = 'available' AND b.known
 WHERE s.online AND {_ACTIVE}
 GROUP BY s.id HAVING bool_and(l.observed_at IS NOT NULL) AND count(b.id) <= :threshold
"""  # noqa: S608  # our own words
_INCIDENTS: Final = f"""
SELECT {_COLUMNS}, true AS fires, {_NOWHERE}, count(*) AS value, max(h.at) AS since
  FROM health_event h JOIN station s ON s.id = h.station_id
 WHERE h.kind = ANY(CAST(:incidents AS text[])) AND h.at > :incidents_since AND {_NOT_DISABLED}
 GROUP BY s.id HAVING count(*) >= :threshold
"""  # noqa: S608  # our own words
_INVENTORY: Final = f"""
SELECT {_COLUMNS}, true AS fires, {_NOWHERE}, CAST(NULL AS float) AS value, p.stale_since AS since
  FROM device_profile p JOIN station s ON s.id = p.station_id WHERE p.stale_since IS NOT NULL AND {_ACTIVE}
 UNION ALL
SELECT {_COLUMNS}, true, {_NOWHERE}, NULL, r.answered_at
  FROM station_reconciliation r JOIN station s ON s.id = r.station_id
 WHERE r.unanswered >= :unanswered AND s.online AND {_ACTIVE}
"""  # noqa: S608  # our own words
_FIRMWARE: Final = f"""
SELECT {_COLUMNS}, true AS fires, {_NOWHERE}, CAST(NULL AS float) AS value, CAST(NULL AS timestamptz) AS since
  FROM firmware_rollout_target t JOIN station s ON s.id = t.station_id
 WHERE t.state IN ('failed', 'timed_out') AND {_ACTIVE}
   AND NOT EXISTS (SELECT FROM firmware_rollout_target n
                    WHERE n.station_id = t.station_id AND n.offered_at > t.offered_at)
"""  # noqa: S608  # our own words
#: `value` is in days, and below 0 when it has ended. A successor that was fetched and never used is not enough.
_CERTIFICATE: Final = f"""
SELECT {_COLUMNS}, true AS fires, {_NOWHERE}, extract(epoch FROM c.expires_at - :now) / 86400 AS value,
       c.expires_at - make_interval(secs => :threshold * 86400) AS since
  FROM device_credential c JOIN station s ON s.id = c.station_id
 WHERE c.state = 'current' AND c.expires_at < :now + make_interval(secs => :threshold * 86400) AND {_NOT_DISABLED}
"""  # noqa: S608  # our own words

#: Sessions are counted only where something changed lately: every station has one, and few have many.
_FLAPPING: Final = f"""
SELECT {_COLUMNS}, true AS fires, {_NOWHERE}, d.connections AS value, CAST(NULL AS timestamptz) AS since
  FROM (SELECT station_id FROM device_session WHERE ended_at IS NULL AND connected_at > :connected_since
           AND (CAST(:only AS integer[]) IS NULL OR station_id = ANY(CAST(:only AS integer[])))
         UNION
        SELECT id FROM station WHERE online_changed_at > :connected_since
           AND (CAST(:only AS integer[]) IS NULL OR id = ANY(CAST(:only AS integer[])))) lately
  JOIN station s ON s.id = lately.station_id
  JOIN LATERAL (SELECT count(*) AS connections FROM device_session
                 WHERE station_id = s.id AND connected_at > :connected_since) d ON d.connections >= :threshold
 WHERE {_NOT_DISABLED}
"""  # noqa: S608  # our own words
#: A restart is one call, and from where its calls always come.
_CONNECT: Final = f"""
SELECT {_COLUMNS}, true AS fires, {_NOWHERE}, count(*) AS value, min(c.received_at) AS since
  FROM device_call c JOIN station s ON s.id = c.station_id
 WHERE c.doubt IS NOT NULL AND c.received_at > :called_since AND {_NOT_DISABLED}
 GROUP BY s.id HAVING count(*) >= :threshold OR bool_or(c.doubt = 'network')
"""  # noqa: S608  # our own words

#: What this area looks for itself.
STATEMENTS: Final = {
    AlertKind.OFFLINE: _OFFLINE,
    AlertKind.OVER_TEMPERATURE: _HOT,
    AlertKind.SMOKE: _FAULT,
    AlertKind.TAMPER: _FAULT,
    AlertKind.POWER_LOST: _FAULT,
    AlertKind.LOW_CHARGE: _LOW_CHARGE,
    AlertKind.FULL: _FULL,
    AlertKind.EMPTY: _EMPTY,
    AlertKind.JAM_RATE: _INCIDENTS,
    AlertKind.ANTI_THEFT: _INCIDENTS,
    AlertKind.INVENTORY: _INVENTORY,
    AlertKind.FIRMWARE: _FIRMWARE,
    AlertKind.CERTIFICATE: _CERTIFICATE,
    AlertKind.FLAPPING: _FLAPPING,
    AlertKind.CONNECT: _CONNECT,
}


def findings(
    session: Session,
    rule: AlertRule,
    now: datetime,
    *,
    stations: Collection[int] | None = None,
    statements: Mapping[AlertKind, str] = STATEMENTS,
) -> dict[str, Finding]:
    """By subject. `stations`: only what concerns these. `statements`: of kinds that other areas look for."""
    rows = session.execute(text(statements[rule.kind]), _values(rule, now, stations))
    return {row.subject: Finding(**row._asdict()) for row in rows}


def _values(rule: AlertRule, now: datetime, stations: Collection[int] | None) -> Mapping[str, Any]:
    threshold, hysteresis = rule.threshold or 0.0, HYSTERESIS.get(rule.kind, 0.0)
    return {
        "station_id": rule.station_id,
        "city": rule.city,
        "only": None if stations is None else array(stations),
        "now": now,
        "kind": rule.kind.value,
        "threshold": threshold,
        "clear": threshold + hysteresis if rule.kind is AlertKind.LOW_CHARGE else threshold - hysteresis,
        "fresh": now - FRESH,
        "incidents": words(kind.value for kind in INCIDENTS.get(rule.kind, ())),
        "incidents_since": now - INCIDENTS_WITHIN,
        "connected_since": now - CONNECTED_WITHIN,
        "called_since": now - CALLED_WITHIN,
        "unanswered": STALE_AFTER,
    }
