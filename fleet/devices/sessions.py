"""Connections of cabinets: opened by `booted`, ended by the will of the same epoch or by silence.

All calls lock the stations they touch, in order of id, before anything else.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from firmware_protocol.commands import QueryInventory, Reboot
from firmware_protocol.limits import MAX_JOURNAL_RANGES
from firmware_protocol.messages import Booted, Offline
from firmware_protocol.types import ResetCause
from fleet.common.bulk import array
from fleet.devices import causes, presence, reconcile, streams
from fleet.devices.commands import kind_of, queue_many
from fleet.devices.cursor import Cursor, Range, declare_journal
from fleet.devices.models import CommandPurpose, CommandState, DeviceCommand, DeviceSession
from fleet.devices.presence import SILENT
from fleet.stations.models import Station

_LOG: Final = structlog.get_logger(__name__)
SUPERSEDED: Final = "superseded"
REBOOT: Final = kind_of(Reboot())


class Standing(StrEnum):
    OPENED = "opened"
    #: The same epoch again: answered again, nothing written.
    REPEATED = "repeated"
    #: An older epoch: a late repetition, or a cabinet that lost its counter and is told where to go on.
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class BootNotice:
    station_id: int
    boot: int
    booted: Booted
    at_ms: int | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class BootAnswer:
    notice: BootNotice
    standing: Standing
    boot_floor: int = 0
    #: STALE only: the newest epoch known, for a cabinet that lost its counter.
    epoch_floor: int = 0


@dataclass(slots=True)
class _Known:
    """The newest session of a station, as it was before this batch."""

    epoch: int
    boot: int
    boot_floor: int
    #: Its own `offline` ended it: nobody can still be speaking in it.
    over: bool


@dataclass(slots=True)
class _Plan:
    answers: list[BootAnswer] = field(default_factory=list)
    opened: list[BootAnswer] = field(default_factory=list)


def open_sessions(
    session: Session, notices: Sequence[BootNotice], now: datetime, *, inventory_deadline: datetime
) -> list[BootAnswer]:
    """Take `booted` messages, in any number, order and repetition; returns one answer per station.

    A new session ends the one before, puts the station online, learns what its journal still holds, and asks for an
    inventory, for what an unplugged cabinet did not see. A cabinet that goes on in an older boot is told to restart.
    """
    newest = _newest_of_each(notices)
    streams.lock_stations(session, list(newest))
    plan = _judge(newest, _latest_sessions(session, list(newest)), streams.highest_boots(session, list(newest)))
    if not plan.opened:
        return plan.answers
    _write_sessions(session, plan.opened, now)
    _prepare_streams(session, plan.opened)
    opened = [answer.notice for answer in plan.opened]
    _write_stations(session, opened, now)
    epochs = {notice.station_id: {"epoch": notice.booted.epoch, "boot": notice.boot} for notice in opened}
    presence.change(session, epochs, online=True, cause="booted", trigger="booted", evidence=epochs, now=now)
    queue_many(
        session,
        [notice.station_id for notice in opened],
        QueryInventory(),
        deadline=inventory_deadline,
        now=now,
        purpose=CommandPurpose.CONNECTED,
    )
    reconcile.asked(session, [notice.station_id for notice in opened], now)
    behind = [answer.notice.station_id for answer in plan.opened if _goes_on_behind(answer)]
    _have_restarted(session, behind, inventory_deadline, now)
    return plan.answers


def _goes_on_behind(answer: BootAnswer) -> bool:
    """It has not restarted, and another cabinet has counted further under its name (decision 0281)."""
    return answer.notice.booted.reset_cause is ResetCause.RECONNECT and answer.boot_floor > answer.notice.boot


def _have_restarted(session: Session, station_ids: Collection[int], deadline: datetime, now: datetime) -> None:
    """All that these cabinets tell counts as older than what is known, until a restart lifts their boot above it."""
    if not station_ids:
        return
    _LOG.warning("cabinets go on in an older boot: two with one identity?", stations=sorted(station_ids))
    ordered = select(DeviceCommand.station_id).where(
        DeviceCommand.station_id.in_(station_ids),
        DeviceCommand.kind == REBOOT,
        DeviceCommand.state.in_((CommandState.QUEUED, CommandState.SENT)),
        DeviceCommand.deadline > now,
    )
    due = sorted(set(station_ids) - set(session.scalars(ordered)))
    queue_many(session, due, Reboot(), deadline=deadline, now=now, purpose=CommandPurpose.CONNECTED)


def _newest_of_each(notices: Sequence[BootNotice]) -> dict[int, BootNotice]:
    """By epoch; within one epoch the highest boot, which a cabinet takes when it learns that it had lost count."""
    newest: dict[int, BootNotice] = {}
    for notice in notices:
        known = newest.get(notice.station_id)
        if known is None or (known.booted.epoch, known.boot) <= (notice.booted.epoch, notice.boot):
            newest[notice.station_id] = notice
    return newest


def _latest_sessions(session: Session, station_ids: Collection[int]) -> dict[int, _Known]:
    query = text("""
    SELECT s.id, d.epoch, d.boot, d.boot_floor, d.is_over FROM unnest(CAST(:ids AS int[])) AS s(id), LATERAL (
        SELECT epoch, boot, boot_floor, ended_at IS NOT NULL AND cause IS DISTINCT FROM :silent AS is_over
          FROM device_session WHERE station_id = s.id ORDER BY epoch DESC LIMIT 1) d
    """)
    rows = session.execute(query, {"ids": array(station_ids), "silent": SILENT})
    return {row[0]: _Known(row[1], row[2], row[3], row[4]) for row in rows}


def _judge(newest: Mapping[int, BootNotice], known: Mapping[int, _Known], boots: Mapping[int, Sequence[int]]) -> _Plan:
    plan = _Plan()
    for station_id in sorted(newest):
        notice = newest[station_id]
        before = known.get(station_id)
        if (
            before is not None
            and (notice.booted.epoch, notice.boot) <= (before.epoch, before.boot)
            and (before.over or notice.booted.epoch < before.epoch)
        ):
            plan.answers.append(BootAnswer(notice, Standing.STALE, epoch_floor=before.epoch))
        elif before is not None and notice.booted.epoch == before.epoch and notice.boot <= before.boot:
            plan.answers.append(BootAnswer(notice, Standing.REPEATED, before.boot_floor))
        else:
            same_start = before is not None and notice.booted.epoch == before.epoch
            floor = (
                before.boot_floor if before is not None and same_start else _floor(notice, boots.get(station_id, ()))
            )
            answer = BootAnswer(notice, Standing.OPENED, floor)
            plan.answers.append(answer)
            plan.opened.append(answer)
    return plan


def _floor(notice: BootNotice, boots: Sequence[int]) -> int:
    """The highest boot known from before this start: after a mere reconnect its own boot is none of those."""
    if notice.booted.reset_cause is ResetCause.RECONNECT:
        boots = [boot for boot in boots if boot != notice.boot]
    return boots[0] if boots else 0


def _write_sessions(session: Session, opened: Sequence[BootAnswer], now: datetime) -> None:
    session.execute(
        update(DeviceSession)
        .where(
            DeviceSession.station_id.in_([answer.notice.station_id for answer in opened]),
            DeviceSession.ended_at.is_(None),
        )
        .values(ended_at=now, cause=SUPERSEDED)
        .execution_options(synchronize_session=False)
    )
    statement = insert(DeviceSession)
    session.execute(
        # The same epoch with a higher boot: the cabinet had lost count, and its session goes on.
        statement.on_conflict_do_update(
            index_elements=["station_id", "epoch"],
            set_={"boot": statement.excluded.boot, "ended_at": None, "cause": None, "last_seen_at": now},
        ),
        [_session_row(answer, now) for answer in opened],
    )


def _session_row(answer: BootAnswer, now: datetime) -> dict[str, object]:
    notice, booted = answer.notice, answer.notice.booted
    return {
        "station_id": notice.station_id,
        "epoch": booted.epoch,
        "boot": notice.boot,
        "firmware": booted.firmware,
        "hardware": booted.hardware,
        "iccid": booted.iccid,
        "reset_cause": booted.reset_cause.value,
        "boot_floor": answer.boot_floor,
        "connected_at": now,
        "last_seen_at": now,
        "ended_at": None,
        "cause": None,
    }


def _write_stations(session: Session, opened: Sequence[BootNotice], now: datetime) -> None:
    session.execute(
        update(Station),
        [
            {
                "id": notice.station_id,
                "firmware_version": notice.booted.firmware,
                "last_heard_at": now,
                "updated_at": now,
            }
            for notice in opened
        ],
    )


def _prepare_streams(session: Session, opened: Sequence[BootAnswer]) -> None:
    """Make the streams that the journals name, and learn from the journals what will never come."""
    # A cabinet that lost count boots again above the floor; what it says under the old number would close real boots.
    counting = [a.notice for a in opened if not _lost_count(a)]
    streams.create(session, [key for notice in counting for key in _named(notice)])
    cursors = streams.lock_open(session, [notice.station_id for notice in counting])
    for notice in counting:
        _declare(cursors.get(notice.station_id, []), notice)
    streams.save(session, [cursor for each in cursors.values() for cursor in each])


def _lost_count(answer: BootAnswer) -> bool:
    return answer.notice.boot <= answer.boot_floor and answer.notice.booted.reset_cause is not ResetCause.RECONNECT


def _named(notice: BootNotice) -> set[tuple[int, int]]:
    boots = {notice.boot, *(held.boot for held in notice.booted.journal if held.boot < notice.boot)}
    return {(notice.station_id, boot) for boot in boots}


def _declare(cursors: Sequence[Cursor], notice: BootNotice) -> None:
    held: dict[int, list[Range]] = {}
    for each in notice.booted.journal:
        held.setdefault(each.boot, []).append((each.first, each.last))
    complete = len(notice.booted.journal) < MAX_JOURNAL_RANGES
    for cursor in cursors:
        if cursor.boot > notice.boot:
            continue
        if cursor.boot == notice.boot:
            cursor.observe_clock(notice.at_ms, round(notice.received_at.timestamp() * 1000))
        if complete:
            declare_journal(cursor, sorted(held.get(cursor.boot, [])), current=cursor.boot == notice.boot)


@dataclass(frozen=True, slots=True)
class OfflineNotice:
    station_id: int
    offline: Offline


def close_sessions(session: Session, notices: Sequence[OfflineNotice], now: datetime) -> list[int]:
    """Take `offline` messages; each ends the session of its own epoch if that is the newest. Returns who went away."""
    streams.lock_stations(session, [notice.station_id for notice in notices])
    faults = causes.without_mains(session, [notice.station_id for notice in notices])
    gone: dict[int, str] = {}
    for notice in sorted(notices, key=lambda each: each.station_id):
        cause = causes.of_will(notice.offline.cause, no_mains=notice.station_id in faults)
        if _close_one(session, notice, cause, now):
            gone[notice.station_id] = cause
    epochs = {notice.station_id: {"epoch": notice.offline.epoch} for notice in notices}
    return presence.change(session, gone, online=False, cause=gone, trigger="will", evidence=epochs, now=now)


def _close_one(session: Session, notice: OfflineNotice, cause: str, now: datetime) -> bool:
    newest = select(func.max(DeviceSession.epoch)).where(DeviceSession.station_id == notice.station_id)
    closed = session.execute(
        update(DeviceSession)
        .where(
            DeviceSession.station_id == notice.station_id,
            DeviceSession.epoch == notice.offline.epoch,
            DeviceSession.epoch == newest.scalar_subquery(),
            # A session that silence ended is ended for good by its will: only `booted` brings the station back.
            DeviceSession.ended_at.is_(None) | (DeviceSession.cause == SILENT),
        )
        .values(ended_at=func.coalesce(DeviceSession.ended_at, now), cause=cause)
        .returning(DeviceSession.station_id)
        .execution_options(synchronize_session=False)
    )
    return closed.first() is not None
