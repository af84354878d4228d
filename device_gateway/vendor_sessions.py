"""Sessions of cabinets that do not announce themselves: opened by the first frame, and after every restart told of.

After a silence that ended its session a cabinet is back with its second word, as a native one (decision 0102). It may
speak every ten minutes only: with the first word it is asked what it holds, and its answer is the second.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from device_gateway.intake import Foreign
from firmware_protocol.commands import QueryInventory
from firmware_protocol.messages import Booted
from firmware_protocol.types import ResetCause
from fleet.common.bulk import array
from fleet.devices import sessions
from fleet.devices.commands import queue_command
from fleet.devices.models import CommandPurpose
from fleet.devices.presence import SILENT
from fleet.devices.sessions import BootNotice

#: How long the cabinet may take to answer the inventory that every session begins with.
INVENTORY_WITHIN: Final = timedelta(seconds=60)
_UNKNOWN: Final = "unknown"

#: The second word must be written down: later than `presence.SETTLES` and than signs of life are apart (`touch`).
ASK_AFTER: Final = timedelta(seconds=6)

#: Without an open session, or with one from before its last call of `connect`, and not locked out. `quiet`: only
#: silence ended the last one, and nothing says that the cabinet restarted since.
_DUE: Final = text("""
SELECT t.id, t.slot_count, coalesce(p.firmware, t.firmware_version),
       (SELECT coalesce(max(epoch), 0) FROM device_session WHERE station_id = t.id),
       (SELECT coalesce(max(boot), 0) FROM device_stream WHERE station_id = t.id),
       s.cause = :silent AND (p.connected_at IS NULL OR p.connected_at <= s.connected_at) AND stream.is_open AS quiet
  FROM station t
  LEFT JOIN device_profile p ON p.station_id = t.id
  LEFT JOIN LATERAL (SELECT epoch, connected_at, ended_at, cause FROM device_session
                      WHERE station_id = t.id ORDER BY epoch DESC LIMIT 1) s ON true,
       LATERAL (SELECT EXISTS (SELECT FROM device_stream d
                                WHERE d.station_id = t.id AND d.closed_at IS NULL) AS is_open) stream
 WHERE t.id = ANY(CAST(:ids AS int[])) AND p.locked_out_at IS NULL
       AND (s.epoch IS NULL OR s.ended_at IS NOT NULL OR p.connected_at > s.connected_at OR NOT stream.is_open)
""")
_ASKED: Final = text("""
SELECT station_id FROM device_command
 WHERE station_id = ANY(CAST(:ids AS int[])) AND kind = 'query_inventory' AND created_at > :since
""")


def open_for(session: Session, first: Mapping[int, Foreign], now: datetime) -> None:
    """Give every station a session. Two gateways at once make the same one: the second finds it made."""
    speaking = [key for key, each in first.items() if not each.dialect.capabilities.connection_bound]
    if not speaking:
        return
    rows = session.execute(_DUE, {"ids": array(speaking), "silent": SILENT}).all()
    notices = [
        _notice(first[station_id], slots, firmware or _UNKNOWN, epoch + 1, boot + 1)
        for station_id, slots, firmware, epoch, boot, quiet in rows
        if not quiet
    ]
    begin(session, notices, now)
    _ask(session, [row[0] for row in rows if row.quiet], now)


def _ask(session: Session, stations: list[int], now: datetime) -> None:
    """What is in their slots, unless they have just been asked: the first word after a silence may be the last."""
    asked = set(session.scalars(_ASKED, {"ids": array(stations), "since": now - INVENTORY_WITHIN})) if stations else ()
    for station_id in stations:
        if station_id not in asked:
            queue_command(
                session,
                station_id=station_id,
                command=QueryInventory(),
                deadline=now + INVENTORY_WITHIN,
                now=now,
                purpose=CommandPurpose.HEARD_AGAIN,
                not_before=now + ASK_AFTER,
            )


def begin(session: Session, notices: list[BootNotice], now: datetime) -> None:
    """Open sessions; the caller commits."""
    if notices:
        sessions.open_sessions(session, notices, now, inventory_deadline=now + INVENTORY_WITHIN)


def _notice(each: Foreign, slots: int, firmware: str, epoch: int, boot: int) -> BootNotice:
    booted = Booted(
        epoch=epoch, firmware=firmware, hardware=each.dialect.name, slots=slots, reset_cause=ResetCause.UNKNOWN
    )
    return BootNotice(each.station.id, boot, booted, None, each.received.received_at)
