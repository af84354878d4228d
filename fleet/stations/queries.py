"""What lists, maps and pages ask. Counts are made in SQL; each function is at most two statements."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import asin, cos, degrees, radians, sin
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, and_, case, exists, func, lateral, literal, or_, select, true
from sqlalchemy.orm import Session

from firmware_protocol.types import SlotState
from fleet.stations.availability import rentable, renting, returnable
from fleet.stations.errors import StationNotFound
from fleet.stations.models import PowerBank, Station, StationSlot, StationStatus

EARTH_RADIUS_M: Final = 6_371_008.8


class Only(StrEnum):
    """What a nearby station must be able to do."""

    RENTABLE = "rentable"
    RETURNABLE = "returnable"


@dataclass(frozen=True, slots=True)
class StationSummary:
    """What a list or a map shows. `banks_available` is 0 while the station rents nothing out."""

    id: int
    code: str
    name: str
    address: str | None
    city: str | None
    latitude: float
    longitude: float
    status: StationStatus
    online: bool
    slots: int
    heard_at: datetime | None
    banks_available: int
    slots_free: int
    #: From where the search began; only in `nearby`.
    distance_m: float | None = None


@dataclass(frozen=True, slots=True)
class SlotView:
    number: int
    state: SlotState
    serial: str | None
    charge_pct: int | None
    locked: bool | None
    fault: str | None
    disabled_reason: str | None
    observed_at: datetime | None
    rentable: bool
    returnable: bool


@dataclass(frozen=True, slots=True)
class StationDetail:
    """One station as its page shows it. `inventory_at`: since when every slot's picture is at least as new."""

    station: Station
    slots: tuple[SlotView, ...]

    @property
    def banks_available(self) -> int:
        return sum(slot.rentable for slot in self.slots)

    @property
    def slots_free(self) -> int:
        return sum(slot.returnable for slot in self.slots)

    @property
    def inventory_at(self) -> datetime | None:
        seen = [slot.observed_at for slot in self.slots]
        known = [at for at in seen if at is not None]
        return min(known) if len(known) == len(seen) and known else None


def station_page(
    session: Session,
    *,
    limit: int,
    now: datetime,
    min_charge_pct: int,
    after_id: int | None = None,
    search: str | None = None,
    city: str | None = None,
    all_states: bool = False,
) -> list[StationSummary]:
    """Stations by id, those after `after_id`; disabled ones only with `all_states`.

    `search` looks into code, name and address.
    """
    query = select(Station.id).order_by(Station.id).limit(limit)
    if not all_states:
        query = query.where(Station.status != StationStatus.DISABLED)
    if after_id is not None:
        query = query.where(Station.id > after_id)
    if city is not None:
        query = query.where(Station.city == city)
    if search:
        pattern = f"%{_escaped(search)}%"
        query = query.where(
            or_(Station.code.ilike(pattern), Station.name.ilike(pattern), Station.address.ilike(pattern))
        )
    page = query.subquery()
    rows = session.execute(_summaries(now, min_charge_pct).join(page, page.c.id == Station.id).order_by(Station.id))
    return [_summary(row) for row in rows]


def nearby(
    session: Session,
    *,
    latitude: float,
    longitude: float,
    radius_m: float,
    limit: int,
    now: datetime,
    min_charge_pct: int,
    only: Only | None = None,
) -> list[StationSummary]:
    """Stations within `radius_m` of the point, nearest first. `only` RENTABLE: online, in use, with a bank to give."""
    distance = _distance(latitude, longitude)
    found = (
        select(Station.id, distance.label("distance_m"))
        .where(_in_box(latitude, longitude, radius_m), distance <= radius_m, Station.status != StationStatus.DISABLED)
        .order_by("distance_m", Station.id)
        .limit(limit)
    )
    if only is Only.RENTABLE:
        banks = exists().where(
            StationSlot.station_id == Station.id,
            PowerBank.id == StationSlot.power_bank_id,
            rentable(now, min_charge_pct),
        )
        found = found.where(renting(), banks)
    if only is Only.RETURNABLE:
        found = found.where(Station.online, exists().where(StationSlot.station_id == Station.id, returnable()))
    near = found.subquery()
    query = (
        _summaries(now, min_charge_pct)
        .join(near, near.c.id == Station.id)
        .add_columns(near.c.distance_m)
        .order_by(near.c.distance_m, Station.id)
    )
    return [_summary(row) for row in session.execute(query)]


