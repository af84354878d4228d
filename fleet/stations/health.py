"""Health of slots and banks: incidents are kept, slots that jam are taken out of use, hot and worn banks too.

Operators undo both (`service`), and nothing that a cabinet tells does. No bank is touched while it is with a rider, or
while an eject of it is under way.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import and_, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, contains_eager

from fleet.common.notify import Channel, notify
from fleet.common.outbox import publish
from fleet.stations.events import PowerBankFlagged, PowerBankQuarantined, SlotDisabled
from fleet.stations.models import HealthEvent, HealthKind, PowerBank, PowerBankState, StationSlot
from fleet.stations.rules import (
    JAMMING,
    BankReading,
    HealthPolicy,
    Incident,
    after_incident,
    bank_fault,
    cycles_after,
    jammed_too_often,
)

#: In `power_bank.state_set_by`.
SET_BY: Final = "health"
_AT_ONCE: Final = 500


def note_incident(
    session: Session,
    slot: StationSlot,
    incident: Incident,
    *,
    source: str,
    at: datetime,
    policy: HealthPolicy,
    now: datetime,
) -> bool:
    """Something went wrong in a locked slot at `at`; once per `source` (a device event, a command, a rental).

    False when it is known already.
    """
    if not _record(session, slot, HealthKind(incident.value), source=source, at=at):
        return False
    if slot.health_since is not None and at <= slot.health_since:
        return True  # from before an operator put the slot right
    slot.health_score = after_incident(slot.health_score, incident)
    if incident is Incident.SHORT:
        _disable(session, slot, "health: short circuit", at=at, now=now)
    elif incident in JAMMING and jammed_too_often(_jams(session, slot), policy):
        hours = policy.jams_within.total_seconds() / 3600
        _disable(session, slot, f"health: {policy.jams} jams within {hours:g} h", at=at, now=now)
    return True


def _jams(session: Session, slot: StationSlot) -> list[datetime]:
    query = select(HealthEvent.at).where(
        HealthEvent.station_id == slot.station_id,
        HealthEvent.slot_number == slot.number,
        HealthEvent.kind.in_([HealthKind(each.value) for each in JAMMING]),
    )
    if slot.health_since is not None:
        query = query.where(HealthEvent.at > slot.health_since)
    return list(session.scalars(query))


def _disable(session: Session, slot: StationSlot, reason: str, *, at: datetime, now: datetime) -> None:
    if slot.disabled_reason is not None:
        return
    slot.disabled_reason = reason
    _record(session, slot, HealthKind.DISABLED, at=at, detail=reason)
    publish(session, SlotDisabled(slot.station_id, slot.number, reason), now)
    notify(session, Channel.STATION, str(slot.station_id))


def suspect_bank(session: Session, bank: PowerBank, slot: StationSlot, *, source: str, at: datetime) -> None:
    """A rider gave the bank back at once, into this slot: perhaps it does not charge. Noted once per `source`."""
    _record(session, slot, HealthKind.QUICK_RETURN, source=source, at=at, bank=bank)


def count_discharge(bank: PowerBank, more_pct: int) -> None:
    """A rider took so much of a whole charge out of a locked bank; negative corrects what was counted before."""
    bank.cycles = cycles_after(bank.cycles, bank.discharged_pct, more_pct)
    bank.discharged_pct = max(0, bank.discharged_pct + more_pct)


def note_use(session: Session, slot: StationSlot, *, disabled_reason: str | None, now: datetime) -> None:
    """An operator took the slot out of use, or back into it: what was before counts no more."""
    kind = HealthKind.ENABLED if disabled_reason is None else HealthKind.DISABLED
    _record(session, slot, kind, at=now, detail=disabled_reason)
    if disabled_reason is None:
        slot.health_since = now


def judge_bank(session: Session, bank: PowerBank, slot: StationSlot, policy: HealthPolicy, now: datetime) -> bool:
    """Quarantine a locked bank in a locked slot if it is hot or worn.

    Only one that is AVAILABLE: never one that is with a rider, reserved for one, or that an operator keeps back.
    """
    if bank.state is not PowerBankState.AVAILABLE or slot.reserved_for is not None or slot.power_bank_id != bank.id:
        return False
    reason = bank_fault(_reading(bank), policy, now)
    if reason is None:
        return False
    bank.state, bank.state_set_by, bank.quarantine_reason = PowerBankState.QUARANTINED, SET_BY, reason
    if reason.startswith("worn"):
        bank.worn_judged_pct = bank.health_pct
    bank.updated_at = now
    _record(session, slot, HealthKind.QUARANTINED, at=now, detail=reason, bank=bank)
    publish(session, PowerBankQuarantined(bank.id, slot.station_id, slot.number, reason), now)
    notify(session, Channel.STATION, str(slot.station_id))
    return True


def sweep_banks(session: Session, policy: HealthPolicy, now: datetime) -> int:
    """Look at banks whose values changed since they came into their slots; returns how many are quarantined.

    Slots that somebody holds are passed over: a start that chose the bank is quicker, its return is judged.
    """
    hot = and_(PowerBank.temperature_c >= policy.hot_c, PowerBank.sampled_at > now - policy.fresh)
    worn = and_(
        PowerBank.health_pct < policy.worn_pct,
        or_(PowerBank.worn_judged_pct.is_(None), PowerBank.health_pct < PowerBank.worn_judged_pct),
    )
    query = (
        select(StationSlot)
        .join(StationSlot.power_bank)
        .options(contains_eager(StationSlot.power_bank))
        .where(PowerBank.state == PowerBankState.AVAILABLE, StationSlot.reserved_for.is_(None), or_(hot, worn))
        .order_by(StationSlot.id)
        .limit(_AT_ONCE)
        .with_for_update(of=[StationSlot, PowerBank], skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    )
    found = 0
    for slot in session.scalars(query).all():
        assert slot.power_bank is not None
        found += judge_bank(session, slot.power_bank, slot, policy, now)
    _flag_old(session, policy, now)
    return found


def _flag_old(session: Session, policy: HealthPolicy, now: datetime) -> None:
    """Each bank once. A row that is busy is flagged the next time."""
    old = (
        select(PowerBank.id)
        .where(PowerBank.cycles >= policy.cycles_flagged, PowerBank.flagged_at.is_(None))
        .order_by(PowerBank.id)
        .limit(_AT_ONCE)
        .with_for_update(skip_locked=True, key_share=True)
    )
    flagged = session.execute(
        update(PowerBank)
        .where(PowerBank.id.in_(list(session.scalars(old))))
        .values(flagged_at=now)
        .returning(PowerBank.id, PowerBank.cycles)
        .execution_options(synchronize_session=False)
    )
    for bank_id, cycles in flagged.all():
        assert cycles is not None
        session.add(HealthEvent(kind=HealthKind.FLAGGED, power_bank_id=bank_id, detail=f"{cycles} cycles", at=now))
        publish(session, PowerBankFlagged(bank_id, cycles), now)


def _reading(bank: PowerBank) -> BankReading:
    return BankReading(bank.temperature_c, bank.health_pct, bank.cycles, bank.sampled_at, bank.worn_judged_pct)


def _record(
    session: Session,
    slot: StationSlot,
    kind: HealthKind,
    *,
    at: datetime,
    source: str | None = None,
    detail: str | None = None,
    bank: PowerBank | None = None,
) -> bool:
    statement = (
        insert(HealthEvent)
        .values(
            station_id=slot.station_id,
            slot_number=slot.number,
            power_bank_id=slot.power_bank_id if bank is None else bank.id,
            kind=kind,
            source=source,
            detail=detail,
            at=at,
        )
        .on_conflict_do_nothing()
        .returning(HealthEvent.id)
    )
    return session.scalar(statement) is not None
