"""Brings what stations have to what they should have. Sweeps: each row is judged under its lock, any number at once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import or_, select, text
from sqlalchemy.orm import Session

from firmware_protocol.commands import GetConfig, SetConfig
from firmware_protocol.limits import MAX_CONFIG_KEYS
from fleet.common.bulk import array
from fleet.devices.commands import cancel_command, queue_command
from fleet.devices.configuration.layers import LayerBook
from fleet.devices.configuration.models import DeviceConfig, DeviceGroup, DeviceGroupMember
from fleet.devices.configuration.rules import desired_after, differences, merge, wait_after
from fleet.devices.models import CommandState, DeviceCommand
from fleet.stations.models import Station

#: Rows per sweep: transactions stay short, the next tick takes the rest.
BATCH: Final = 200
#: How long a cabinet has to carry out a set_config.
COMMAND_WITHIN: Final = timedelta(seconds=30)
OLD_VERSION: Final = "old_version"
TOO_MANY_KEYS: Final = "too_many_keys"
_UNDER_WAY: Final = frozenset({CommandState.QUEUED, CommandState.SENT})
_MODELS: Final = text("""
SELECT t.id, t.dialect, coalesce(t.hardware_model, (
    SELECT s.hardware FROM device_session s WHERE s.station_id = t.id ORDER BY s.epoch DESC LIMIT 1)) AS model
  FROM station t WHERE t.id = ANY(CAST(:ids AS int[]))
""")


@dataclass(frozen=True, slots=True)
class Synced:
    """What one sweep did."""

    recomputed: int
    sent: int


def sweep(session: Session, now: datetime) -> Synced:
    """Put together what is stale, learn how commands ended, and send what is due to stations that are online."""
    recomputed = recompute(session, _stale(session), now)
    return Synced(recomputed, send(session, _due(session, now), now))


def sync_station(session: Session, station_id: int, now: datetime) -> None:
    """At once, for an operator who waits; the caller holds the row's lock or has just made it."""
    recompute(session, [station_id], now)
    if session.scalar(select(Station.online).where(Station.id == station_id)):
        send(session, [station_id], now)


def recompute(session: Session, station_ids: Collection[int], now: datetime) -> int:
    """Bring `desired` to what the layers say; a change of it raises the version. Returns how many were looked at."""
    rows = _lock(session, station_ids)
    if not rows:
        return 0
    # After the locks: a layer that changes from here on marks the rows again, behind this transaction.
    book, groups = LayerBook(session), _groups_of(session, [row.station_id for row in rows])
    models = {row.id: (row.dialect, row.model) for row in session.execute(_MODELS, {"ids": _ids(rows)})}
    for row in rows:
        dialect, model = models[row.station_id]
        layers = [*book.of(dialect, model, groups.get(row.station_id, ())), row.overrides]
        _set_desired(row, desired_after(row.desired, merge(layers)), now)
        row.stale = False
    session.flush()  # `send` looks for these rows
    return len(rows)


def _set_desired(row: DeviceConfig, desired: dict[str, object], now: datetime) -> None:
    if desired != row.desired:
        row.desired, row.desired_at = desired, now
        raise_version(row, now)
    judge_drift(row)


def raise_version(row: DeviceConfig, now: datetime) -> None:
    """A new version, above everything that the cabinet may have; the old one's refusal and tries are forgotten."""
    row.version = max(row.version, row.accepted_version) + 1
    row.refused_version = row.refused_code = row.refused_at = None
    row.tries, row.next_try_at = 0, now


def judge_drift(row: DeviceConfig) -> None:
    at_version = row.version == row.accepted_version
    row.drifted = at_version and row.reported is not None and bool(differences(row.desired, row.reported))


def send(session: Session, station_ids: Collection[int], now: datetime) -> int:
    """Queue a set_config for each of these that needs one; returns how many."""
    rows = _lock(session, station_ids)
    commands = _commands_of(session, rows)
    return sum(_send_one(session, row, commands, now) for row in rows)