def _summaries(now: datetime, min_charge_pct: int) -> Select[*tuple[Any, ...]]:
    counts = lateral(
        select(
            func.count().filter(rentable(now, min_charge_pct)).label("banks"),
            func.count().filter(returnable()).label("free"),
        )
        .select_from(StationSlot)
        .outerjoin(PowerBank, PowerBank.id == StationSlot.power_bank_id)
        .where(StationSlot.station_id == Station.id)
        .correlate(Station)
    )
    query = select(
        Station.id,
        Station.code,
        Station.name,
        Station.address,
        Station.city,
        Station.latitude,
        Station.longitude,
        Station.status,
        Station.online,
        Station.slot_count,
        Station.last_heard_at,
        case((renting(), counts.c.banks), else_=0),
        counts.c.free,
    )
    return query.select_from(Station).join(counts, true())


def _summary(row: Row[*tuple[Any, ...]]) -> StationSummary:
    return StationSummary(*row)


def _in_box(latitude: float, longitude: float, radius_m: float) -> ColumnElement[bool]:
    """A box around the circle, which the index on (latitude, longitude) can look up; the distance decides."""
    angle = radius_m / EARTH_RADIUS_M
    south, north = latitude - degrees(angle), latitude + degrees(angle)
    tall = Station.latitude.between(south, north)
    if south <= -90 or north >= 90 or angle >= 1:
        return tall  # a pole is inside: every longitude is
    width = degrees(asin(sin(angle) / cos(radians(latitude))))
    west, east = longitude - width, longitude + width
    if west < -180:
        return and_(tall, or_(Station.longitude >= west + 360, Station.longitude <= east))
    if east > 180:
        return and_(tall, or_(Station.longitude >= west, Station.longitude <= east - 360))
    return and_(tall, Station.longitude.between(west, east))


def _distance(latitude: float, longitude: float) -> ColumnElement[float]:
    """Great-circle distance in metres (haversine: exact for short distances too)."""
    here = literal(latitude)
    half_lat = func.radians(Station.latitude - here) / 2
    half_lon = func.radians(Station.longitude - literal(longitude)) / 2
    chord = func.power(func.sin(half_lat), 2) + func.cos(func.radians(here)) * func.cos(
        func.radians(Station.latitude)
    ) * func.power(func.sin(half_lon), 2)
    return 2 * EARTH_RADIUS_M * func.asin(func.least(1.0, func.sqrt(chord)))


def station_by_code(session: Session, code: str, *, now: datetime, min_charge_pct: int) -> StationDetail:
    """Two statements. Raises StationNotFound."""
    station = find_station(session, code)
    query = (
        select(
            StationSlot.number,
            StationSlot.state,
            PowerBank.serial,
            PowerBank.charge_pct,
            StationSlot.locked,
            StationSlot.fault,
            StationSlot.disabled_reason,
            StationSlot.observed_at,
            and_(
                literal(station.status is StationStatus.ACTIVE and station.online),
                func.coalesce(rentable(now, min_charge_pct), False),
            ),
            returnable(),
        )
        .outerjoin(PowerBank, PowerBank.id == StationSlot.power_bank_id)
        .where(StationSlot.station_id == station.id)
        .order_by(StationSlot.number)
    )
    return StationDetail(station, tuple(_slot(row) for row in session.execute(query)))


def _slot(row: Row[*tuple[Any, ...]]) -> SlotView:
    return SlotView(*row)


def find_station(session: Session, code: str) -> Station:
    """Raises StationNotFound."""
    query = select(Station).where(Station.code == code).execution_options(populate_existing=True)
    station = session.scalars(query).one_or_none()
    if station is None:
        raise StationNotFound(f"no station {code}", station=code)
    return station


def bank_by_serial(session: Session, serial: str) -> PowerBank | None:
    return session.scalars(select(PowerBank).where(PowerBank.serial == serial)).one_or_none()


def _escaped(text: str) -> str:
    return text.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
