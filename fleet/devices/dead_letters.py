"""Frames that could not be applied, for people to look at, mend and replay."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from fleet.common.errors import Conflict, NotFound
from fleet.devices.models import DeadLetter, DeadLetterState

#: Nothing has become of it yet.
OPEN: Final = (DeadLetterState.WAITING, DeadLetterState.REQUESTED)
_TOPIC_CHARS: Final = 1000
_ERROR_CHARS: Final = 2000
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


def record(session: Session, rejected: Rejected) -> DeadLetter:
    """Keep the frame; one that already waits with the same bytes is kept once, however often a cabinet repeats it."""
    same = select(DeadLetter).where(
        DeadLetter.station_code == rejected.station_code,
        DeadLetter.state.in_(OPEN),
        DeadLetter.payload == rejected.payload,
        DeadLetter.error_code == rejected.error_code[:64],
    )
    known = session.scalars(same.limit(1)).one_or_none()
    if known is not None:
        return known
    row = DeadLetter(
        topic=_text(rejected.topic, _TOPIC_CHARS),
        station_code=rejected.station_code,
        payload=rejected.payload,
        content_type=_text(rejected.content_type, 100) if rejected.content_type is not None else None,
        error_code=rejected.error_code[:64],
        error=_text(rejected.error, _ERROR_CHARS),
        received_at=rejected.received_at,
        state=DeadLetterState.WAITING,
    )
    session.add(row)
    return row


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
