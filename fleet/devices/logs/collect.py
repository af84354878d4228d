"""A cabinet's log: asked for, taken piece by piece in any order and as often as it comes, asked again for holes."""

import gzip
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from firmware_protocol.commands import CollectLogs
from firmware_protocol.limits import MAX_LOG_CHUNKS, MAX_LOG_INDEXES
from firmware_protocol.messages import LogChunk
from fleet.db import new_id
from fleet.devices.commands import queue_command
from fleet.devices.facts import DeviceFact
from fleet.devices.logs.errors import ImpossibleChunk, LogEmpty, LogNotFound, UnknownLogRequest
from fleet.devices.logs.models import DeviceLog, DeviceLogChunk, LogState
from fleet.devices.models import CommandState, DeviceCommand
from fleet.stations.models import Station
from fleet.stations.queries import find_station

#: What an operator can read; a cabinet with more sends its newest bytes.
DEFAULT_MAX_BYTES: Final = 4 * 1024 * 1024
LARGEST_MAX_BYTES: Final = 64 * 1024 * 1024
#: How long a cabinet has to begin, and how long it may be silent between two pieces.
PATIENCE: Final = timedelta(seconds=30)
#: How often it is asked in all; an offline cabinet is waited for without counting.
MOST_TIMES: Final = 4
#: A cabinet that is not back by then is not waited for any longer.
GIVE_UP_AFTER: Final = timedelta(days=2)
BATCH: Final = 50
_OPEN: Final = (LogState.REQUESTED, LogState.RECEIVING)
#: What more pieces can still improve.
_TAKES_MORE: Final = (*_OPEN, LogState.INCOMPLETE, LogState.FAILED)


def request_log(
    session: Session,
    code: str,
    now: datetime,
    *,
    since: datetime | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    reason: str | None = None,
    requested_by: UUID | None = None,
) -> DeviceLog:
    """Ask a station for its log; one that is offline is asked when it is back. Raises StationNotFound."""
    station = find_station(session, code)
    log = DeviceLog(
        id=new_id(),
        station_id=station.id,
        state=LogState.REQUESTED,
        since=since,
        max_bytes=min(max_bytes, LARGEST_MAX_BYTES),
        reason=reason,
        requested_by=requested_by,
        created_at=now,
        asked=0,
        ask_again_at=now,
        chunks=0,
        size=0,
    )
    session.add(log)
    session.flush()  # the command below belongs to it
    if station.online:
        _ask(session, log, (), now)
    return log


def take_chunk(session: Session, fact: DeviceFact, chunk: LogChunk, now: datetime) -> bool:
    """`store_piece` of a message: what it raises keeps the frame among the dead letters."""
    return store_piece(session, fact.station_id, chunk, now)


def store_piece(session: Session, station_id: int, chunk: LogChunk, now: datetime) -> bool:
    """Store one piece; False when it is here already, or nobody needs it any more.

    Raises UnknownLogRequest and ImpossibleChunk.
    """
    log = log_of(session, chunk.request_id, station_id, lock=True)
    if not takes_more(log):
        return False
    _check_index(log, chunk)
    if log.size + len(chunk.content) > log.max_bytes and not _have(session, log, chunk.index):
        _settle(log, LogState.TRUNCATED, now, "max_bytes")
        session.flush()  # see below
        return False
    stored = session.scalar(
        insert(DeviceLogChunk)
        .values(
            log_id=log.id, index=chunk.index, size=len(chunk.content), content=gzip.compress(chunk.content, mtime=0)
        )
        .on_conflict_do_nothing()
        .returning(DeviceLogChunk.index)
    )
    if chunk.last:
        log.last_index = chunk.index
    if stored is not None:
        log.chunks, log.size = log.chunks + 1, log.size + len(chunk.content)
    log.ask_again_at = now + PATIENCE
    if log.last_index is not None and log.chunks == log.last_index + 1:
        _settle(log, LogState.COMPLETE, now)
    elif log.state in {LogState.REQUESTED, LogState.FAILED}:
        log.state, log.settled_at, log.code = LogState.RECEIVING, None, None
    session.flush()  # the next piece of the same batch counts on it
    return stored is not None


def _check_index(log: DeviceLog, chunk: LogChunk) -> None:
    if chunk.index >= MAX_LOG_CHUNKS:
        raise ImpossibleChunk(f"piece {chunk.index}: a log has at most {MAX_LOG_CHUNKS}", index=chunk.index)
    contradicts = log.last_index is not None and (
        chunk.index > log.last_index or chunk.last is not (chunk.index == log.last_index)
    )
    if contradicts:
        raise ImpossibleChunk(f"piece {chunk.index} of a log whose last is {log.last_index}", index=chunk.index)


def command_ended(session: Session, command: DeviceCommand, now: datetime) -> None:
    """The cabinet says that it has sent everything, or that it cannot: what lacks is asked for at once."""
    query = select(DeviceLog).where(DeviceLog.command_id == command.id)
    log = session.scalars(query.with_for_update().execution_options(populate_existing=True)).one_or_none()
    if log is None or log.state not in _OPEN:
        return
    if command.state is CommandState.SUCCEEDED:
        # Pieces come before the result, in one order: what is not here now was lost on the way.
        log.ask_again_at = now
        look_again(session, log, now)
    elif command.state is CommandState.FAILED:
        _give_up(log, now, command.code or (command.outcome.value if command.outcome else "failed"))


