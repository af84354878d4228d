"""How slots and banks are: scores, what speaks against them, how a bank charges, and what happened."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from fleet.stations.banks import BankView, bank_view
from fleet.stations.models import HealthEvent, PowerBank, StationSlot
from fleet.stations.queries import find_station
from fleet.stations.rules import (
    BankReading,
    ChargeCurve,
    ChargePoint,
    HealthPolicy,
    bank_fault,
    bank_score,
    charge_curve,
)

#: How far back a charge curve looks, and how many events a history shows, newest first.
CURVE: Final = timedelta(days=1)
MOST_EVENTS: Final = 100
#: The newest charge of each half hour that the bank was in this slot.
_CHARGE: Final = text("""
SELECT max(at), (array_agg(charge_pct ORDER BY at DESC))[1] FROM slot_telemetry
 WHERE station_id = :station_id AND slot = :slot AND at >= :since AND at <= :until
   AND power_bank_id = :bank_id AND charge_pct IS NOT NULL
 GROUP BY date_bin('30 minutes', at, '2000-01-01Z') ORDER BY 1
""")


@dataclass(frozen=True, slots=True)
class BankHealth:
    """`score` 0 to 100; `fault`: why it would be quarantined now. The curve is that of its slot, over a day."""

    bank: BankView
    score: int
    fault: str | None
    flagged_at: datetime | None
    curve: ChargeCurve
    history: Sequence[HealthEvent]


@dataclass(frozen=True, slots=True)
class SlotHealth:
    number: int
    score: int
    fault: str | None
    disabled_reason: str | None
    history: Sequence[HealthEvent]


def bank_health(session: Session, serial: str, policy: HealthPolicy, now: datetime) -> BankHealth:
    """Raises BankNotFound."""
    view = bank_view(session, serial)
    bank = session.get_one(PowerBank, view.id)
    reading = BankReading(bank.temperature_c, bank.health_pct, bank.cycles, bank.sampled_at, bank.worn_judged_pct)
    events = select(HealthEvent).where(HealthEvent.power_bank_id == bank.id).order_by(HealthEvent.at.desc())
    return BankHealth(
        bank=view,
        score=bank_score(reading, policy),
        fault=bank_fault(reading, policy, now),
        flagged_at=bank.flagged_at,
        curve=charge_curve(_charge_points(session, bank.id, now)),
        history=session.scalars(events.limit(MOST_EVENTS)).all(),
    )


def _charge_points(session: Session, bank_id: int, now: datetime) -> list[ChargePoint]:
    slot = session.scalars(select(StationSlot).where(StationSlot.power_bank_id == bank_id)).one_or_none()
    if slot is None:
        return []
    place = {"station_id": slot.station_id, "slot": slot.number, "bank_id": bank_id}
    rows = session.execute(_CHARGE, {**place, "since": now - CURVE, "until": now})
    return [ChargePoint(at, charge_pct) for at, charge_pct in rows]


def station_health(session: Session, code: str) -> list[SlotHealth]:
    """Every slot, by number. Raises StationNotFound."""
    station = find_station(session, code)
    slots = session.scalars(
        select(StationSlot).where(StationSlot.station_id == station.id).order_by(StationSlot.number)
    ).all()
    events = (
        select(HealthEvent)
        .where(HealthEvent.station_id == station.id, HealthEvent.slot_number.is_not(None))
        .order_by(HealthEvent.at.desc(), HealthEvent.id.desc())
        .limit(MOST_EVENTS)
    )
    history: dict[int | None, list[HealthEvent]] = {}
    for event in session.scalars(events):
        history.setdefault(event.slot_number, []).append(event)
    return [
        SlotHealth(slot.number, slot.health_score, slot.fault, slot.disabled_reason, history.get(slot.number, []))
        for slot in slots
    ]
