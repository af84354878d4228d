"""Connections of cabinets: opened by `booted`, ended by the will of the same epoch or by silence.

All calls lock the stations they touch, in order of id, before anything else.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import structlog
from sqlalchemy import ColumnElement, and_, false, or_, select, text, update
from sqlalchemy.orm import Session

from firmware_protocol.commands import QueryInventory, Reboot
from firmware_protocol.limits import MAX_JOURNAL_RANGES
from firmware_protocol.messages import Booted, Offline
from firmware_protocol.types import ResetCause
from fleet.common.bulk import array, words
from fleet.devices import causes, presence, reconcile, streams
from fleet.devices.commands import kind_of, queue_many
from fleet.devices.cursor import Cursor, Range, declare_journal
from fleet.devices.models import CommandPurpose, CommandState, DeviceCommand, DeviceSession
from fleet.devices.presence import SILENT

_LOG: Final = structlog.get_logger(__name__)
SUPERSEDED: Final = "superseded"
REBOOT: Final = kind_of(Reboot())
#: A cabinet that contradicts itself after a restart too has another fault, and must not restart for ever.
_PARTED_FOR: Final = timedelta(minutes=15)


#: The same epoch with a higher boot: the cabinet had lost count, and its session goes on. Or another cabinet
#: of its name has connected in the same second.
_OPEN: Final = text("""
INSERT INTO device_session (station_id, epoch, boot, firmware, hardware, iccid, reset_cause, boot_floor, connected_at,
                            last_seen_at)
SELECT id, epoch, boot, firmware, hardware, iccid, cause, floor, :now, :now
  FROM unnest(CAST(:ids AS int[]), CAST(:epochs AS bigint[]), CAST(:boots AS bigint[]), CAST(:firmware AS text[]),
              CAST(:hardware AS text[]), CAST(:iccids AS text[]), CAST(:causes AS text[]), CAST(:floors AS bigint[]))
       AS v(id, epoch, boot, firmware, hardware, iccid, cause, floor)
ON CONFLICT (station_id, epoch) DO UPDATE
   SET boot = excluded.boot, reset_cause = excluded.reset_cause, boot_floor = excluded.boot_floor, ended_at = NULL,
       cause = NULL, last_seen_at = excluded.last_seen_at
""")
_RUNS: Final = text("""
UPDATE station s SET firmware_version = v.firmware, last_heard_at = :now, updated_at = :now
  FROM unnest(CAST(:ids AS int[]), CAST(:firmware AS text[])) AS v(id, firmware) WHERE s.id = v.id
""")
#: Of the newest epoch only. A session that silence ended is ended for good by its will: only `booted` brings the
#: station back.
_CLOSE: Final = text("""
UPDATE device_session d SET ended_at = coalesce(d.ended_at, :now), cause = v.cause
  FROM unnest(CAST(:ids AS int[]), CAST(:epochs AS bigint[]), CAST(:causes AS text[])) AS v(id, epoch, cause)
 WHERE d.station_id = v.id AND d.epoch = v.epoch AND (d.ended_at IS NULL OR d.cause = :silent)
   AND d.epoch = (SELECT max(epoch) FROM device_session WHERE station_id = v.id)