def sweep(session: Session, now: datetime) -> int:
    """Logs whose pieces have not come for too long; returns how many were looked at."""
    query = (
        select(DeviceLog)
        .where(DeviceLog.state.in_(_OPEN), DeviceLog.ask_again_at <= now)
        .order_by(DeviceLog.ask_again_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    due = session.scalars(query.execution_options(populate_existing=True)).all()
    for log in due:
        look_again(session, log, now)
    session.flush()  # what the database refuses must fail here
    return len(due)


def look_again(session: Session, log: DeviceLog, now: datetime) -> None:
    """`log` is locked and open: ask for what lacks, wait for a cabinet that is away, or make do with what is here."""
    command = None if log.command_id is None else session.get(DeviceCommand, log.command_id, populate_existing=True)
    if command is not None and command.state is CommandState.FAILED:
        _give_up(log, now, command.code or "failed")
    elif log.asked >= MOST_TIMES or log.created_at <= now - GIVE_UP_AFTER:
        _give_up(log, now, "no_answer" if log.chunks == 0 else "pieces_missing")
    elif session.scalar(select(Station.online).where(Station.id == log.station_id)):
        _ask(session, log, missing(session, log), now)
    else:
        log.ask_again_at = now + PATIENCE


def missing(session: Session, log: DeviceLog) -> tuple[int, ...]:
    """Pieces that are known to lack, the first of them; empty when not even the last one is known."""
    if log.chunks == 0:
        return ()
    here = set(session.scalars(select(DeviceLogChunk.index).where(DeviceLogChunk.log_id == log.id)))
    # Without the last piece nobody knows how many follow: asking for a few more than are known finds it.
    end = log.last_index if log.last_index is not None else min(max(here) + 8, MAX_LOG_CHUNKS - 1)
    return tuple(index for index in range(end + 1) if index not in here)[:MAX_LOG_INDEXES]


def _ask(session: Session, log: DeviceLog, indexes: Sequence[int], now: datetime) -> None:
    order = CollectLogs(
        request_id=str(log.id),
        since_ms=None if log.since is None else round(log.since.timestamp() * 1000),
        max_bytes=log.max_bytes,
        indexes=tuple(indexes),
    )
    command = queue_command(session, station_id=log.station_id, command=order, deadline=now + PATIENCE, now=now)
    session.flush()  # the row below refers to it
    log.command_id, log.asked, log.ask_again_at = command.id, log.asked + 1, now + PATIENCE


def _give_up(log: DeviceLog, now: datetime, code: str) -> None:
    _settle(log, LogState.FAILED if log.chunks == 0 else LogState.INCOMPLETE, now, code)


def _settle(log: DeviceLog, state: LogState, now: datetime, code: str | None = None) -> None:
    log.state, log.settled_at, log.code = state, now, code[:256] if code else None


def _have(session: Session, log: DeviceLog, index: int) -> bool:
    return session.get(DeviceLogChunk, (log.id, index)) is not None


def takes_more(log: DeviceLog) -> bool:
    """Whether pieces are still of use."""
    return log.state in _TAKES_MORE


def log_of(session: Session, request_id: str, station_id: int, *, lock: bool = False) -> DeviceLog:
    """By the id that the cabinet was told. Raises UnknownLogRequest."""
    try:
        key = UUID(request_id)
    except ValueError:
        key = None
    query = select(DeviceLog).where(DeviceLog.id == key, DeviceLog.station_id == station_id)
    query = query.with_for_update() if lock else query
    log = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if log is None:
        raise UnknownLogRequest("nobody asked this station for such a log", request_id=request_id[:100])
    return log


def get_log(session: Session, log_id: UUID) -> DeviceLog:
    """Raises LogNotFound."""
    log = session.get(DeviceLog, log_id)
    if log is None:
        raise LogNotFound("there is no such log", log_id=log_id)
    return log


def logs_of(session: Session, *, station_id: int | None, limit: int, before: UUID | None = None) -> list[DeviceLog]:
    """Newest first; of one station or of all."""
    query = select(DeviceLog).order_by(DeviceLog.id.desc()).limit(limit)
    if station_id is not None:
        query = query.where(DeviceLog.station_id == station_id)
    if before is not None:
        query = query.where(DeviceLog.id < before)
    return list(session.scalars(query))


def content_gzip(session: Session, log_id: UUID) -> Iterator[bytes]:
    """The pieces that are here, in order, as one gzip file. Raises LogNotFound, LogEmpty."""
    log = get_log(session, log_id)
    if log.chunks == 0:
        raise LogEmpty("nothing of this log has come yet", log_id=log_id, state=log.state)
    query = select(DeviceLogChunk.content).where(DeviceLogChunk.log_id == log.id).order_by(DeviceLogChunk.index)
    return iter([bytes(piece) for piece in session.scalars(query)])


def forget_old(session: Session, before: datetime, limit: int = 500) -> int:
    """Delete logs that were asked for before then, with their pieces; returns how many."""
    old = select(DeviceLog.id).where(DeviceLog.created_at < before).order_by(DeviceLog.created_at).limit(limit)
    return len(session.scalars(delete(DeviceLog).where(DeviceLog.id.in_(old)).returning(DeviceLog.id)).all())
