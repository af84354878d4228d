"""What became of a bank, a slot, a station: movements, cases, commands, presence and operators' acts, newest first.

Every source is asked for one page and the pages are merged, so that no history costs more the longer it is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from fleet.devices.models import DeviceCommand
from fleet.devices.orders import shown
from fleet.rentals.cases.banks import target_of
from fleet.rentals.cases.models import OrphanBankCase
from fleet.stations.errors import BankNotFound, SlotNotFound
from fleet.stations.models import PowerBank, PowerBankMovement, Station, StationSlot, StationStatusHistory
from fleet.stations.queries import bank_by_serial, find_station
from fleet.users import audit

#: Of one instant there may be as many entries of one source as a cabinet has slots.
_TIES: Final = 64


class Cursor(NamedTuple):
    """The last entry seen: what follows is older."""

    at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """`id` names it for good: its kind and a number. `by`: who did it, where somebody did."""

    id: str
    at: datetime
    kind: str
    summary: str
    detail: dict[str, Any]

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.at, self.id)


def bank_history(session: Session, serial: str, *, limit: int, after: Cursor | None = None) -> list[HistoryEntry]:
    """Where it was, who had it, what was decided about it. Raises BankNotFound."""
    bank = bank_by_serial(session, serial)
    if bank is None:
        raise BankNotFound(f"no bank {serial}", serial=serial)
    most = limit + _TIES
    found = [
        *_movements(session, PowerBankMovement.power_bank_id == bank.id, after, most),
        *_cases(session, OrphanBankCase.power_bank_id == bank.id, after, most),
        *_acts(session, target_of(serial), after, most),
    ]
    return _page(found, limit, after)


def slot_history(
    session: Session, code: str, number: int, *, limit: int, after: Cursor | None = None
) -> list[HistoryEntry]:
    """What came and went, what was ordered, what was decided. Raises StationNotFound, SlotNotFound."""
    station = find_station(session, code)
    known = select(StationSlot.id).where(StationSlot.station_id == station.id, StationSlot.number == number)
    if session.scalar(known) is None:
        raise SlotNotFound(f"station {code} has no slot {number}", station=code, slot=number)
    most = limit + _TIES
    here = (PowerBankMovement.station_id == station.id) & (PowerBankMovement.slot_number == number)
    about = (OrphanBankCase.station_id == station.id) & (OrphanBankCase.slot_number == number)
    ordered = (DeviceCommand.station_id == station.id) & (DeviceCommand.args["slot"].as_integer() == number)
    found = [
        *_movements(session, here, after, most),
        *_cases(session, about, after, most),
        *_commands(session, ordered, after, most),
        *_acts(session, f"{code}/{number}", after, most),
    ]
    return _page(found, limit, after)


def station_history(session: Session, code: str, *, limit: int, after: Cursor | None = None) -> list[HistoryEntry]:
    """Presence, commands, what came and went, what was decided. Raises StationNotFound."""
    station = find_station(session, code)
    most = limit + _TIES
    found = [
        *_presence(session, station.id, after, most),
        *_commands(session, DeviceCommand.station_id == station.id, after, most),
        *_movements(session, PowerBankMovement.station_id == station.id, after, most),
        *_cases(session, OrphanBankCase.station_id == station.id, after, most),
        *_acts(session, code, after, most),
    ]
    return _page(found, limit, after)


def _page(entries: Iterable[HistoryEntry], limit: int, after: Cursor | None) -> list[HistoryEntry]:
    newest = sorted(entries, key=lambda entry: entry.cursor, reverse=True)
    return [entry for entry in newest if after is None or entry.cursor < after][:limit]


def _until(after: Cursor | None) -> datetime:
    return datetime.max.replace(tzinfo=UTC) if after is None else after.at


def _movements(session: Session, condition: ColumnElement[bool], after: Cursor | None, most: int) -> list[HistoryEntry]:
    query = (
        select(PowerBankMovement, PowerBank.serial, Station.code)
        .join(PowerBank, PowerBank.id == PowerBankMovement.power_bank_id)
        .join(Station, Station.id == PowerBankMovement.station_id)
        .where(condition, PowerBankMovement.at <= _until(after))
        .order_by(PowerBankMovement.at.desc(), PowerBankMovement.id.desc())
        .limit(most)
    )
    return [
        HistoryEntry(
            f"movement:{row.id}",
            row.at,
            "movement",
            f"{serial} {row.kind} in {code}/{row.slot_number}",
            {
                "bank": serial,
                "station": code,
                "slot": row.slot_number,
                "movement": row.kind,
                "charge_pct": row.charge_pct,
                "rental_id": _text(row.rental_id),
                "device_event": f"{code}:{row.boot}:{row.seq}",
            },
        )
        for row, serial, code in session.execute(query)
    ]


def _cases(session: Session, condition: ColumnElement[bool], after: Cursor | None, most: int) -> list[HistoryEntry]:
    query = (
        select(OrphanBankCase, PowerBank.serial, Station.code)
        .join(PowerBank, PowerBank.id == OrphanBankCase.power_bank_id)
        .join(Station, Station.id == OrphanBankCase.station_id)
        .where(condition, OrphanBankCase.opened_at <= _until(after))
        .order_by(OrphanBankCase.opened_at.desc(), OrphanBankCase.id.desc())
        .limit(most)
    )
    return [
        HistoryEntry(
            f"case:{row.id}",
            row.opened_at,
            "case",
            f"{row.reason}: {serial} of {code}/{row.slot_number}",
            {
                "case_id": str(row.id),
                "bank": serial,
                "station": code,
                "slot": row.slot_number,
                "reason": row.reason,
                "state": row.state,
                "resolved_at": None if row.resolved_at is None else row.resolved_at.isoformat(),
                "resolution": row.resolution,
                "rental_id": _text(row.rental_id),
            },
        )
        for row, serial, code in session.execute(query)
    ]


def _commands(session: Session, condition: ColumnElement[bool], after: Cursor | None, most: int) -> list[HistoryEntry]:
    query = (
        select(DeviceCommand)
        .where(condition, DeviceCommand.created_at <= _until(after))
        .order_by(DeviceCommand.created_at.desc(), DeviceCommand.id.desc())
        .limit(most)
    )
    return [
        HistoryEntry(
            f"command:{row.id}",
            row.created_at,
            "command",
            f"{row.kind}: {row.state}" + (f" ({row.code})" if row.code else ""),
            {
                "command_id": str(row.id),
                "type": row.kind,
                "args": shown(row.args),
                "state": row.state,
                "outcome": row.outcome,
                "code": row.code,
                "purpose": row.purpose,
                "rental_id": _text(row.rental_id),
                "requested_by": _text(row.requested_by),
            },
        )
        for row in session.scalars(query)
    ]


def _presence(session: Session, station_id: int, after: Cursor | None, most: int) -> list[HistoryEntry]:
    query = (
        select(StationStatusHistory)
        .where(StationStatusHistory.station_id == station_id, StationStatusHistory.at <= _until(after))
        .order_by(StationStatusHistory.at.desc(), StationStatusHistory.id.desc())
        .limit(most)
    )
    return [
        HistoryEntry(
            f"presence:{row.id}",
            row.at,
            "presence",
            f"{'online' if row.online else 'offline'}: {row.cause}",
            {
                "online": row.online,
                "status": row.status,
                "cause": row.cause,
                "trigger": row.trigger,
                "since": (row.since or row.at).isoformat(),
                "evidence": row.evidence or {},
            },
        )
        for row in session.scalars(query)
    ]


def _acts(session: Session, target: str, after: Cursor | None, most: int) -> list[HistoryEntry]:
    until = None if after is None else after.at
    rows: Sequence[Any] = audit.about(session, target, until=until, limit=most)
    return [
        HistoryEntry(
            f"act:{row.id}",
            row.at,
            "act",
            row.action,
            {"action": row.action, "by": _text(row.actor_id), "request_id": row.request_id, **row.detail},
        )
        for row in rows
    ]


def _text(value: object) -> str | None:
    return None if value is None else str(value)
