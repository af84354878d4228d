"""Sessions of cabinets that do not announce themselves: opened by the first frame, and after every restart told of."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from device_gateway.intake import Foreign
from firmware_protocol.messages import Booted
from firmware_protocol.types import ResetCause
from fleet.common.bulk import array
from fleet.devices import sessions
from fleet.devices.sessions import BootNotice

#: How long the cabinet may take to answer the inventory that every session begins with.
INVENTORY_WITHIN: Final = timedelta(seconds=60)
_UNKNOWN: Final = "unknown"

#: Without an open session, or with one from before its last call of `connect`.
_DUE: Final = text("""
SELECT t.id, t.slot_count, coalesce(p.firmware, t.firmware_version),
       (SELECT coalesce(max(epoch), 0) FROM device_session WHERE station_id = t.id),
       (SELECT coalesce(max(boot), 0) FROM device_stream WHERE station_id = t.id)
  FROM station t
  LEFT JOIN device_profile p ON p.station_id = t.id
  LEFT JOIN device_session s ON s.station_id = t.id AND s.ended_at IS NULL
 WHERE t.id = ANY(CAST(:ids AS int[])) AND (s.epoch IS NULL OR p.connected_at > s.connected_at
       OR NOT EXISTS (SELECT FROM device_stream d WHERE d.station_id = t.id AND d.closed_at IS NULL))
""")


def open_for(session: Session, first: Mapping[int, Foreign], now: datetime) -> None:
    """Give every station a session. Two gateways at once make the same one: the second finds it made."""
    speaking = [key for key, each in first.items() if not each.dialect.capabilities.connection_bound]
    if not speaking:
        return
    rows = session.execute(_DUE, {"ids": array(speaking)}).all()
    notices = [
        _notice(first[station_id], slots, firmware or _UNKNOWN, epoch + 1, boot + 1)
        for station_id, slots, firmware, epoch, boot in rows
    ]
    begin(session, notices, now)


def begin(session: Session, notices: list[BootNotice], now: datetime) -> None:
    """Open sessions; the caller commits."""
    if notices:
        sessions.open_sessions(session, notices, now, inventory_deadline=now + INVENTORY_WITHIN)


def _notice(each: Foreign, slots: int, firmware: str, epoch: int, boot: int) -> BootNotice:
    booted = Booted(
        epoch=epoch, firmware=firmware, hardware=each.dialect.name, slots=slots, reset_cause=ResetCause.UNKNOWN
    )
    return BootNotice(each.station.id, boot, booted, None, each.received.received_at)
