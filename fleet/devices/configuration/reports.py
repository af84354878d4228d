"""What cabinets say of their configuration: in `booted`, and in reports. Order of arrival means nothing: a word counts
when its (boot, seq) is above that of the last one that counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from firmware_protocol.messages import ConfigReport
from fleet.common.bulk import array, booleans
from fleet.devices.configuration.layers import lock_config
from fleet.devices.configuration.sync import judge_drift, raise_version
from fleet.devices.facts import DeviceFact


@dataclass(frozen=True, slots=True)
class BootWord:
    """`config_version` None: the cabinet does not know. `updated`: it starts with another firmware."""

    station_id: int
    boot: int
    config_version: int | None
    updated: bool


#: Rows exist only where something is wanted: a fleet without configuration pays one index probe per boot.
_BOOTED: Final = text("""
INSERT INTO device_config AS c (station_id, stale, accepted_version, seen_boot)
SELECT w.station_id, true, coalesce(w.version, 0), w.boot
  FROM unnest(CAST(:ids AS int[]), CAST(:boots AS bigint[]), CAST(:versions AS bigint[]), CAST(:updated AS bool[]))
       AS w(station_id, boot, version, updated)
 WHERE EXISTS (SELECT FROM device_config_layer)
    OR EXISTS (SELECT FROM device_config d WHERE d.station_id = w.station_id)
 ORDER BY w.station_id
ON CONFLICT (station_id) DO UPDATE
   SET stale = true, next_try_at = NULL, tries = 0,
       seen_boot = greatest(c.seen_boot, excluded.seen_boot),
       seen_seq = CASE WHEN excluded.seen_boot > c.seen_boot THEN 0 ELSE c.seen_seq END,
       accepted_version = CASE
           WHEN excluded.seen_boot > c.seen_boot AND NOT (c.station_id = ANY(CAST(:silent AS int[])))
           THEN excluded.accepted_version ELSE c.accepted_version END,
       refused_version = CASE WHEN c.station_id = ANY(CAST(:changed AS int[])) THEN NULL ELSE c.refused_version END
""")
_LIFT: Final = text("""
UPDATE device_config SET version = accepted_version + CASE WHEN desired = '{}' THEN 0 ELSE 1 END
 WHERE station_id = ANY(CAST(:ids AS int[])) AND accepted_version > version
""")
_WANTED: Final = text("SELECT station_id, version FROM device_config WHERE station_id = ANY(CAST(:ids AS int[]))")


def booted(session: Session, words: Sequence[BootWord]) -> None:
    """New sessions began. A later sweep sends what the cabinets lack; a firmware that is new is asked again."""
    if not words:
        return
    ordered = sorted(words, key=lambda word: word.station_id)
    ids = array(word.station_id for word in ordered)
    session.execute(
        _BOOTED,
        {
            "ids": ids,
            "boots": array(word.boot for word in ordered),
            "versions": array(word.config_version for word in ordered),
            "updated": booleans(word.updated for word in ordered),
            "silent": array(word.station_id for word in ordered if word.config_version is None),
            "changed": array(word.station_id for word in ordered if word.updated),
        },
    )
    session.execute(_LIFT, {"ids": ids})


def wanted_versions(session: Session, station_ids: Sequence[int]) -> dict[int, int]:
    """What `welcome` says; a station that nobody configures is not in it."""
    rows = session.execute(_WANTED, {"ids": array(station_ids)})
    return {row.station_id: row.version for row in rows}


def take_report(session: Session, fact: DeviceFact, report: ConfigReport, now: datetime) -> bool:
    """Store what the cabinet has; False when something newer is known."""
    row = lock_config(session, fact.station_id)
    if (fact.boot, fact.seq) <= (row.seen_boot, row.seen_seq):
        return False
    row.seen_boot, row.seen_seq = fact.boot, fact.seq
    row.reported, row.reported_at = dict(report.values), fact.occurred_at
    row.accepted_version = report.version
    if row.accepted_version > row.version:
        if row.desired:
            raise_version(row, now)
        else:
            row.version = row.accepted_version
    if row.version == row.accepted_version:
        row.tries, row.next_try_at = 0, None
    judge_drift(row)
    session.flush()  # the next event of the batch may be of the same station
    return True