def _send_one(session: Session, row: DeviceConfig, commands: Mapping[object, DeviceCommand], now: datetime) -> bool:
    command = commands.get(row.command_id)
    if command is not None and not _is_over(session, row, command, now):
        return False
    if row.version in {row.accepted_version, row.refused_version}:
        return False
    if row.next_try_at is not None and row.next_try_at > now:
        return False
    if len(row.desired) > MAX_CONFIG_KEYS:
        refuse(row, TOO_MANY_KEYS, now)
        return False
    order = SetConfig(version=row.version, values=row.desired)
    made = queue_command(session, station_id=row.station_id, command=order, deadline=now + COMMAND_WITHIN, now=now)
    session.flush()  # the row below refers to it
    row.command_id, row.tries = made.id, row.tries + 1
    row.next_try_at = now + wait_after(row.tries)
    return True


def _is_over(session: Session, row: DeviceConfig, command: DeviceCommand, now: datetime) -> bool:
    """Whether nothing more is to be expected of the last command; what it ended with is taken over, once."""
    if command.state is CommandState.QUEUED and command.args.get("version") != row.version:
        # It would only be followed by the newer one.
        if not cancel_command(session, command.id, now):
            return False
    elif command.state in _UNDER_WAY:
        return False
    row.command_id = None
    if command.state is not CommandState.FAILED or command.args.get("version") != row.version:
        return True
    if command.code == OLD_VERSION:
        # It has a newer one than we know of: its report will tell which, and ours is raised above it.
        queue_command(session, station_id=row.station_id, command=GetConfig(), deadline=now + COMMAND_WITHIN, now=now)
        return True
    refuse(row, command.code or (command.outcome.value if command.outcome else "failed"), now)
    return True


def refuse(row: DeviceConfig, code: str, now: datetime) -> None:
    """The cabinet will not have this version: it is not sent again."""
    row.refused_version, row.refused_code, row.refused_at = row.version, code[:256], now


def _stale(session: Session) -> Sequence[int]:
    query = select(DeviceConfig.station_id).where(DeviceConfig.stale).order_by(DeviceConfig.station_id)
    return session.scalars(query.limit(BATCH).with_for_update(skip_locked=True)).all()


def _due(session: Session, now: datetime) -> Sequence[int]:
    """Online, behind, and not under way: or with a command that has ended."""
    query = (
        select(DeviceConfig.station_id)
        .join(Station, Station.id == DeviceConfig.station_id)
        .outerjoin(DeviceCommand, DeviceCommand.id == DeviceConfig.command_id)
        .where(
            DeviceConfig.version != DeviceConfig.accepted_version,
            ~DeviceConfig.stale,
            or_(
                DeviceConfig.command_id.is_not(None) & DeviceCommand.state.not_in(_UNDER_WAY),
                Station.online
                & DeviceConfig.refused_version.is_distinct_from(DeviceConfig.version)
                & or_(DeviceConfig.next_try_at.is_(None), DeviceConfig.next_try_at <= now),
            ),
        )
        .order_by(DeviceConfig.station_id)
        .limit(BATCH)
        .with_for_update(of=DeviceConfig, skip_locked=True)
    )
    return session.scalars(query).all()


def _lock(session: Session, station_ids: Collection[int]) -> Sequence[DeviceConfig]:
    if not station_ids:
        return ()
    query = select(DeviceConfig).where(DeviceConfig.station_id.in_(station_ids)).order_by(DeviceConfig.station_id)
    return session.scalars(query.with_for_update().execution_options(populate_existing=True)).all()


def _groups_of(session: Session, station_ids: Collection[int]) -> dict[int, list[str]]:
    query = (
        select(DeviceGroupMember.station_id, DeviceGroup.name)
        .join(DeviceGroup, DeviceGroup.id == DeviceGroupMember.group_id)
        .where(DeviceGroupMember.station_id.in_(station_ids))
    )
    found: dict[int, list[str]] = {}
    for station_id, name in session.execute(query):
        found.setdefault(station_id, []).append(name)
    return found


def _commands_of(session: Session, rows: Sequence[DeviceConfig]) -> dict[object, DeviceCommand]:
    ids = [row.command_id for row in rows if row.command_id is not None]
    query = select(DeviceCommand).where(DeviceCommand.id.in_(ids)).execution_options(populate_existing=True)
    return {command.id: command for command in session.scalars(query)} if ids else {}


def _ids(rows: Sequence[DeviceConfig]) -> str:
    return array(row.station_id for row in rows)
