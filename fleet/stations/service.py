"""What operators do to stations, slots and banks."""

from collections.abc import Collection, Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.models import Country
from fleet.common.notify import Channel, notify
from fleet.stations.errors import SlotNotFound, StationNotFound
from fleet.stations.health import note_use
from fleet.stations.models import PowerBank, Station, StationSlot, StationStatus, StationStatusHistory
from fleet.stations.rules import BEST
from fleet.stations.specs import (
    POSITION_DIGITS,
    SERIAL,
    AddReport,
    ImportProblem,
    ImportReport,
    StationSpec,
    check_spec,
    h3_cell,
)

_ONE_AT_A_TIME: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('station.import', 0))")


def create_station(session: Session, spec: StationSpec, now: datetime) -> Station:
    """The station of that code, made or brought to `spec`, with its slots. Raises InvalidInput with the field."""
    report = import_stations(session, [spec], now)
    for problem in report.problems:
        raise InvalidInput(problem.message, field=problem.field)
    return session.scalars(select(Station).where(Station.code == spec.code)).one()


def import_stations(session: Session, rows: Iterable[StationSpec | ImportProblem], now: datetime) -> ImportReport:
    """Make or change stations by code. A row with a problem changes nothing; the others are done whole.

    `rows` may hold problems of parsing already; both are counted as rows, from 1.
    """
    # What is new, and whose hardware id it is, cannot be locked: two at once would find it new both.
    session.execute(_ONE_AT_A_TIME)
    report = ImportReport()
    good = _sound(session, list(rows), report)
    known = _locked(session, [spec.code for _, spec in good])
    fresh = [spec for _, spec in good if spec.code not in known]
    _insert(session, fresh, now)
    report.created = len(fresh)
    for number, spec in good:
        if spec.code in known:
            report.note(number, _change(session, known[spec.code], spec, now))
    session.flush()  # what the database refuses belongs to this call
    return report


def _sound(
    session: Session, rows: list[StationSpec | ImportProblem], report: ImportReport
) -> list[tuple[int, StationSpec]]:
    countries = set(session.scalars(select(Country.iso_code)))
    seen: set[str] = set()
    owners = _owners(session, rows)
    good = []
    for number, row in enumerate(rows, start=1):
        if isinstance(row, ImportProblem):
            report.problems.append(row.at(number))
        elif row.code in seen:
            report.problems.append(ImportProblem(number, row.code, "code", f"station {row.code} is there twice"))
        elif problem := check_spec(row, countries):
            report.problems.append(problem.at(number))
        elif row.hardware_id is not None and owners.setdefault(row.hardware_id, row.code) != row.code:
            message = f"{row.hardware_id} is station {owners[row.hardware_id]} already"
            report.problems.append(ImportProblem(number, row.code, "hardware_id", message))
        else:
            seen.add(row.code)
            good.append((number, row))
    return good


def _owners(session: Session, rows: Iterable[StationSpec | ImportProblem]) -> dict[str, str]:
    """Hardware ids that rows name and stations have: whose they are."""
    named = [row.hardware_id for row in rows if isinstance(row, StationSpec) and row.hardware_id is not None]
    if not named:
        return {}
    query = select(Station.hardware_id, Station.code).where(Station.hardware_id.in_(named))
    return {own: code for own, code in session.execute(query) if own is not None}


def _locked(session: Session, codes: Collection[str]) -> dict[str, Station]:
    # Not FOR UPDATE: rows that only refer to a station (commands, movements) need not wait.
    query = select(Station).where(Station.code.in_(codes)).order_by(Station.id).with_for_update(key_share=True)
    return {station.code: station for station in session.scalars(query.execution_options(populate_existing=True))}


def _insert(session: Session, specs: Collection[StationSpec], now: datetime) -> None:
    if not specs:
        return
    rows = [
        {
            **_columns(spec),
            "code": spec.code,
            "slot_count": spec.slots,
            "status": StationStatus.ACTIVE,
            "created_at": now,
            "updated_at": now,
        }
        for spec in specs
    ]
    slots = {spec.code: spec.slots for spec in specs}
    made = session.execute(insert(Station).returning(Station.id, Station.code), rows)
    numbers = [{"station_id": id_, "number": n} for id_, code in made for n in range(1, slots[code] + 1)]
    session.execute(insert(StationSlot), numbers)


