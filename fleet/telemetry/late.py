"""Rows that come when their hour may have been rolled up already: noted, so that upkeep adds that hour up again."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from firmware_protocol.messages import SlotTelemetry
from fleet.common.bulk import array, instants, raw_cursor, words
from fleet.telemetry.columns import SLOT, STATION
from fleet.telemetry.samples import Sample

#: Hours are rolled up this long after their end.
SETTLED: Final = timedelta(minutes=30)
#: A row older than this is noted. The difference is for transactions that are under way while an hour is rolled up.
LATE: Final = timedelta(minutes=15)
_NOTE: Final = """
INSERT INTO telemetry_late (series, station_id, hour, noted_at)
SELECT series, station_id, hour, %s FROM unnest(%s::text[], %s::int[], %s::timestamptz[]) AS v(series, station_id, hour)
 ORDER BY series, station_id, hour
ON CONFLICT (series, station_id, hour) DO UPDATE SET noted_at = excluded.noted_at
"""


def note(session: Session, rows: Iterable[Sample], now: datetime) -> None:
    """In the transaction that stores `rows`."""
    before = now - LATE
    hours = sorted({(_series(row), row.station_id, _hour(row.at)) for row in rows if row.at < before})
    if hours:
        with raw_cursor(session) as cursor:
            cursor.execute(
                _NOTE,
                (
                    now,
                    words(each[0] for each in hours),
                    array(each[1] for each in hours),
                    instants(e[2] for e in hours),
                ),
            )


def _series(row: Sample) -> str:
    return SLOT.name if isinstance(row.message, SlotTelemetry) else STATION.name


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
