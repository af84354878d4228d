"""What operators decide about stations and slots, noted with what it was before and why.

No cabinet and no rule undoes any of it.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.stations import service
from fleet.stations.errors import SlotNotFound, StationIsDisabled
from fleet.stations.models import Station, StationSlot, StationStatus
from fleet.stations.queries import find_station
from fleet.users import audit
from fleet.users.audit import Actor


def set_maintenance(session: Session, code: str, *, on: bool, reason: str, actor: Actor, now: datetime) -> Station:
    """Give no banks (they still come back), or give them again. Raises StationNotFound, StationIsDisabled."""
    before = find_station(session, code).status
    if before is StationStatus.DISABLED:
        raise StationIsDisabled(f"station {code} is disabled", station=code)
    return set_status(
        session, code, StationStatus.MAINTENANCE if on else StationStatus.ACTIVE, reason=reason, actor=actor, now=now
    )


def set_status(
    session: Session, code: str, status: StationStatus, *, reason: str | None, actor: Actor, now: datetime
) -> Station:
    """What is wanted of the station; the same again is noted again and changes nothing. Raises StationNotFound."""
    before = find_station(session, code).status
    station = service.set_status(session, code, status, now)
    audit.act(
        session,
        actor,
        "station.status",
        code,
        now,
        reason=reason,
        before={"status": before},
        after={"status": station.status},
    )
    return station


def disable_slot(session: Session, code: str, number: int, *, reason: str, actor: Actor, now: datetime) -> StationSlot:
    """Take a slot out of use in the books; `lock_slot` makes the cabinet itself refuse. Raises SlotNotFound."""
    return _use_slot(session, code, number, reason, reason=reason, actor=actor, now=now)


def enable_slot(
    session: Session, code: str, number: int, *, reason: str | None, actor: Actor, now: datetime
) -> StationSlot:
    """Take it back into use, as healthy, whoever disabled it. Raises SlotNotFound."""
    return _use_slot(session, code, number, None, reason=reason, actor=actor, now=now)


def _use_slot(
    session: Session,
    code: str,
    number: int,
    disabled: str | None,
    *,
    reason: str | None,
    actor: Actor,
    now: datetime,
) -> StationSlot:
    query = (
        select(StationSlot.disabled_reason, StationSlot.health_score)
        .join(Station)
        .where(Station.code == code, StationSlot.number == number)
    )
    known = session.execute(query).one_or_none()
    if known is None:
        raise SlotNotFound(f"station {code} has no slot {number}", station=code, slot=number)
    slot = service.set_slot_disabled(session, code, number, disabled, now)
    audit.act(
        session,
        actor,
        "slot.enable" if disabled is None else "slot.disable",
        f"{code}/{number}",
        now,
        reason=reason,
        before={"disabled_reason": known.disabled_reason, "health_score": known.health_score},
        after={"disabled_reason": slot.disabled_reason, "health_score": slot.health_score},
    )
    return slot
