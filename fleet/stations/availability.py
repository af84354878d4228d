"""Which slots can give a bank and which can take one: one definition for lists, pages and the choice at a start."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
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
    any_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.util import identity_key

from firmware_protocol.types import SlotState
from fleet.common.prepared import Prepared, say, table_of, write_later
from fleet.db import UtcDateTime
from fleet.stations.models import PowerBank, PowerBankState, Station, StationSlot, StationStatus
from fleet.stations.rules import HEALTHY

#: How long a start waits for slots that others hold, before it says that there is no bank.
PATIENCE_S: Final = 3
Shape = frozenset[str]
_SLOTS: Final = table_of(StationSlot)
_KEEP: Final = update(_SLOTS).where(_SLOTS.c.id == bindparam("slot_id"))


@dataclass(frozen=True, slots=True)
class Offer:
    """A bank that may be given, in its slot."""

    slot_id: int
    station_id: int
    #: Of the slot.
    number: int
    #: For whom the slot is kept already: a reservation of who asks.
    reserved_for: UUID | None
    bank_id: int
    serial: str
    charge_pct: int | None


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
) -> Offer | None:
    """The bank that goes next: most charge, least worn among equals.

    Its slot is locked for this transaction; slots that another one holds are passed over, so that parallel starts get
    different banks and never wait for each other. Only when nothing else is left are they waited for (`wait`): the
    other transaction may have no use for the bank. `slot` asks for that one only, `not_slots` leaves some out; what is
    kept for `reserved_for` comes before all others.
    """
    asked = {
        "station_id": station_id, "now": now, "min_charge_pct": min_charge_pct,
        "slot": slot, "not_slots": sorted(not_slots) or None, "reserved_for": reserved_for,
    }  # fmt: skip
    values = {name: value for name, value in asked.items() if value is not None}
    shape = frozenset(values)
    if not lock:
        return _first(_looked_at(shape), session, values)
    found = _take_free(session, shape, values)
    if found is None and wait:
        # All that may do, in the order in which facts lock slots: the first of them may be gone after the wait.
        locked = _wait_for(session, shape, values)
        if locked:
            found = _first(_of_these(shape), session, {**values, "locked": locked})
    return found


def keep_for(session: Session, offer: Offer, holder: UUID) -> None:
    """Nobody else gets the bank; its slot is locked. Goes with the session's next statement.

    What takes back a savepoint takes back the row, but not what the session's slot says: read it anew after that.
    """
    write_later(session, _KEEP, {"slot_id": offer.slot_id, "reserved_for": holder})
    known = session.identity_map.get(identity_key(StationSlot, offer.slot_id))
    if known is not None:
        set_committed_value(known, "reserved_for", holder)


def _that_may(shape: Shape) -> Select[int, int, int, UUID | None, int, str, int | None]:
    """Slots that match what is asked for, as `Offer` has them: `shape` are the names of the values that come with the
    call.
    """
    kept = bindparam("reserved_for", type_=Uuid()) if "reserved_for" in shape else None
    usable = rentable(bindparam("now", type_=UtcDateTime()), bindparam("min_charge_pct", type_=Integer()), kept)
    query = (
        select(
            StationSlot.id, StationSlot.station_id, StationSlot.number, StationSlot.reserved_for,
            PowerBank.id.label("bank_id"), PowerBank.serial, PowerBank.charge_pct,
        )
        .join(StationSlot.power_bank)
        .where(StationSlot.station_id == bindparam("station_id", type_=Integer()), usable)
    )  # fmt: skip
    if "slot" in shape:
        query = query.where(StationSlot.number == bindparam("slot"))
    if "not_slots" in shape:
        query = query.where(StationSlot.number != all_(bindparam("not_slots", type_=ARRAY(Integer()))))
    return query


def _best(shape: Shape) -> Select[int, int, int, UUID | None, int, str, int | None]:
    """What is kept for the rider first, then by charge."""
    query = _that_may(shape)
    if "reserved_for" in shape:
        query = query.order_by(StationSlot.reserved_for.is_(None))
    order = (PowerBank.charge_pct.desc().nulls_last(), PowerBank.cycles.asc().nulls_first(), StationSlot.number)
    return query.order_by(*order).limit(literal_column("1"))


@cache
def _looked_at(shape: Shape) -> Prepared:
    return Prepared(_best(shape), planned=True)


@cache
def _free(shape: Shape) -> Prepared:
    return Prepared(_best(shape).with_for_update(of=StationSlot, skip_locked=True, key_share=True), planned=True)


@cache
def _all(shape: Shape) -> Prepared:
    rest = _that_may(shape).order_by(StationSlot.id).with_for_update(of=StationSlot, key_share=True)
    return Prepared(rest, planned=True)


@cache
def _of_these(shape: Shape) -> Prepared:
    these = StationSlot.id == any_(bindparam("locked", type_=ARRAY(Integer())))
    return Prepared(_best(shape).where(these), planned=True)


def _first(query: Prepared, session: Session, values: Mapping[str, Any]) -> Offer | None:
    found = query.all(session, **values)
    return Offer(*found[0]) if found else None


def _take_free(session: Session, shape: Shape, values: Mapping[str, Any]) -> Offer | None:
    """The best one that nobody holds, locked. When there is none, nothing is left locked.

    PostgreSQL also locks rows that another transaction changed in the meantime, and only then sees that they do not
    match any more. Holding those, in whatever order they came, while waiting for others would close circles.
    """
    session.flush()  # or what waits to be written would be written under the savepoint
    # Nothing is written under it, so the session need not know.
    say(session, "SAVEPOINT free")
    found = _first(_free(shape), session, values)
    if found is None:
        say(session, "ROLLBACK TO SAVEPOINT free")
    say(session, "RELEASE SAVEPOINT free")
    return found


def _wait_for(session: Session, shape: Shape, values: Mapping[str, Any]) -> list[int]:
    """Ids of these slots once they are ours; none when others do not let go of them in time."""
    try:
        with session.begin_nested():
            session.execute(text(f"SET LOCAL lock_timeout = '{PATIENCE_S}s'"))
            locked = [each.id for each in _all(shape).all(session, **values)]
            session.execute(text("SET LOCAL lock_timeout TO DEFAULT"))
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        return []
    return locked
