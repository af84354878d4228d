"""Which commands are sent now, by which gateway: claimed by conditional updates, one eject in flight per station.

What a cabinet's dialect can do decides, never its name (`Capabilities`, decision 0087).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
from psycopg2.errors import UniqueViolation
from sqlalchemy import column, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from device_gateway import dialects
from firmware_protocol.commands import CommandFrame
from firmware_protocol.dialect import Published
from firmware_protocol.errors import ProtocolError, UnsupportedCommand
from firmware_protocol.vendor import Known
from fleet.common.bulk import array, booleans, instants, words
from fleet.common.prepared import Prepared
from fleet.common.vault import Vault
from fleet.devices import commands, profiles
from fleet.devices.models import CommandState

#: Commands in one claim; more are claimed right after.
MOST: Final = 200
#: Without an answer a command is published again after this long, then after twice as long, and so on.
REPEAT_AFTER: Final = timedelta(seconds=2)
#: Nobody knows what became of it, and nobody ever will.
NEVER_ANSWERED: Final = "never_answered"
#: A heartbeat may be this much late (share of its period) and the cabinet still counts as heard of within one.
HEARTBEAT_SLACK: Final = 1.1


class Row(Protocol):
    """A command with the station it is for, as the two queries below have it."""

    id: UUID
    station_id: int
    kind: str
    args: dict[str, Any]
    deadline: datetime
    attempt: int
    rental_id: UUID | None
    code: str
    dialect: str


_COLUMNS: Final = (*Row.__annotations__,)
_FROM_COMMAND: Final = f"c.{', c.'.join(_COLUMNS[:-2])}, t.code, t.dialect"


def _commands(query: str, *, planned: bool) -> Prepared:
    named = text(query.replace("{COMMAND}", _FROM_COMMAND)).columns(*(column(name) for name in _COLUMNS))
    return Prepared(named, planned=planned)


#: Cabinets without numbers answer one question of a kind at a time: the answer does not say which one it answers. One
#: whose session silence ended is asked for its inventory once it was heard again, and for nothing else.
_QUEUED: Final = _commands(
    """
WITH can AS (
    SELECT * FROM unnest(CAST(:names AS text[]), CAST(:living AS bool[]), CAST(:bound AS bool[]),
                         CAST(:gap_s AS float[]), CAST(:answer_s AS float[]), CAST(:period_s AS float[]))
           AS v(dialect, living, bound, gap_s, answer_s, period_s))
SELECT {COMMAND} FROM device_command c
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
        WHERE o.station_id = c.station_id AND o.kind = 'eject_power_bank' AND o.state IN ('sent', 'unknown')))
   AND NOT (c.kind = 'eject_power_bank' AND can.gap_s > 0 AND EXISTS (
       SELECT FROM device_command o
        WHERE o.station_id = c.station_id AND o.kind = 'eject_power_bank'
              AND o.sent_at > CAST(:now AS timestamptz) - can.gap_s * interval '1 second'))
   AND NOT (can.answer_s > 0 AND EXISTS (
       SELECT FROM device_command o
        WHERE o.station_id = c.station_id AND o.kind = c.kind AND o.state = 'sent' AND o.sent_at >= s.connected_at
              AND o.sent_at > CAST(:now AS timestamptz) - can.answer_s * interval '1 second'))
   AND NOT ((c.purpose IS NOT DISTINCT FROM 'periodic' OR (c.kind = 'reboot' AND c.purpose = 'connected')) AND EXISTS (
       SELECT FROM device_command o
        WHERE o.station_id = c.station_id AND o.kind = 'eject_power_bank' AND o.state IN ('queued', 'sent', 'unknown')))
 ORDER BY c.created_at, c.id LIMIT :most
   FOR UPDATE OF c SKIP LOCKED
""",
    planned=True,
)
_ANY: Final = "SELECT EXISTS (SELECT FROM device_command WHERE state = 'queued')"
_UNANSWERED: Final = _commands(
    """
SELECT {COMMAND} FROM device_command c
  JOIN station t ON t.id = c.station_id
  JOIN device_session s ON s.station_id = c.station_id AND s.ended_at IS NULL
 WHERE c.state = 'sent' AND c.deadline > :now AND c.attempt > 0
   AND c.sent_at < CAST(:heard AS timestamptz) - CAST(:after AS interval) * c.attempt * (c.attempt + 1) / 2
   AND t.dialect = ANY(:dialects)
 ORDER BY c.deadline LIMIT :most
   FOR UPDATE OF c SKIP LOCKED
