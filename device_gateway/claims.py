"""Which commands are sent now, by which gateway: claimed by conditional updates, one eject in flight per station.

What a cabinet's dialect can do decides, never its name (`Capabilities`, decision 0087).
"""

from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg2.errors import UniqueViolation
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import ExecutableReturnsRows

from device_gateway import dialects
from firmware_protocol.commands import CommandFrame
from firmware_protocol.dialect import Published
from firmware_protocol.errors import ProtocolError
from firmware_protocol.vendor import Known
from fleet.common.bulk import array
from fleet.common.plans import PLANNED
from fleet.common.prepared import table_of
from fleet.common.vault import Vault
from fleet.devices import commands, profiles
from fleet.devices.models import CommandState, DeviceCommand
from fleet.stations.models import Station

#: Commands in one claim; more are claimed right after.
MOST: Final = 200
#: Without an answer a command is published again after this long, then after twice as long, and so on.
REPEAT_AFTER: Final = timedelta(seconds=2)
#: Nobody knows what became of it, and nobody ever will.
NEVER_ANSWERED: Final = "never_answered"
#: A heartbeat may be this much late (share of its period) and the cabinet still counts as heard of within one.
HEARTBEAT_SLACK: Final = 1.1


def _commands(query: str) -> ExecutableReturnsRows:
    """The rows of `query` as commands, each with its station's code and dialect."""
    table = table_of(DeviceCommand)
    columns = (*table.c, table_of(Station).c.code, table_of(Station).c.dialect)
    named = text(query.replace("{COMMAND}", ", ".join(f"c.{column.name}" for column in table.c)))
    return select(DeviceCommand, Station.code, Station.dialect).from_statement(named.columns(*columns))


#: Cabinets without numbers answer one question of a kind at a time: the answer does not say which one it answers. One
#: whose session silence ended is asked for its inventory once it was heard again, and for nothing else.
_QUEUED: Final = _commands("""
WITH can AS (
    SELECT * FROM unnest(CAST(:names AS text[]), CAST(:living AS bool[]), CAST(:bound AS bool[]),
                         CAST(:gap_s AS float[]), CAST(:answer_s AS float[]), CAST(:period_s AS float[]))
           AS v(dialect, living, bound, gap_s, answer_s, period_s))
SELECT {COMMAND}, t.code, t.dialect FROM device_command c
  JOIN station t ON t.id = c.station_id
  JOIN can ON can.dialect = t.dialect
  JOIN LATERAL (SELECT * FROM device_session WHERE station_id = c.station_id ORDER BY epoch DESC LIMIT 1) s ON true
 WHERE (s.ended_at IS NULL
        OR (can.living AND c.kind = 'query_inventory' AND s.cause = 'silent' AND s.heard_again_at IS NOT NULL))
   AND c.state = 'queued' AND c.deadline > :now AND (c.not_before IS NULL OR c.not_before <= :now)
   AND (NOT can.living OR s.last_seen_at >= CAST(:now AS timestamptz) - CAST(:slack AS float)
                                            * coalesce(t.period_s, can.period_s, t.heartbeat_s) * interval '1 second')
   AND (NOT can.bound OR (s.held_by = :gateway AND c.station_id = ANY(CAST(:connected AS int[]))))
   AND NOT (c.kind = 'eject_power_bank' AND EXISTS (
       SELECT FROM device_command o
        WHERE o.station_id = c.station_id AND o.kind = 'eject_power_bank' AND (o.state IN ('sent', 'unknown')
              OR (can.gap_s > 0 AND o.sent_at > CAST(:now AS timestamptz) - can.gap_s * interval '1 second'))))
   AND NOT (can.answer_s > 0 AND EXISTS (
       SELECT FROM device_command o
        WHERE o.station_id = c.station_id AND o.kind = c.kind AND o.state = 'sent' AND o.sent_at >= s.connected_at
              AND o.sent_at > CAST(:now AS timestamptz) - can.answer_s * interval '1 second'))
   AND NOT (c.purpose IS NOT DISTINCT FROM 'periodic' AND EXISTS (
       SELECT FROM device_command o
        WHERE o.station_id = c.station_id AND o.kind = 'eject_power_bank' AND o.state IN ('queued', 'sent', 'unknown')))
 ORDER BY c.created_at, c.id LIMIT :most
   FOR UPDATE OF c SKIP LOCKED
""").execution_options(**PLANNED)
_ANY: Final = text("SELECT EXISTS (SELECT FROM device_command WHERE state = 'queued')").execution_options(**PLANNED)
_UNANSWERED: Final = _commands("""
SELECT {COMMAND}, t.code, t.dialect FROM device_command c
  JOIN station t ON t.id = c.station_id
  JOIN device_session s ON s.station_id = c.station_id AND s.ended_at IS NULL
 WHERE c.state = 'sent' AND c.deadline > :now AND c.attempt > 0
   AND c.sent_at < CAST(:heard AS timestamptz) - CAST(:after AS interval) * c.attempt * (c.attempt + 1) / 2
   AND t.dialect = ANY(:dialects)
 ORDER BY c.deadline LIMIT :most
   FOR UPDATE OF c SKIP LOCKED
""")
_ABLE: Final = list(dialects.CAPABILITIES.values())
_CAN: Final[dict[str, Any]] = {
    "names": list(dialects.CAPABILITIES),
    "living": [can.only_to_the_living for can in _ABLE],
    "bound": [can.connection_bound for can in _ABLE],
    "gap_s": [can.eject_gap_s for can in _ABLE],
    "answer_s": [0 if can.command_ids else can.answer_within_s for can in _ABLE],
    "period_s": [can.cadence.period_s for can in _ABLE],
}


