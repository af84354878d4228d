"""Tasks that consume outbox events: one transaction, once per event, whatever the queue repeats."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import structlog
from celery import Task
from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.clock import utc_now
from fleet.common.models import OutboxEvent
from fleet.common.outbox import consumers_done, first_time, first_times
from workers.context import transaction
from workers.policies import QUICK_THEN_RELAY
from workers.task import task

log = structlog.get_logger(__name__)

Handler = Callable[[Session, dict[str, Any], datetime], None]
SetHandler = Callable[[Session, Sequence[dict[str, Any]], datetime], None]
OutsideHandler = Callable[[dict[str, Any], datetime], None]


def consumer(name: str) -> Callable[[Handler], "Task[[int], bool]"]:
    """Register `handler(session, payload, now)` as the task `name`, which takes the event's id only.

    The handler runs in the transaction that notes the event as processed: both happen, or neither.
    """

    def register(handler: Handler) -> "Task[[int], bool]":
        def run(event_id: int) -> bool:
            return consume(name, handler, event_id, utc_now())

        return task(name, QUICK_THEN_RELAY)(run)

    return register


def consume(name: str, handler: Handler, event_id: int, now: datetime) -> bool:
    """True when this call did the work; False when it was done before, or the event is gone."""
    with transaction() as session:
        if not first_time(session, event_id, name, now):
            return False
        event = session.get(OutboxEvent, event_id)
        if event is None:  # settled and swept long ago; a message that old is a repetition
            log.warning("event_gone", event_id=event_id, consumer=name)
            return False
        handler(session, event.payload, now)
        return True


def set_consumer(name: str) -> Callable[[SetHandler], "Task[[list[int]], int]"]:
    """Like `consumer`, for `handler(session, payloads, now)` that takes many events at once (`routes.TOGETHER`)."""

    def register(handler: SetHandler) -> "Task[[list[int]], int]":
        def run(event_ids: list[int]) -> int:
            return consume_together(name, handler, event_ids, utc_now())

        return task(name, QUICK_THEN_RELAY)(run)

    return register


def consume_together(name: str, handler: SetHandler, event_ids: Sequence[int], now: datetime) -> int:
    """How many of these events this call did the work for; the others were done before, or are gone."""
    with transaction() as session:
        fresh = first_times(session, event_ids, name, now)
        query = select(OutboxEvent.payload).where(OutboxEvent.id.in_(fresh)).order_by(OutboxEvent.id)
        payloads = list(session.scalars(query)) if fresh else []
        if payloads:
            handler(session, payloads, now)
        return len(payloads)


def outside_consumer(name: str) -> Callable[[OutsideHandler], "Task[[int], bool]"]:
    """Like `consumer`, for `handler(payload, now)` that asks another system and so must not run in a transaction.

    The handler is idempotent by itself; the event is noted as processed after it has returned.
    """

    def register(handler: OutsideHandler) -> "Task[[int], bool]":
        def run(event_id: int) -> bool:
            return consume_outside(name, handler, event_id, utc_now())

        return task(name, QUICK_THEN_RELAY)(run)

    return register


def consume_outside(name: str, handler: OutsideHandler, event_id: int, now: datetime) -> bool:
    with transaction() as session:
        event = session.get(OutboxEvent, event_id)
        if event is None or name in consumers_done(session, [event_id]).get(event_id, set()):
            return False
    handler(event.payload, now)
    with transaction() as session:
        return first_time(session, event_id, name, now)
