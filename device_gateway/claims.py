"""Which commands are sent now, by which gateway: claimed by conditional updates, one eject in flight per station."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from psycopg2.errors import UniqueViolation
from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from device_gateway import dialects
from firmware_protocol.commands import CommandFrame
from firmware_protocol.dialect import Dialect, Published
from firmware_protocol.errors import ProtocolError
from fleet.devices import commands
from fleet.devices.models import CommandState, DeviceCommand

#: Commands in one claim; more are claimed right after.
MOST: Final = 200
#: Without an answer a command is published again after this long, then after twice as long, and so on.
REPEAT_AFTER: Final = timedelta(seconds=2)

_QUEUED: Final = text("""
SELECT c.id, t.code, t.dialect FROM device_command c
  JOIN station t ON t.id = c.station_id
  JOIN device_session s ON s.station_id = c.station_id AND s.ended_at IS NULL
 WHERE c.state = 'queued' AND c.deadline > :now
   AND NOT (c.kind = 'eject_power_bank' AND EXISTS (
       SELECT FROM device_command o
        WHERE o.station_id = c.station_id AND o.kind = 'eject_power_bank' AND o.state IN ('sent', 'unknown')))
   AND NOT (c.purpose IS NOT DISTINCT FROM 'periodic' AND EXISTS (
       SELECT FROM device_command o
        WHERE o.station_id = c.station_id AND o.kind = 'eject_power_bank' AND o.state IN ('queued', 'sent', 'unknown')))
 ORDER BY c.created_at, c.id LIMIT :most
   FOR UPDATE OF c SKIP LOCKED
""")
_UNANSWERED: Final = text("""
SELECT c.id, t.code, t.dialect FROM device_command c
  JOIN station t ON t.id = c.station_id
  JOIN device_session s ON s.station_id = c.station_id AND s.ended_at IS NULL
 WHERE c.state = 'sent' AND c.deadline > :now AND c.attempt > 0
   AND c.sent_at < CAST(:now AS timestamptz) - CAST(:after AS interval) * c.attempt * (c.attempt + 1) / 2
   AND t.dialect = ANY(:dialects)
 ORDER BY c.deadline LIMIT :most
   FOR UPDATE OF c SKIP LOCKED
""")


@dataclass(frozen=True, slots=True)
class Order:
    """One publication of one command."""

    message: Published
    deadline: datetime
    kind: str


def claim(session: Session, gateway: str, now: datetime) -> tuple[list[Order], int]:
    """Take QUEUED commands of connected stations: they are SENT when the caller commits, and then to be published.

    Returns what to publish, and how many rows were looked at (`MOST`: there may be more).
    """
    rows = session.execute(_QUEUED, {"now": now, "most": MOST}).all()
    orders: list[Order] = []
    ejecting: set[int] = set()
    for row, command in _commands(session, rows):
        if command.kind == commands.EJECT:
            if command.station_id in ejecting:
                continue
            ejecting.add(command.station_id)
        order = _send(session, row, command, gateway, now)
        if order is not None:
            orders.append(order)
    return orders, len(rows)


def repeat(session: Session, now: datetime) -> list[Order]:
    """Publish again what got no answer, where a repeated id moves nothing twice; any gateway may, after a crash too."""
    able = [name for name, dialect in dialects.DIALECTS.items() if dialect.capabilities.command_ids]
    rows = session.execute(_UNANSWERED, {"now": now, "after": REPEAT_AFTER, "dialects": able, "most": MOST}).all()
    orders: list[Order] = []
    for row, command in _commands(session, rows):
        command.attempt += 1
        message = _encode(dialects.named(row.dialect), row.code, command)
        command.payload = message.payload
        orders.append(Order(message, command.deadline, command.kind))
    session.flush()
    return orders


def _commands(
    session: Session, rows: Sequence[Row[tuple[object, ...]]]
) -> list[tuple[Row[tuple[object, ...]], DeviceCommand]]:
    found: list[tuple[Row[tuple[object, ...]], DeviceCommand]] = []
    for row in rows:
        command = session.get(DeviceCommand, row.id)
        if command is not None:
            found.append((row, command))
    return found


def _send(
    session: Session, row: Row[tuple[object, ...]], command: DeviceCommand, gateway: str, now: datetime
) -> Order | None:
    """Mark it SENT with its frame. None: another gateway has an eject under way there, or it cannot be said at all."""
    command.attempt = 1
    try:
        message = _encode(dialects.named(row.dialect), row.code, command)
    except ProtocolError as error:
        command.state, command.settled_at, command.code = CommandState.FAILED, now, f"{error.code}: {error}"[:256]
        return None
    try:
        with session.begin_nested():
            command.state, command.sent_at, command.claimed_by = CommandState.SENT, now, gateway
            command.topic, command.payload = message.topic, message.payload
            session.flush()
    except IntegrityError as error:
        if not isinstance(error.orig, UniqueViolation):
            raise
        return None
    return Order(message, command.deadline, command.kind)


def _encode(dialect: Dialect, station: str, command: DeviceCommand) -> Published:
    frame = CommandFrame(
        command_id=str(command.id),
        deadline_ms=round(command.deadline.timestamp() * 1000),
        attempt=command.attempt,
        command=commands.command_of(command),
    )
    return dialect.encode_command(station, frame)
