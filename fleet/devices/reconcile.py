"""When the backend asks a cabinet what is in its slots: after every connection, and on a period (decision 0100).

What the answer means is for fleet.stations.inventory and fleet.rentals.evidence.service to say.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Final

from sqlalchemy import Row, Select, exists, select, text
from sqlalchemy.orm import Session

from firmware_protocol.commands import QueryInventory
from fleet.common.bulk import array, instants
from fleet.common.outbox import publish
from fleet.devices.commands import EJECT, queue_many
from fleet.devices.events import InventoryFresh, InventoryStale
from fleet.devices.models import CommandPurpose, CommandState, DeviceCommand, StationReconciliation
from fleet.stations.models import Station, StationSlot

#: How long a cabinet has to answer.
ANSWER_WITHIN: Final = timedelta(seconds=60)
#: How long after its start a cabinet has to show its slots by itself (protocol 6.8), before it is asked.
SHOWS_WITHIN: Final = timedelta(seconds=30)
#: A question that got no answer is asked again after this long, then after twice as long, and so on.
ASK_AGAIN: Final = timedelta(minutes=2)
#: So many questions without an answer make the picture of a station stale.
STALE_AFTER: Final = 3
#: Stations in one sweep; more wait for the next.
BATCH: Final = 200
#: The period is stretched and shrunk by as much by chance: a fleet that connected at once is not asked at once.
_JITTER: Final = 0.25
_UNDER_WAY: Final = (CommandState.QUEUED, CommandState.SENT, CommandState.UNKNOWN)

_ASKED: Final = text("""
INSERT INTO station_reconciliation AS r (station_id, due_at, asked_at, unanswered)
SELECT id, CAST(:now AS timestamptz) + CAST(:again AS interval), :now, 1 FROM unnest(CAST(:ids AS int[])) AS v(id)
 ORDER BY id
ON CONFLICT (station_id) DO UPDATE SET asked_at = :now, unanswered = r.unanswered + 1,
    due_at = CAST(:now AS timestamptz) + CAST(:again AS interval) * power(2, least(r.unanswered, 4))
RETURNING r.station_id, r.unanswered, r.answered_at
""")
_EXPECTED: Final = text("""
INSERT INTO station_reconciliation AS r (station_id, due_at, unanswered)
SELECT id, CAST(:now AS timestamptz) + CAST(:within AS interval), 1 FROM unnest(CAST(:ids AS int[])) AS v(id)
 ORDER BY id
ON CONFLICT (station_id) DO UPDATE SET due_at = excluded.due_at, unanswered = r.unanswered + 1
RETURNING r.station_id, r.unanswered, r.answered_at
""")
#: Returns those whose picture was stale.
_ANSWERED: Final = text("""
WITH v AS (
    SELECT * FROM unnest(CAST(:ids AS int[]), CAST(:due AS timestamptz[])) AS v(id, due)
), before AS (
    SELECT station_id, unanswered FROM station_reconciliation WHERE station_id = ANY(CAST(:ids AS int[]))
     ORDER BY station_id FOR UPDATE
), written AS (
    INSERT INTO station_reconciliation (station_id, due_at, answered_at, unanswered)
    SELECT v.id, v.due, :now, 0 FROM v LEFT JOIN before b ON b.station_id = v.id ORDER BY v.id
    ON CONFLICT (station_id) DO UPDATE SET due_at = excluded.due_at, answered_at = excluded.answered_at, unanswered = 0
)
SELECT station_id FROM before WHERE unanswered >= :stale ORDER BY station_id
""")
_JOIN_IN: Final = text("""
INSERT INTO station_reconciliation (station_id, due_at)
SELECT t.id, CAST(:now AS timestamptz) + CAST(:period AS interval) * (0.5 + random()) FROM station t
 WHERE t.online AND NOT EXISTS (SELECT FROM station_reconciliation r WHERE r.station_id = t.id)
 ORDER BY t.id LIMIT :most
ON CONFLICT DO NOTHING
""")


def asked(session: Session, station_ids: Sequence[int], now: datetime) -> None:
    """These stations have been sent a question; the next one comes soon, unless they answer."""
    if not station_ids:
        return
    rows = session.execute(_ASKED, {"ids": array(sorted(station_ids)), "now": now, "again": ASK_AGAIN})
    _tell_stale(session, rows, now)


def expected(session: Session, station_ids: Sequence[int], now: datetime) -> None:
    """These stations are about to tell by themselves, which counts like a question; they are asked if they do not."""
    if not station_ids:
        return
    rows = session.execute(_EXPECTED, {"ids": array(sorted(station_ids)), "now": now, "within": SHOWS_WITHIN})
    _tell_stale(session, rows, now)


def _tell_stale(session: Session, rows: Iterable[Row[int, int, datetime | None]], now: datetime) -> None:
    for station_id, unanswered, answered_at in rows:
        if unanswered == STALE_AFTER:
            publish(session, InventoryStale(station_id, answered_at), now)


def answered(
    session: Session, station_ids: Collection[int], now: datetime, every: timedelta, rng: Random | None = None
) -> None:
    """Complete inventories came, whoever asked for them. `every`: the period of questions."""
    if not station_ids:
        return
    chance, ids = rng or Random(), sorted(station_ids)  # noqa: S311  # jitter
    due = instants(now + every * chance.uniform(1 - _JITTER, 1 + _JITTER) for _ in ids)
    for station_id in session.scalars(_ANSWERED, {"ids": array(ids), "due": due, "now": now, "stale": STALE_AFTER}):
        publish(session, InventoryFresh(station_id), now)


def ask_due(session: Session, now: datetime, every: timedelta, limit: int = BATCH) -> list[int]:
    """Ask the stations whose time has come, that are online, and where no eject is ordered or under way.

    Safe to run twice at once: rows that another sweep holds are passed over. Returns who was asked.
    """
    if not every:
        return []
    session.execute(_JOIN_IN, {"now": now, "period": every, "most": limit * 5})
    ids = list(session.scalars(_due(now, limit)))
    queue_many(session, ids, QueryInventory(), deadline=now + ANSWER_WITHIN, now=now, purpose=CommandPurpose.PERIODIC)
    asked(session, ids, now)
    return ids


def ask_now(session: Session, station_ids: Sequence[int], now: datetime, purpose: CommandPurpose) -> None:
    """Ask these stations at once, whatever is under way."""
    queue_many(session, station_ids, QueryInventory(), deadline=now + ANSWER_WITHIN, now=now, purpose=purpose)
    asked(session, station_ids, now)


def _due(now: datetime, limit: int) -> Select[int]:
    eject = exists().where(
        DeviceCommand.station_id == Station.id, DeviceCommand.kind == EJECT, DeviceCommand.state.in_(_UNDER_WAY)
    )
    reserved = exists().where(StationSlot.station_id == Station.id, StationSlot.reserved_for.is_not(None))
    return (
        select(StationReconciliation.station_id)
        .join(Station, Station.id == StationReconciliation.station_id)
        .where(StationReconciliation.due_at <= now, Station.online, ~eject, ~reserved)
        .order_by(StationReconciliation.due_at, StationReconciliation.station_id)
        .limit(limit)
        .with_for_update(of=StationReconciliation, skip_locked=True)
    )
