"""Commands to cabinets: from the decision to the verdict. Silence is UNKNOWN, never failed."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
from sqlalchemy import and_, insert, literal, or_, select, update
from sqlalchemy.orm import Session

from firmware_protocol.commands import Command
from firmware_protocol.messages import CommandResult
from fleet.common.notify import Channel, notify
from fleet.common.prepared import ByKey, table_of, write_later
from fleet.common.roundtrips import flush_later
from fleet.db import new_id
from fleet.devices import rules
from fleet.devices.models import CommandPurpose, CommandState, DeviceCommand

EJECT: Final = "eject_power_bank"
INVENTORY: Final = "query_inventory"
#: Arguments that are nobody's to read; forgotten once the command is settled.
SECRETS: Final = frozenset({"wifi_password", "token"})
#: An order that has less time left may not be sent any more.
SOON: Final = timedelta(seconds=10)
_COMMAND: Final = ByKey(DeviceCommand)


def kind_of(command: Command) -> str:
    """The command's `type` on the wire, which is also `DeviceCommand.kind`."""
    return str(type(command).__struct_config__.tag)


class Ordered(Protocol):
    """What a row of `device_command` says."""

    @property
    def kind(self) -> str: ...

    @property
    def args(self) -> dict[str, Any]: ...


def command_of(row: Ordered) -> Command:
    """The message that a row stands for."""
    return msgspec.convert({**row.args, "type": row.kind}, Command)  # type: ignore[no-any-return]  # msgspec takes a union, its stub gives Any


def queue_command(
    session: Session,
    *,
    station_id: int,
    command: Command,
    deadline: datetime,
    now: datetime,
    rental_id: UUID | None = None,
    requested_by: UUID | None = None,
    request_id: str | None = None,
    purpose: CommandPurpose | None = None,
    not_before: datetime | None = None,
) -> DeviceCommand:
    """Write the order; a gateway is woken when the caller's transaction commits. The row has its id at once.

    `not_before`: sent no earlier.
    """
    row = DeviceCommand(
        **_queued(station_id, command, deadline, now),
        rental_id=rental_id,
        requested_by=requested_by,
        request_id=request_id,
        purpose=purpose,
        not_before=not_before,
    )
    session.add(row)
    notify(session, Channel.DEVICE_COMMAND, str(station_id))
    return row


_ORDER: Final = insert(table_of(DeviceCommand))


def order(
    session: Session,
    *,
    station_id: int,
    command: Command,
    deadline: datetime,
    now: datetime,
    rental_id: UUID,
    requested_by: UUID,
    request_id: str | None,
) -> None:
    """`queue_command` for a rental whose row is written: the command's goes with the session's next statement, and is
    no object of the session.
    """
    asked = {"rental_id": rental_id, "requested_by": requested_by, "request_id": request_id}
    write_later(session, _ORDER, {**_queued(station_id, command, deadline, now), **asked})
    notify(session, Channel.DEVICE_COMMAND, str(station_id))


def _queued(station_id: int, command: Command, deadline: datetime, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id(),
        "station_id": station_id,
        "kind": kind_of(command),
        "args": _args_of(command),
        "state": CommandState.QUEUED,
        "deadline": deadline,
        "attempt": 0,
        "created_at": now,
    }


def queue_many(
    session: Session,
    station_ids: Sequence[int],
    command: Command,
    *,
    deadline: datetime,
    now: datetime,
    purpose: CommandPurpose | None = None,
) -> None:
    """The same command for many stations, in one statement."""
    rows = [{**_queued(station_id, command, deadline, now), "purpose": purpose} for station_id in station_ids]
    if rows:
        session.execute(insert(DeviceCommand), rows)
        notify(session, Channel.DEVICE_COMMAND)


def _args_of(command: Command) -> dict[str, Any]:
    args: dict[str, Any] = {key: value for key, value in msgspec.to_builtins(command).items() if value is not None}
    args.pop("type", None)
    return args


