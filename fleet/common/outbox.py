"""Transactional outbox: facts leave with the transaction that made them true, or not at all."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import Interval, delete, func, insert, literal, select, text, update
from sqlalchemy.orm import Session

from fleet.common.bulk import array
from fleet.common.models import OutboxEvent, ProcessedEvent
from fleet.common.notify import Channel, notify
from fleet.common.prepared import table_of, write_later
from fleet.db import UtcDateTime

_WRITE: Final = insert(table_of(OutboxEvent)).inline()


@dataclass(frozen=True)
class DomainEvent:
    """Base of the facts in every area's `events.py`. `name` carries its version and never changes its meaning."""

    name: ClassVar[str]

    def payload(self) -> dict[str, Any]:
        """As JSON holds it: ids as text, instants in ISO 8601."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}


def _plain(value: object) -> object:
    if isinstance(value, UUID):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value


def publish(session: Session, event: DomainEvent, now: datetime) -> None:
    """Write `event` to the outbox and wake the relay when the transaction commits."""
    write_later(session, _WRITE, {"name": event.name, "payload": event.payload(), "created_at": now}, flush=False)
    notify(session, Channel.OUTBOX, event.name)


def publish_all(session: Session, events: Sequence[DomainEvent], now: datetime) -> None:
    """Many at once: one insert, one wake-up for each kind."""
    if events:
        rows = [{"name": each.name, "payload": each.payload(), "created_at": now} for each in events]
        session.execute(insert(OutboxEvent), rows)
        for name in {each.name for each in events}:
            notify(session, Channel.OUTBOX, name)


def claim_waiting(session: Session, limit: int, *, without: Collection[str] = ()) -> list[OutboxEvent]:
    """The oldest undispatched events, locked for this transaction; events locked by another relay are skipped.

    `without`: names of events that are left for later.
    """
    query = (
        select(OutboxEvent)
        .where(OutboxEvent.dispatched_at.is_(None))
        .order_by(OutboxEvent.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    if without:
        query = query.where(OutboxEvent.name.not_in(without))
    return list(session.scalars(query))


def mark_dispatched(session: Session, ids: list[int], now: datetime) -> None:
    """They were handed to the queue, once more."""
    if not ids:
        return
    session.execute(
        update(OutboxEvent)
        .where(OutboxEvent.id.in_(ids))
        .values(dispatched_at=now, attempts=OutboxEvent.attempts + 1)
        .execution_options(synchronize_session=False)
    )


def mark_settled(session: Session, ids: list[int], now: datetime) -> None:
    """Nothing is left to do for them."""
    if not ids:
        return
    session.execute(
        update(OutboxEvent)
        .where(OutboxEvent.id.in_(ids))
        .values(settled_at=now)
        .execution_options(synchronize_session=False)
    )


def claim_unsettled(
    session: Session, now: datetime, patience: timedelta, slowest: timedelta, limit: int
) -> list[OutboxEvent]:
    """Events handed to the queue and not known to be processed although `patience` has passed; locked, others' skipped.

    Patience doubles with every attempt, up to `slowest`.
    """
    seconds = func.least(
        patience.total_seconds() * func.power(2.0, func.least(OutboxEvent.attempts - 1, 20)), slowest.total_seconds()
    )
    doubled = func.make_interval(0, 0, 0, 0, 0, 0, seconds, type_=Interval)
    query = (
        select(OutboxEvent)
        .where(
            OutboxEvent.dispatched_at.is_not(None),
            OutboxEvent.settled_at.is_(None),
            OutboxEvent.dispatched_at < literal(now, UtcDateTime) - doubled,
        )
        .order_by(OutboxEvent.dispatched_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(session.scalars(query))


def consumers_done(session: Session, ids: list[int]) -> dict[int, set[str]]:
    """Which consumers have processed each of these events."""
    done: dict[int, set[str]] = {}
    rows = session.execute(
        select(ProcessedEvent.event_id, ProcessedEvent.consumer).where(ProcessedEvent.event_id.in_(ids))
    )
    for event_id, consumer in rows:
        done.setdefault(event_id, set()).add(consumer)
    return done


def forget_settled(session: Session, settled_before: datetime, limit: int) -> int:
    """Delete up to `limit` settled events with what their consumers noted; returns how many events."""
    old = select(OutboxEvent.id).where(OutboxEvent.settled_at < settled_before).limit(limit)
    ids = list(session.scalars(old))
    if ids:
        session.execute(delete(ProcessedEvent).where(ProcessedEvent.event_id.in_(ids)))
        session.execute(delete(OutboxEvent).where(OutboxEvent.id.in_(ids)))
    return len(ids)


def first_times(session: Session, event_ids: Collection[int], consumer: str, now: datetime) -> list[int]:
    """`first_time` of many events: those that this consumer had not noted, in rising order."""
    rows = session.scalars(
        text(
            "INSERT INTO processed_event (event_id, consumer, processed_at)"
            " SELECT id, :consumer, :now FROM unnest(CAST(:ids AS bigint[])) AS v(id) ORDER BY id"
            " ON CONFLICT DO NOTHING RETURNING event_id"
        ),
        {"ids": array(sorted(set(event_ids))), "consumer": consumer, "now": now},
    )
    return sorted(rows)


def first_time(session: Session, event_id: int, consumer: str, now: datetime) -> bool:
    """True once per (event, consumer), in the transaction that does the consumer's work."""
    row = session.execute(
        text(
            "INSERT INTO processed_event (event_id, consumer, processed_at) VALUES (:event_id, :consumer, :now)"
            " ON CONFLICT DO NOTHING RETURNING event_id"
        ),
        {"event_id": event_id, "consumer": consumer, "now": now},
    ).first()
    return row is not None
