"""What operators ask of the fleet's banks."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session, aliased

from fleet.stations.errors import BankNotFound
from fleet.stations.models import PowerBank, PowerBankState, Station, StationSlot


@dataclass(frozen=True, slots=True)
class BankView:
    """A bank and where it is: in a slot, or last seen (`station` with no `slot`)."""

    id: int
    serial: str
    state: PowerBankState
    #: False: a cabinet reported it and nobody entered it.
    known: bool
    reason: str | None
    state_set_by: str | None
    station: str | None
    slot: int | None
    charge_pct: int | None
    cycles: int | None
    health_pct: int | None
    temperature_c: float | None
    seen_at: datetime | None


_SEEN = aliased(Station)


def bank_query() -> Select[PowerBank, int | None, str | None, str | None]:
    """Every bank with its slot's number, its station's code, and the station that told of it last; by id."""
    return (
        select(PowerBank, StationSlot.number, Station.code, _SEEN.code)
        .outerjoin(StationSlot, StationSlot.power_bank_id == PowerBank.id)
        .outerjoin(Station, Station.id == StationSlot.station_id)
        .outerjoin(_SEEN, _SEEN.id == PowerBank.seen_station_id)
        .order_by(PowerBank.id)
    )


def bank_page(
    session: Session,
    *,
    limit: int,
    after_id: int | None = None,
    state: PowerBankState | None = None,
    known: bool | None = None,
    station: str | None = None,
    search: str | None = None,
) -> list[BankView]:
    """Banks by id, those after `after_id`. `station`: in one of its slots; `search`: the serial begins so."""
    query = bank_query().limit(limit)
    if after_id is not None:
        query = query.where(PowerBank.id > after_id)
    if state is not None:
        query = query.where(PowerBank.state == state)
    if known is not None:
        query = query.where(PowerBank.known.is_(known))
    if station is not None:
        query = query.where(Station.code == station)
    if search:
        query = query.where(PowerBank.serial.startswith(search, autoescape=True))
    return [view_of(row) for row in session.execute(query)]


def bank_view(session: Session, serial: str) -> BankView:
    """Raises BankNotFound."""
    query = bank_query().where(PowerBank.serial == serial).execution_options(populate_existing=True)
    row = session.execute(query).one_or_none()
    if row is None:
        raise BankNotFound(f"no bank {serial}", serial=serial)
    return view_of(row)


def view_of(row: Row[PowerBank, int | None, str | None, str | None]) -> BankView:
    bank, slot, station, seen = row
    return BankView(
        id=bank.id,
        serial=bank.serial,
        state=bank.state,
        known=bank.known,
        reason=bank.quarantine_reason,
        state_set_by=bank.state_set_by,
        station=station or seen,
        slot=slot,
        charge_pct=bank.charge_pct,
        cycles=bank.cycles,
        health_pct=bank.health_pct,
        temperature_c=bank.temperature_c,
        seen_at=bank.seen_at,
    )