def id_of(command_id: str) -> UUID | None:
    """What a cabinet calls a command, as one of our ids; None when it cannot be one."""
    try:
        return UUID(command_id)
    except ValueError:
        return None


def find_command(session: Session, command_id: str, *, lock: bool = False) -> DeviceCommand | None:
    """The command a cabinet names, or None when the id is not one of ours.

    Not locked, it may be as this transaction saw it first.
    """
    key = id_of(command_id)
    if key is None:
        return None
    if not lock:
        return _COMMAND.get(session, key)
    query = select(DeviceCommand).where(DeviceCommand.id == key)
    query = query.with_for_update().execution_options(populate_existing=True)
    return session.scalars(query).one_or_none()


def settle_command(session: Session, command_id: str, result: CommandResult, now: datetime) -> DeviceCommand | None:
    """Take the cabinet's answer. None: the id is unknown, or the answer changes nothing (a repeat, or a
    contradiction of a success, which stands).
    """
    row = find_command(session, command_id, lock=True)
    if row is None or not _settle(row, result, now):
        return None
    _station_is_free(session, row)
    flush_later(session)  # queries of the same transaction must see the eject as no longer in flight
    return row


def _settle(row: DeviceCommand, result: CommandResult, now: datetime) -> bool:
    """False: the answer changes nothing. The row is locked."""
    if row.state is CommandState.QUEUED:
        # Only possible when the claim was lost with the database's last moments: the answer proves it was sent.
        row.state = CommandState.SENT
    wanted = rules.STATE_OF[result.outcome]
    if not rules.may(row.state, wanted):
        return False
    row.state, row.settled_at = wanted, now
    row.outcome, row.code = result.outcome, result.code
    row.result_slot, row.result_serial = result.slot, result.serial
    forget_secrets(row)
    return True


def settle_questions(
    session: Session, answers: Sequence[tuple[int, CommandResult]], now: datetime
) -> set[tuple[int, str]]:
    """Take answers of stations (id, result) to questions for their inventories, many at once: these move no metal.

    Returns (station, command id) of those that are dealt with; what else is among `answers` is untouched.
    """
    named: dict[UUID, list[tuple[int, CommandResult]]] = {}
    for station_id, result in answers:
        key = id_of(result.command_id)
        if key is not None:
            named.setdefault(key, []).append((station_id, result))
    query = select(DeviceCommand).where(DeviceCommand.id.in_(named), DeviceCommand.kind == INVENTORY)
    query = query.order_by(DeviceCommand.id).with_for_update().execution_options(populate_existing=True)
    settled: set[tuple[int, str]] = set()
    for row in session.scalars(query):
        for station_id, result in named[row.id]:
            if station_id == row.station_id:
                _settle(row, result, now)
                settled.add((station_id, result.command_id))
    session.flush()  # many rows in one statement, and what the database refuses of them belongs to this call
    return settled


def give_verdict(
    session: Session, command: DeviceCommand, state: CommandState, now: datetime, code: str | None = None
) -> None:
    """Settle from other evidence than the cabinet's answer (an inventory, the bank seen elsewhere, a limit passed).

    Raises IllegalTransition when the command is already settled otherwise; the same verdict again changes nothing.
    """
    if command.state is state:
        return
    rules.check(command.state, state)
    command.state, command.settled_at, command.code = state, now, code or command.code
    forget_secrets(command)
    _station_is_free(session, command)
    flush_later(session)  # see settle_command


def doubt_command(session: Session, command: DeviceCommand, code: str, look_at: datetime) -> bool:
    """The cabinet's answer proves nothing: UNKNOWN, until a picture asked for at `look_at` or later. `command` is
    locked. False: it has its verdict already.
    """
    if command.state is CommandState.QUEUED:
        command.state = CommandState.SENT  # see settle_command
    if command.state is CommandState.SENT:
        rules.check(command.state, CommandState.UNKNOWN)
        command.state = CommandState.UNKNOWN
    if command.state is not CommandState.UNKNOWN:
        return False
    command.code = code
    command.check_after = look_at if command.check_after is None else max(command.check_after, look_at)
    flush_later(session)  # see settle_command
    return True


