"""Frames that could not be applied, for people to look at, mend and replay."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from fleet.common.bulk import instants, raw_cursor, words
from fleet.common.errors import Conflict, NotFound
from fleet.devices.models import DeadLetter, DeadLetterState

#: Nothing has become of it yet.
OPEN: Final = (DeadLetterState.WAITING, DeadLetterState.REQUESTED)
_TOPIC_CHARS: Final = 1000
_ERROR_CHARS: Final = 2000
_CODE_CHARS: Final = 64
#: Of one statement.
_MOST_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 2 * 1024 * 1024
#: Looked up row by row in the index of what waits (`ix_dead_letter_same`): a join would read all that ever came.
_INSERT: Final = """
INSERT INTO dead_letter (topic, station_code, payload, content_type, error_code, error, received_at, state)
SELECT v.topic, v.station_code, v.payload, v.content_type, v.error_code, v.error, v.received_at, 'waiting'
  FROM (SELECT u.*, decode(u.hex, 'hex') AS payload
          FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[])
               WITH ORDINALITY AS u(topic, station_code, hex, content_type, error_code, error, received_at, number)) v
 WHERE (SELECT d.id FROM dead_letter d
         WHERE md5(d.payload) = md5(v.payload) AND d.payload = v.payload AND d.error_code = v.error_code
           AND d.station_code IS NOT DISTINCT FROM v.station_code AND d.state IN ('waiting', 'requested')
         LIMIT 1) IS NULL
 ORDER BY v.number
"""
#: A frame that nobody has looked at for so long is worth nothing; a cabinet that sends garbage must not fill the disk.
KEPT: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A frame as it came, and why it was not applied."""

    topic: str
    station_code: str | None
    payload: bytes
    content_type: str | None
    error_code: str
    error: str
    received_at: datetime


def record(session: Session, rejected: Rejected) -> None:
    """Keep the frame; one that already waits with the same bytes is kept once, however often a cabinet repeats it."""
    record_all(session, [rejected])


def record_all(session: Session, rejected: Iterable[Rejected]) -> None:
    """As `record`, for many at once: a cabinet that floods us costs a statement for hundreds of frames."""
    different = {(each.station_code, each.error_code[:_CODE_CHARS], each.payload): each for each in rejected}
    part: list[Rejected] = []
    size = 0
    for each in different.values():
        part.append(each)
        size += len(each.payload)
        if len(part) >= _MOST_AT_ONCE or size >= _BYTES_AT_ONCE:
            _insert(session, part)
            part, size = [], 0
    if part:
        _insert(session, part)


def _insert(session: Session, part: Sequence[Rejected]) -> None:
    with raw_cursor(session) as cursor:
        cursor.execute(
            _INSERT,
            (
                words(_text(each.topic, _TOPIC_CHARS) for each in part),
                words(each.station_code for each in part),
                words(each.payload.hex() for each in part),
                words(None if each.content_type is None else _text(each.content_type, 100) for each in part),
                words(each.error_code[:_CODE_CHARS] for each in part),
                words(_text(each.error, _ERROR_CHARS) for each in part),
                instants(each.received_at for each in part),
            ),
        )


def list_waiting(
    session: Session, *, limit: int = 50, before: int | None = None, station_code: str | None = None
) -> list[DeadLetter]:
    """Newest first; `before` is the id of the last one seen."""
    query = select(DeadLetter).where(DeadLetter.state.in_(OPEN))
    if before is not None:
        query = query.where(DeadLetter.id < before)
    if station_code is not None:
        query = query.where(DeadLetter.station_code == station_code)
    return list(session.scalars(query.order_by(DeadLetter.id.desc()).limit(limit)))


def get(session: Session, dead_letter_id: int, *, lock: bool = False) -> DeadLetter:
    """Raises NotFound."""
    row = session.get(DeadLetter, dead_letter_id, with_for_update=lock or None)
    if row is None:
        raise NotFound(f"there is no dead letter {dead_letter_id}", dead_letter_id=dead_letter_id)
    return row


def mark_replayed(session: Session, dead_letter_id: int, now: datetime, error: str | None = None) -> DeadLetter:
    """It was run again: applied (`error` None), or still refused, which keeps it waiting with the new error."""
    row = get(session, dead_letter_id, lock=True)
    row.replayed_at = now
    row.replay_error = _text(error, _ERROR_CHARS) if error is not None else None
    row.state = DeadLetterState.REPLAYED if error is None else DeadLetterState.WAITING
    return row


def request_replay(session: Session, dead_letter_id: int) -> DeadLetter:
    """Have a gateway run it again within seconds: only gateways can. Raises Conflict when it does not wait any more."""
    row = get(session, dead_letter_id, lock=True)
    if row.state not in OPEN:
        raise Conflict(f"dead letter {dead_letter_id} is {row.state}", dead_letter_id=dead_letter_id)
    row.state = DeadLetterState.REQUESTED
    return row


def requested(session: Session, limit: int = 20) -> list[int]:
    """Ids of those that somebody wants run again, oldest first."""
    query = select(DeadLetter.id).where(DeadLetter.state == DeadLetterState.REQUESTED)
    return list(session.scalars(query.order_by(DeadLetter.id).limit(limit)))


def discard(session: Session, dead_letter_id: int) -> DeadLetter:
    """Somebody looked and nothing is to be done. Raises Conflict when it was replayed."""
    row = get(session, dead_letter_id, lock=True)
    if row.state is DeadLetterState.REPLAYED:
        raise Conflict(f"dead letter {dead_letter_id} was replayed", dead_letter_id=dead_letter_id)
    row.state = DeadLetterState.DISCARDED
    return row


def forget_old(session: Session, now: datetime) -> int:
    """Drop those older than 90 days; returns how many."""
    result = session.execute(delete(DeadLetter).where(DeadLetter.received_at < now - KEPT))
    return int(getattr(result, "rowcount", 0))


def _text(value: str, limit: int) -> str:
    # PostgreSQL's text holds no U+0000, whatever a topic or an error quotes.
    return value.replace("\0", "\\0")[:limit]
