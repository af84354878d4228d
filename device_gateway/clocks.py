"""Cabinets know the backend's time from their last welcome and their own ticks (protocol 12.2), and a connection may
last for months: a second welcome (6.9) sets it right. Each cabinet gets one a day, and one that refuses an order as too
late while there is time gets one at once (decision 0282).
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from device_gateway import dialects
from device_gateway.directory import Directory
from device_gateway.intake import Arrived
from device_gateway.outbound import Outbound
from firmware_protocol.commands import Welcome
from firmware_protocol.messages import CommandResult
from firmware_protocol.types import CommandOutcome
from fleet.common.bulk import array
from fleet.devices.commands import id_of
from fleet.devices.configuration import reports

MINUTES_A_DAY: Final = 24 * 60
#: An answer that comes so close to the deadline may be right.
CLOSE: Final = timedelta(seconds=1)
#: A session that began later than this ago knows the time.
_FRESH: Final = timedelta(hours=1)

_OPEN: Final = text("""
SELECT station_id, epoch FROM device_session WHERE ended_at IS NULL AND station_id = ANY(CAST(:ids AS int[]))
 ORDER BY station_id
""")
_DUE: Final = text("""
SELECT s.station_id FROM device_session s JOIN station t ON t.id = s.station_id
 WHERE s.ended_at IS NULL AND s.connected_at < :before AND t.dialect = ANY(:dialects)
   AND s.station_id % :of_day = ANY(CAST(:minutes AS int[]))
 ORDER BY s.station_id
""")
_DEADLINES: Final = text("""
SELECT id, station_id, deadline FROM device_command WHERE id = ANY(CAST(:ids AS uuid[]))
""")


def minute_of(now: datetime) -> int:
    """Counted on through the days."""
    return int(now.timestamp()) // 60


def due(session: Session, minutes: Iterable[int], now: datetime) -> list[int]:
    """Stations whose minutes of the day these are, and whose sessions have lasted for a while."""
    asked = {
        "before": now - _FRESH,
        "dialects": list(dialects.DIALECTS),
        "of_day": MINUTES_A_DAY,
        "minutes": array(minute % MINUTES_A_DAY for minute in minutes),
    }
    return list(session.scalars(_DUE, asked))


def astray(session: Session, events: Sequence[Arrived]) -> set[int]:
    """Stations that say of an order that its deadline has passed, and it has not."""
    refused = {
        key: each
        for each in events
        if type(each.frame.message) is CommandResult
        and each.frame.message.outcome is CommandOutcome.EXPIRED
        and not each.frame.replayed
        and (key := id_of(each.frame.message.command_id)) is not None
    }
    if not refused:
        return set()
    rows = session.execute(_DEADLINES, {"ids": [str(key) for key in refused]})
    return {
        row.station_id
        for row in rows
        if row.station_id == refused[row.id].station.id and row.deadline > refused[row.id].received.received_at + CLOSE
    }


def renew(
    session: Session, directory: Directory, station_ids: Collection[int], now: datetime, *, telemetry_s: int
) -> Outbound:
    """A second welcome for each of these that is connected; to be sent at once."""
    outbound = Outbound()
    if not station_ids:
        return outbound
    directory.learn_ids(session, station_ids)
    versions = reports.wanted_versions(session, sorted(station_ids))
    for row in session.execute(_OPEN, {"ids": array(sorted(station_ids))}):
        ref = directory.by_id(row.station_id)
        if ref is None:
            continue
        again = Welcome(
            epoch=row.epoch,
            server_ms=round(now.timestamp() * 1000),
            heartbeat_s=ref.heartbeat_s,
            telemetry_s=telemetry_s,
            config_version=versions.get(ref.id, 0),
        )
        outbound.control(ref, again)
    return outbound