def inventory_is_coming(session: Session, station_id: int, not_before: datetime, now: datetime) -> bool:
    """Whether the station is going to be asked for its inventory, at `not_before` or later, and soon."""
    query = select(DeviceCommand.id).where(
        DeviceCommand.station_id == station_id,
        DeviceCommand.state == CommandState.QUEUED,
        DeviceCommand.kind == INVENTORY,
        DeviceCommand.deadline > max(not_before, now) + SOON,
        or_(DeviceCommand.not_before >= not_before, literal(not_before <= now)),
    )
    return session.scalars(query.limit(1)).first() is not None


def take_back_success(session: Session, command: DeviceCommand, result: CommandResult, now: datetime) -> None:
    """A success that was deduced from elsewhere, against the cabinet's own word. `command` is locked."""
    command.state, command.settled_at = rules.STATE_OF[result.outcome], now
    command.outcome, command.code = result.outcome, result.code
    command.result_slot, command.result_serial = result.slot, result.serial
    flush_later(session)  # see settle_command


def overdue_commands(session: Session, now: datetime, grace: timedelta, limit: int) -> list[DeviceCommand]:
    """Commands whose time is over, locked: SENT past deadline + grace, QUEUED past the deadline."""
    query = (
        select(DeviceCommand)
        .where(
            or_(
                and_(DeviceCommand.state == CommandState.SENT, DeviceCommand.deadline < now - grace),
                and_(DeviceCommand.state == CommandState.QUEUED, DeviceCommand.deadline < now),
            )
        )
        .order_by(DeviceCommand.deadline)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(session.scalars(query))


def mark_unknown(session: Session, command: DeviceCommand, now: datetime) -> None:
    """No answer came in time. `command` is locked; SENT only (IllegalTransition).

    A cabinet that ignores deadlines may get the order only now, over a link that stalled, and then looks at its slots
    as long as `check_after` left it after the sending: what it is asked sooner proves nothing about the order.
    """
    rules.check(command.state, CommandState.UNKNOWN)
    command.state = CommandState.UNKNOWN
    if command.check_after is not None and command.sent_at is not None:
        command.check_after = max(command.check_after, now + (command.check_after - command.sent_at))
    flush_later(session)  # see settle_command


def mark_expired(session: Session, command: DeviceCommand, now: datetime) -> None:
    """Its deadline passed while it was still QUEUED: it certainly moved nothing."""
    give_verdict(session, command, CommandState.EXPIRED, now, code="not_sent")


def unknown_ejects(session: Session, station_id: int) -> list[DeviceCommand]:
    """Ejects of this station that wait for a verdict, oldest first, locked."""
    query = (
        select(DeviceCommand)
        .where(
            DeviceCommand.station_id == station_id,
            DeviceCommand.kind == EJECT,
            DeviceCommand.state == CommandState.UNKNOWN,
        )
        .order_by(DeviceCommand.created_at, DeviceCommand.id)
        .with_for_update()
    )
    return list(session.scalars(query))


def cancel_command(session: Session, command_id: UUID, now: datetime) -> bool:
    """True when it was still QUEUED and never will be sent now; False when a gateway has it already."""
    cancelled = session.scalar(
        update(DeviceCommand)
        .where(DeviceCommand.id == command_id, DeviceCommand.state == CommandState.QUEUED)
        .values(state=CommandState.CANCELLED, settled_at=now)
        .returning(DeviceCommand.id)
    )
    return cancelled is not None


def forget_secrets(command: DeviceCommand) -> None:
    """A settled command is not sent again: neither its arguments nor its frame need to tell secrets any more."""
    if SECRETS & command.args.keys():
        command.args = {name: value for name, value in command.args.items() if name not in SECRETS}
        command.payload = None


def _station_is_free(session: Session, command: DeviceCommand) -> None:
    """The next eject of this station may wait for the end of this one."""
    if command.kind == EJECT:
        notify(session, Channel.DEVICE_COMMAND)