def _columns(spec: StationSpec) -> dict[str, Any]:
    """What a spec says of a station row, besides its code and its slots."""
    values = asdict(spec)
    for name in ("code", "slots"):
        del values[name]
    return {
        **values,
        "latitude": round(spec.latitude, POSITION_DIGITS),
        "longitude": round(spec.longitude, POSITION_DIGITS),
        "h3_cell": h3_cell(spec.latitude, spec.longitude),
    }


def _change(session: Session, station: Station, spec: StationSpec, now: datetime) -> ImportProblem | bool:
    """Whether anything changed, or why it may not."""
    wanted = _columns(spec)
    changed = {name for name, value in wanted.items() if getattr(station, name) != value}
    if not changed and station.slot_count == spec.slots:
        return False
    if not _resize(session, station, spec.slots):
        message = f"slots above {spec.slots} of station {spec.code} still hold banks or are reserved"
        return ImportProblem(0, spec.code, "slots", message)
    for name in changed:
        setattr(station, name, wanted[name])
    station.updated_at = now
    notify(session, Channel.STATION, str(station.id))
    return True


def _resize(session: Session, station: Station, slots: int) -> bool:
    """False, and nothing changed, when a slot that would go is in use."""
    beyond = select(StationSlot).where(StationSlot.station_id == station.id, StationSlot.number > slots)
    going = list(session.scalars(beyond.order_by(StationSlot.id).with_for_update()))
    if any(slot.power_bank_id is not None or slot.reserved_for is not None for slot in going):
        return False
    if going:
        session.execute(delete(StationSlot).where(StationSlot.id.in_([slot.id for slot in going])))
    coming = [{"station_id": station.id, "number": n} for n in range(station.slot_count + 1, slots + 1)]
    if coming:
        session.execute(insert(StationSlot), coming)
    station.slot_count = slots
    return True


def set_status(session: Session, code: str, status: StationStatus, now: datetime) -> Station:
    """What an operator wants of the station; nothing that a cabinet says changes it. Raises StationNotFound."""
    station = _locked(session, [code]).get(code)
    if station is None:
        raise StationNotFound(f"no station {code}", station=code)
    if station.status is not status:
        evidence = {"before": station.status, "after": status}
        station.status, station.updated_at = status, now
        session.add(
            StationStatusHistory(
                station_id=station.id,
                online=station.online,
                cause="operator",
                at=now,
                status=status,
                trigger="operator",
                evidence=evidence,
            )
        )
        notify(session, Channel.STATION, str(station.id))
    return station


def set_slot_disabled(session: Session, code: str, number: int, reason: str | None, now: datetime) -> StationSlot:
    """Take a slot out of use, or (reason None) back into it: also after a quarantine. Raises SlotNotFound.

    Clears what made the slot unhealthy, so that it is tried again.
    """
    query = (
        select(StationSlot)
        .join(Station)
        .where(Station.code == code, StationSlot.number == number)
        .with_for_update(of=StationSlot)
    )
    slot = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if slot is None:
        raise SlotNotFound(f"station {code} has no slot {number}", station=code, slot=number)
    slot.disabled_reason = reason
    if reason is None:
        slot.health_score, slot.watched_until = BEST, None
    note_use(session, slot, disabled_reason=reason, now=now)
    session.execute(update(Station).where(Station.id == slot.station_id).values(updated_at=now))
    notify(session, Channel.STATION, str(slot.station_id))
    return slot


def add_power_banks(session: Session, serials: Iterable[str], now: datetime) -> AddReport:
    """Enter banks into the fleet; foreign ones that a cabinet already reported are adopted. Raises InvalidInput."""
    wanted = sorted(set(serials))
    for serial in wanted:
        if not SERIAL.fullmatch(serial):
            raise InvalidInput(f"{serial!r} is not a serial", field="serials")
    if not wanted:
        return AddReport(0, 0)
    rows = [{"serial": serial, "known": True, "created_at": now, "updated_at": now} for serial in wanted]
    statement = insert(PowerBank).values(rows)
    added = session.scalars(
        statement.on_conflict_do_update(
            index_elements=["serial"], set_={"known": True, "updated_at": now}, where=PowerBank.known.is_(False)
        ).returning(PowerBank.id)
    ).all()
    return AddReport(added=len(added), already_known=len(wanted) - len(added))