RETURNING d.station_id, d.epoch
""")


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
    #: It has restarted, and shows its slots by itself.
    shows_slots: bool = False


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
    reset_cause: str
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
    inventory, for what an unplugged cabinet did not see. One that shows it by itself is only asked if it does not. A
    cabinet that goes on in an older boot is told to restart.
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
    questions = [notice.station_id for notice in opened if not notice.shows_slots]
    queue_many(
        session, questions, QueryInventory(), deadline=inventory_deadline, now=now, purpose=CommandPurpose.CONNECTED
    )
    reconcile.asked(session, questions, now)
    reconcile.expected(session, [notice.station_id for notice in opened if notice.shows_slots], now)
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
    _order_restart(session, station_ids, deadline, now, unless=false())


def _order_restart(
    session: Session, station_ids: Collection[int], deadline: datetime, now: datetime, *, unless: ColumnElement[bool]
) -> None:
    """Of those that are not ordered to already, and have no order of which `unless` is true."""
    under_way = and_(DeviceCommand.state.in_((CommandState.QUEUED, CommandState.SENT)), DeviceCommand.deadline > now)
    ordered = select(DeviceCommand.station_id).where(
        DeviceCommand.station_id.in_(station_ids), DeviceCommand.kind == REBOOT, or_(under_way, unless)
    )
    due = sorted(set(station_ids) - set(session.scalars(ordered)))
    queue_many(session, due, Reboot(), deadline=deadline, now=now, purpose=CommandPurpose.CONNECTED)


def part(session: Session, station_ids: Collection[int], now: datetime, *, deadline: datetime) -> None:
    """Two facts under one number: two cabinets of one name count in the same boot (decision 0281).

    The one that is there restarts, into a boot of its own; again only when the order never went out, or long ago. Its
    answer may be lost for the same reason, so what it was does not matter.
    """
    if not station_ids:
        return
    _LOG.warning("cabinets contradict themselves: two with one identity?", stations=sorted(station_ids))
    lately = and_(DeviceCommand.sent_at.is_not(None), DeviceCommand.created_at > now - _PARTED_FOR)
    _order_restart(session, station_ids, deadline, now, unless=lately)


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
    SELECT s.id, d.epoch, d.boot, d.boot_floor, d.reset_cause, d.is_over
      FROM unnest(CAST(:ids AS int[])) AS s(id), LATERAL (
        SELECT epoch, boot, boot_floor, reset_cause, ended_at IS NOT NULL AND cause IS DISTINCT FROM :silent AS is_over
          FROM device_session WHERE station_id = s.id ORDER BY epoch DESC LIMIT 1) d
    """)
    rows = session.execute(query, {"ids": array(station_ids), "silent": SILENT})
    return {row[0]: _Known(*row[1:]) for row in rows}


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
        elif before is not None and _is_same_start(notice, before) and notice.boot <= before.boot:
            plan.answers.append(BootAnswer(notice, Standing.REPEATED, before.boot_floor))
        else:
            same_start = before is not None and _is_same_start(notice, before)
            floor = (
                before.boot_floor if before is not None and same_start else _floor(notice, boots.get(station_id, ()))
            )
            answer = BootAnswer(notice, Standing.OPENED, floor)
            plan.answers.append(answer)
            plan.opened.append(answer)
    return plan


def _is_same_start(notice: BootNotice, before: _Known) -> bool:
    """Within one connection a cabinet does not restart. Whoever says that it has, in an epoch in which one went on
    after a mere reconnect, is another one of the same name, and connected in the same second (decision 0281).
    """
    restarted = notice.booted.reset_cause is not ResetCause.RECONNECT and before.reset_cause == ResetCause.RECONNECT
    return notice.booted.epoch == before.epoch and not restarted


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
    told = [answer.notice.booted for answer in opened]
    session.execute(
        _OPEN,
        {
            "ids": array(answer.notice.station_id for answer in opened),
            "epochs": array(booted.epoch for booted in told),
            "boots": array(answer.notice.boot for answer in opened),
            "firmware": words(booted.firmware for booted in told),
            "hardware": words(booted.hardware for booted in told),
            "iccids": words(booted.iccid for booted in told),
            "causes": words(booted.reset_cause.value for booted in told),
            "floors": array(answer.boot_floor for answer in opened),
            "now": now,
        },
    )


def _write_stations(session: Session, opened: Sequence[BootNotice], now: datetime) -> None:
    firmware = words(notice.booted.firmware for notice in opened)
    ids = array(notice.station_id for notice in opened)
    session.execute(_RUNS, {"ids": ids, "firmware": firmware, "now": now})


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
    of_will: dict[tuple[int, int], str] = {}
    for each in notices:
        cause = causes.of_will(each.offline.cause, no_mains=each.station_id in faults)
        of_will.setdefault((each.station_id, each.offline.epoch), cause)  # told twice, the first word counts
    closed = session.execute(
        _CLOSE,
        {
            "ids": array(station_id for station_id, _ in of_will),
            "epochs": array(epoch for _, epoch in of_will),
            "causes": words(of_will.values()),
            "now": now,
            "silent": SILENT,
        },
    ).all()
    gone = {station_id: of_will[station_id, epoch] for station_id, epoch in closed}
    epochs = {station_id: {"epoch": epoch} for station_id, epoch in closed}
    return presence.change(session, gone, online=False, cause=gone, trigger="will", evidence=epochs, now=now)