""",
    planned=False,
)
#: What `_Marked` says of each, of rows that are locked. What is settled is not sent again (`commands.forget_secrets`).
_MARK: Final = Prepared(
    text("""
UPDATE device_command c
   SET state = v.state, attempt = 1, topic = v.topic, payload = v.payload, code = v.code, check_after = v.check_after,
       claimed_by = CASE WHEN v.topic IS NOT NULL THEN :gateway END,
       sent_at = CASE WHEN v.topic IS NOT NULL THEN CAST(:now AS timestamptz) END,
       settled_at = CASE WHEN v.settled THEN CAST(:now AS timestamptz) END,
       args = CASE WHEN v.settled THEN c.args - CAST(:secrets AS text[]) ELSE c.args END,
       deadline = CASE WHEN v.too_late THEN CAST(:now AS timestamptz) ELSE c.deadline END
  FROM unnest(CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:topics AS text[]), CAST(:payloads AS bytea[]),
              CAST(:codes AS text[]), CAST(:checks AS timestamptz[]), CAST(:settled AS bool[]),
              CAST(:too_late AS bool[]))
       AS v(id, state, topic, payload, code, check_after, settled, too_late)
 WHERE c.id = v.id AND c.state = 'queued'
"""),
    planned=True,
)
_REPEATED: Final = Prepared(
    text("""
UPDATE device_command c SET attempt = c.attempt + 1, payload = v.payload
  FROM unnest(CAST(:ids AS uuid[]), CAST(:payloads AS bytea[])) AS v(id, payload) WHERE c.id = v.id
"""),
    planned=True,
)
_ABLE: Final = list(dialects.CAPABILITIES.values())
_SECRETS: Final = words(sorted(commands.SECRETS))
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


@dataclass(slots=True)
class _Marked:
    """What becomes of a command that was QUEUED. Without a message it cannot be said."""

    row: Row
    message: Published | None
    state: CommandState = CommandState.SENT
    code: str | None = None
    check_after: datetime | None = None
    #: The sweep finds it overdue and not sent, and sees to its rental.
    too_late: bool = False

    @property
    def settled(self) -> bool:
        return self.state in {CommandState.FAILED, CommandState.ABANDONED}

    @property
    def payload(self) -> bytes | None:
        """As far as it is kept."""
        secret = self.settled and commands.SECRETS & self.row.args.keys()
        return None if self.message is None or secret else self.message.payload


@dataclass(frozen=True, slots=True)
class Claimant:
    """The gateway that claims."""

    name: str
    #: Opens the secrets of vendors' cabinets.
    vault: Vault | None = None
    #: Stations (ids) whose connections it holds, for dialects that are bound to one.
    connected: Collection[int] = ()


def waiting(connection: Any) -> bool:
    """Whether any command is QUEUED: one short question to a driver's connection in autocommit."""
    with connection.cursor() as cursor:
        cursor.execute(_ANY)
        return bool(cursor.fetchone()[0])


def claim(session: Session, claimant: Claimant, now: datetime) -> tuple[list[Order], int]:
    """Take QUEUED commands of connected stations: they are SENT when the caller commits, and then to be published.

    Returns what to publish, and how many rows were looked at (`MOST`: there may be more). They are marked with the
    commit, which fails (`overtaken`) and takes nothing when another gateway took an eject of one of these stations in
    between. The next claim sees that eject and leaves its station out.
    """
    asked = {"now": now, "most": MOST, "slack": HEARTBEAT_SLACK, "gateway": claimant.name}
    rows: list[Row] = _QUEUED.all(session, **_CAN, **asked, connected=array(sorted(claimant.connected)))
    foreign = {row.station_id for row in rows if dialects.vendor(row.dialect) is not None}
    known = profiles.known(session, foreign, now, claimant.vault) if foreign else {}
    marked = [_marked(row, known.get(row.station_id), now) for row in _one_each(rows, known)]
    _mark(session, marked, claimant.name, now)
    orders = [Order(each.message, each.row.deadline, each.row.kind) for each in marked if each.message is not None]
    return orders, len(rows)


