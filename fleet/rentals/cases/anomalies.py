"""What should not last: a rental that goes on for days, a bank that nobody has. Operators hear of both by alerts
(decision 0310).
"""

from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from fleet.rentals.models import IS_OPEN
from fleet.telemetry.alert_conditions import SCOPE
from fleet.telemetry.alerting import Evaluated, sweep_others
from fleet.telemetry.models import AlertKind

_HOURS: Final = "make_interval(secs => :threshold * 3600)"
#: Whatever keeps it open: a rider who does not come, a claim that no station decides, an eject without an answer.
_LONG_RENTAL: Final = f"""
SELECT 'rental:' || r.id AS subject, s.id AS station_id, true AS fires, r.slot_out AS slot_number, r.power_bank_id,
       extract(epoch FROM :now - coalesce(r.started_at, r.requested_at)) / 3600 AS value,
       coalesce(r.started_at, r.requested_at) AS since
  FROM rental r JOIN station s ON s.id = r.station_out_id
 WHERE {IS_OPEN} AND coalesce(r.started_at, r.requested_at) <= :now - {_HOURS} AND {SCOPE}
"""  # noqa: S608  # our own words
#: By what is so, not by what its state says: a case that was resolved with words only leaves a bank to nobody. Those
#: few first, and only then when each left: tens of thousands are with riders.
_BANK_MISSING: Final = f"""
WITH gone AS MATERIALIZED (
    SELECT b.id, b.updated_at FROM power_bank b
     WHERE b.state IN ('missing', 'rented') AND b.known
       AND NOT EXISTS (SELECT FROM station_slot l WHERE l.power_bank_id = b.id)
       AND NOT EXISTS (SELECT FROM rental r WHERE r.power_bank_id = b.id AND {IS_OPEN}))
SELECT 'bank:' || b.id AS subject, s.id AS station_id, true AS fires, m.slot_number, b.id AS power_bank_id,
       extract(epoch FROM :now - coalesce(m.at, b.updated_at)) / 3600 AS value, coalesce(m.at, b.updated_at) AS since
  FROM gone b
  LEFT JOIN LATERAL (SELECT station_id, slot_number, at FROM power_bank_movement
                      WHERE power_bank_id = b.id ORDER BY at DESC, id DESC LIMIT 1) m ON true
  LEFT JOIN station s ON s.id = m.station_id
 WHERE coalesce(m.at, b.updated_at) <= :now - {_HOURS} AND {SCOPE}
"""  # noqa: S608  # our own words
STATEMENTS: Final = {AlertKind.LONG_RENTAL: _LONG_RENTAL, AlertKind.BANK_MISSING: _BANK_MISSING}


def sweep(session: Session, now: datetime) -> Evaluated:
    """Alerts open and close by what is so now; run twice, or twice at once, the second run finds nothing to do."""
    return sweep_others(session, STATEMENTS, now)
