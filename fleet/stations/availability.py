"""Which slots can give a bank and which can take one: one definition for lists, pages and the choice at a start."""

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from psycopg2.errors import LockNotAvailable
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Select,
    Uuid,
    all_,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, contains_eager

from firmware_protocol.types import SlotState
from fleet.common.plans import PLANNED
from fleet.db import UtcDateTime
from fleet.stations.models import PowerBank, PowerBankState, Station, StationSlot, StationStatus
from fleet.stations.rules import HEALTHY

#: How long a start waits for slots that others hold, before it says that there is no bank.
PATIENCE_S: Final = 3
Shape = frozenset[str]


def rentable(
    now: datetime | ColumnElement[datetime],
    min_charge_pct: int | ColumnElement[int],
    reserved_for: ColumnElement[UUID] | None = None,
) -> ColumnElement[bool]:
    """Of a slot joined with its bank: a rider could take it, as far as the cabinet has told; also one that is kept for
    `reserved_for`.
    """
    free = StationSlot.reserved_for.is_(None)
    return and_(
        StationSlot.state == SlotState.OCCUPIED,
        StationSlot.locked.is_not(True),
        StationSlot.disabled_reason.is_(None),
        StationSlot.fault.is_(None),
        free if reserved_for is None else or_(free, StationSlot.reserved_for == reserved_for),
        or_(StationSlot.watched_until.is_(None), StationSlot.watched_until <= now),
        StationSlot.health_score >= HEALTHY,
        PowerBank.state == PowerBankState.AVAILABLE,
        PowerBank.known,
        func.coalesce(PowerBank.ready, PowerBank.charge_pct >= min_charge_pct),
    )


def returnable() -> ColumnElement[bool]:
    """Of a slot: it could take a bank back."""
    return and_(
        StationSlot.state == SlotState.EMPTY,
        StationSlot.locked.is_not(True),
        StationSlot.disabled_reason.is_(None),
        StationSlot.fault.is_(None),
    )


def renting() -> ColumnElement[bool]:
    """Of a station: it gives banks at all."""
    return and_(Station.status == StationStatus.ACTIVE, Station.online)


def best_bank(
    session: Session,
    station_id: int,
    min_charge_pct: int,
    now: datetime,
    *,
    slot: int | None = None,
    not_slots: Collection[int] = (),
    lock: bool = True,
    wait: bool = False,
    reserved_for: UUID | None = None,
) -> StationSlot | None:
    """The slot whose bank goes next (`slot.power_bank` is loaded): most charge, least worn among equals.

    Locked for this transaction; slots that another one holds are passed over, so that parallel starts get different
    banks and never wait for each other. Only when nothing else is left are they waited for (`wait`): the other
    transaction may have no use for the bank. `slot` asks for that one only, `not_slots` leaves some out; what is kept
    for `reserved_for` comes before all others.
    """
    asked = {
        "station_id": station_id, "now": now, "min_charge_pct": min_charge_pct,
        "slot": slot, "not_slots": sorted(not_slots) or None, "reserved_for": reserved_for,
    }  # fmt: skip
    values = {name: value for name, value in asked.items() if value is not None}
    shape = frozenset(values)
    if not lock:
        return session.scalars(_best(shape), values).one_or_none()
    found = _take_free(session, _free_best(shape), values)
    if found is None and wait:
        # All that may do, in the order in which facts lock slots: the first of them may be gone after the wait.
        rest = _that_may(shape).order_by(StationSlot.id).with_for_update(of=StationSlot, key_share=True)
        locked = _wait_for(session, rest, values)
        if locked:
            found = session.scalars(_best(shape).where(StationSlot.id.in_(locked)), values).one_or_none()
    return found


def _that_may(shape: Shape) -> Select[StationSlot]:
    """Slots that match what is asked for: `shape` are the names of the values that come with the call."""
    kept = bindparam("reserved_for", type_=Uuid()) if "reserved_for" in shape else None
    usable = rentable(bindparam("now", type_=UtcDateTime()), bindparam("min_charge_pct", type_=Integer()), kept)
    query = (
        select(StationSlot)
        .join(StationSlot.power_bank)
        .options(contains_eager(StationSlot.power_bank))
        .where(StationSlot.station_id == bindparam("station_id", type_=Integer()), usable)
        .execution_options(populate_existing=True, **PLANNED)
    )
    if "slot" in shape:
        query = query.where(StationSlot.number == bindparam("slot"))
    if "not_slots" in shape:
        query = query.where(StationSlot.number != all_(bindparam("not_slots", type_=ARRAY(Integer()))))
    return query


@cache
def _best(shape: Shape) -> Select[StationSlot]:
    """What is kept for the rider first, then by charge."""
    query = _that_may(shape)
    if "reserved_for" in shape:
        query = query.order_by(StationSlot.reserved_for.is_(None))
    order = (PowerBank.charge_pct.desc().nulls_last(), PowerBank.cycles.asc().nulls_first(), StationSlot.number)
    return query.order_by(*order).limit(literal_column("1"))


@cache
def _free_best(shape: Shape) -> Select[StationSlot]:
    return _best(shape).with_for_update(of=StationSlot, skip_locked=True, key_share=True)


def _take_free(session: Session, free: Select[StationSlot], values: Mapping[str, Any]) -> StationSlot | None:
    """The best slot that nobody holds, locked. When there is none, nothing is left locked.

    PostgreSQL also locks rows that another transaction changed in the meantime, and only then sees that they do not
    match any more. Holding those, in whatever order they came, while waiting for others would close circles.
    """
    session.flush()
    connection = session.connection()
    # Nothing is written under it, so the session need not know.
    connection.exec_driver_sql("SAVEPOINT free")
    found = session.scalars(free, values).one_or_none()
    if found is None:
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT free")
    connection.exec_driver_sql("RELEASE SAVEPOINT free")
    return found


def _wait_for(session: Session, slots: Select[StationSlot], values: Mapping[str, Any]) -> list[int]:
    """Ids of these slots once they are ours; none when others do not let go of them in time."""
    try:
        with session.begin_nested():
            session.execute(text(f"SET LOCAL lock_timeout = '{PATIENCE_S}s'"))
            locked = [each.id for each in session.scalars(slots, values)]
            session.execute(text("SET LOCAL lock_timeout TO DEFAULT"))
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        return []
    return locked