def overtaken(error: IntegrityError) -> bool:
    """Whether it says that another gateway has an eject under way at the same station: nothing else is unique here."""
    return isinstance(error.orig, UniqueViolation)


def repeat(session: Session, now: datetime, heard_through: datetime | None = None) -> list[Order]:
    """Publish again what got no answer, where a repeated id moves nothing twice; any gateway may, after a crash too.

    `heard_through`: what came later is not stored yet, and answers may be among it. None: nothing waits to be stored.
    """
    able = [name for name, dialect in dialects.DIALECTS.items() if dialect.capabilities.command_ids]
    heard = now if heard_through is None else min(now, heard_through)
    rows: list[Row] = _UNANSWERED.all(session, now=now, heard=heard, after=REPEAT_AFTER, dialects=able, most=MOST)
    said = [(row, message) for row in rows if (message := _again(row)) is not None]
    if said:
        _REPEATED.later(session, ids=_ids(row for row, _ in said), payloads=_hex(each.payload for _, each in said))
    return [Order(message, row.deadline, row.kind) for row, message in said]


def _again(row: Row) -> Published | None:
    """None: another version of this program said it, and this one cannot."""
    try:
        return dialects.named(row.dialect).encode_command(row.code, _frame(row, row.attempt + 1))
    except ProtocolError:
        return None


def _one_each(rows: Iterable[Row], known: Collection[int]) -> list[Row]:
    """The first eject of each station, and for cabinets without numbers (`known`) the first of each other kind."""
    taken: set[tuple[int, str]] = set()
    found: list[Row] = []
    for row in rows:
        if row.kind == commands.EJECT or row.station_id in known:
            if (row.station_id, row.kind) in taken:
                continue
            taken.add((row.station_id, row.kind))
        found.append(row)
    return found


def _marked(row: Row, known: Known | None, now: datetime) -> _Marked:
    """SENT with its frame, or why it cannot be said."""
    try:
        message = _encode(row, known)
    except ProtocolError as error:
        code = f"{error.code}: {error}"[:256]
        if row.rental_id is None:
            return _Marked(row, None, CommandState.FAILED, code)
        return _Marked(row, None, CommandState.QUEUED, code, too_late=True)
    can = dialects.CAPABILITIES[row.dialect]
    if row.kind in can.unanswered:
        return _Marked(row, message, CommandState.ABANDONED, NEVER_ANSWERED)
    looks = row.kind == commands.EJECT and not can.honours_deadline
    return _Marked(row, message, check_after=now + timedelta(seconds=can.self_check_s) if looks else None)


def _mark(session: Session, marked: Sequence[_Marked], gateway: str, now: datetime) -> None:
    """With the session's next statement."""
    if not marked:
        return
    # Two gateways that wait for one another's stations would wait in a circle.
    ordered = sorted(marked, key=lambda each: each.row.station_id)
    _MARK.later(
        session,
        now=now,
        gateway=gateway,
        secrets=_SECRETS,
        ids=_ids(each.row for each in ordered),
        states=words(each.state for each in ordered),
        topics=words(None if each.message is None else each.message.topic for each in ordered),
        payloads=_hex(each.payload for each in ordered),
        codes=words(each.code for each in ordered),
        checks=instants(each.check_after for each in ordered),
        settled=booleans(each.settled for each in ordered),
        too_late=booleans(each.too_late for each in ordered),
    )


def _ids(rows: Iterable[Row]) -> str:
    return words(str(row.id) for row in rows)


def _hex(payloads: Iterable[bytes | None]) -> str:
    return words(None if each is None else rf"\x{each.hex()}" for each in payloads)


def _encode(row: Row, known: Known | None) -> Published:
    dialect = dialects.vendor(row.dialect)
    if dialect is None or known is None:
        return dialects.named(row.dialect).encode_command(row.code, _frame(row, 1))
    return dialect.encode(known, _frame(row, 1))


def _frame(row: Row, attempt: int) -> CommandFrame:
    """Raises UnsupportedCommand for what another version of this program ordered: it must not keep the others."""
    try:
        command = commands.command_of(row)
    except msgspec.ValidationError as error:
        raise UnsupportedCommand(f"{row.kind}: {error}") from error
    return CommandFrame(
        command_id=str(row.id),
        deadline_ms=round(row.deadline.timestamp() * 1000),
        attempt=attempt,
        command=command,
    )