@dataclass(frozen=True, slots=True)
class Order:
    """One publication of one command."""

    message: Published
    deadline: datetime
    kind: str


@dataclass(frozen=True, slots=True)
class _Addressed:
    """A command with the station it is for. `known`: what a vendor's cabinet is known to be."""

    command: DeviceCommand
    code: str
    dialect: str
    known: Known | None


@dataclass(frozen=True, slots=True)
class Claimant:
    """The gateway that claims."""

    name: str
    #: Opens the secrets of vendors' cabinets.
    vault: Vault | None = None
    #: Stations (ids) whose connections it holds, for dialects that are bound to one.
    connected: Collection[int] = ()


def waiting(session: Session) -> bool:
    """Whether any command is QUEUED: cheap enough to ask at every wake-up, most of which are for others."""
    return bool(session.scalar(_ANY))


def claim(session: Session, claimant: Claimant, now: datetime) -> tuple[list[Order], int]:
    """Take QUEUED commands of connected stations: they are SENT when the caller commits, and then to be published.

    Returns what to publish, and how many rows were looked at (`MOST`: there may be more).
    """
    asked = {"now": now, "most": MOST, "slack": HEARTBEAT_SLACK, "gateway": claimant.name}
    rows = session.execute(_QUEUED, {**_CAN, **asked, "connected": array(sorted(claimant.connected))}).all()
    foreign = {command.station_id for command, _, dialect in rows if dialects.vendor(dialect) is not None}
    known = profiles.known(session, foreign, now, claimant.vault) if foreign else {}
    orders: list[Order] = []
    taken: set[tuple[int, str]] = set()
    for command, code, dialect in rows:
        if command.kind == commands.EJECT or command.station_id in known:
            if (command.station_id, command.kind) in taken:
                continue
            taken.add((command.station_id, command.kind))
        sent = _Addressed(command, code, dialect, known.get(command.station_id))
        order = _send(session, sent, claimant.name, now)
        if order is not None:
            orders.append(order)
    session.flush()  # what was not an eject
    return orders, len(rows)


def repeat(session: Session, now: datetime, heard_through: datetime | None = None) -> list[Order]:
    """Publish again what got no answer, where a repeated id moves nothing twice; any gateway may, after a crash too.

    `heard_through`: what came later is not stored yet, and answers may be among it. None: nothing waits to be stored.
    """
    able = [name for name, dialect in dialects.DIALECTS.items() if dialect.capabilities.command_ids]
    heard = now if heard_through is None else min(now, heard_through)
    asked = {"now": now, "heard": heard, "after": REPEAT_AFTER, "dialects": able, "most": MOST}
    rows = session.execute(_UNANSWERED, asked).all()
    orders: list[Order] = []
    for command, code, dialect in rows:
        command.attempt += 1
        message = dialects.named(dialect).encode_command(code, _frame(command, command.attempt))
        command.payload = message.payload
        orders.append(Order(message, command.deadline, command.kind))
    session.flush()
    return orders


def _send(session: Session, sent: _Addressed, gateway: str, now: datetime) -> Order | None:
    """Mark it SENT with its frame. None: another gateway has an eject under way there, or it cannot be said at all."""
    command = sent.command
    try:
        message = _encode(sent)
    except ProtocolError as error:
        command.attempt = 1
        _cannot_be_said(command, f"{error.code}: {error}"[:256], now)
        return None
    try:
        # Only of ejects is there one in flight per station: nothing else can be refused.
        with session.begin_nested() if command.kind == commands.EJECT else nullcontext():
            command.attempt = 1
            command.state, command.sent_at, command.claimed_by = CommandState.SENT, now, gateway
            command.topic, command.payload = message.topic, message.payload
            _as_the_dialect_has_it(command, sent.dialect, now)
            if command.kind == commands.EJECT:
                session.flush()
    except IntegrityError as error:
        if not isinstance(error.orig, UniqueViolation):
            raise
        return None
    return Order(message, command.deadline, command.kind)


def _cannot_be_said(command: DeviceCommand, code: str, now: datetime) -> None:
    command.code = code
    if command.rental_id is None:
        command.state, command.settled_at = CommandState.FAILED, now
    else:
        # The sweep finds it overdue and not sent, and sees to its rental.
        command.deadline = now


def _as_the_dialect_has_it(command: DeviceCommand, dialect: str, now: datetime) -> None:
    can = dialects.CAPABILITIES[dialect]
    if command.kind in can.unanswered:
        command.state, command.settled_at, command.code = CommandState.ABANDONED, now, NEVER_ANSWERED
        commands.forget_secrets(command)
    elif command.kind == commands.EJECT and not can.honours_deadline:
        command.check_after = now + timedelta(seconds=can.self_check_s)


def _encode(sent: _Addressed) -> Published:
    dialect = dialects.vendor(sent.dialect)
    if dialect is None or sent.known is None:
        return dialects.named(sent.dialect).encode_command(sent.code, _frame(sent.command, 1))
    return dialect.encode(sent.known, _frame(sent.command, 1))


def _frame(command: DeviceCommand, attempt: int) -> CommandFrame:
    return CommandFrame(
        command_id=str(command.id),
        deadline_ms=round(command.deadline.timestamp() * 1000),
        attempt=attempt,
        command=commands.command_of(command),
    )
