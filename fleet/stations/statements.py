"""The statements of lists, maps and pages, each built once per shape (see fleet.common.prepared)."""

from enum import StrEnum
from functools import cache
from typing import Any, Final, Literal

from sqlalchemy import (
    ColumnElement,
    Float,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    lateral,
    or_,
    select,
    true,
)

from fleet.common.prepared import Prepared
from fleet.db import UtcDateTime
from fleet.stations.availability import rentable, renting, returnable
from fleet.stations.models import PowerBank, Station, StationSlot, StationStatus

EARTH_RADIUS_M: Final = 6_371_008.8

#: Where a box around a circle lies: plain, across the 180th meridian from either side, or with a pole inside.
BoxShape = Literal["plain", "west", "east", "pole"]


class Only(StrEnum):
    """What a nearby station must be able to do."""

    RENTABLE = "rentable"
    RETURNABLE = "returnable"


def _rentable() -> ColumnElement[bool]:
    return rentable(bindparam("now", type_=UtcDateTime()), bindparam("min_charge_pct"))


def _number(name: str) -> ColumnElement[float]:
    return bindparam(name, type_=Float(53))


def _summaries() -> Select[*tuple[Any, ...]]:
    counts = lateral(
        select(func.count().filter(_rentable()).label("banks"), func.count().filter(returnable()).label("free"))
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


@cache
def page_of_stations(*, after: bool, city: bool, search: bool, all_states: bool) -> Prepared:
    """Parameters: now, min_charge_pct, limit, and after_id, city, pattern as the shape says."""
    query = select(Station.id).order_by(Station.id).limit(bindparam("limit"))
    if not all_states:
        query = query.where(Station.status != StationStatus.DISABLED)
    if after:
        query = query.where(Station.id > bindparam("after_id"))
    if city:
        query = query.where(Station.city == bindparam("city"))
    if search:
        pattern: ColumnElement[str] = bindparam("pattern")
        query = query.where(
            or_(Station.code.ilike(pattern), Station.name.ilike(pattern), Station.address.ilike(pattern))
        )
    page = query.subquery()
    return Prepared(_summaries().join(page, page.c.id == Station.id).order_by(Station.id))


@cache
def stations_nearby(shape: BoxShape, only: Only | None) -> Prepared:
    """Parameters: now, min_charge_pct, limit, latitude, longitude, radius_m, south, north, west, east."""
    distance = _distance()
    found = (
        select(Station.id, distance.label("distance_m"))
        .where(_in_box(shape), distance <= _number("radius_m"), Station.status != StationStatus.DISABLED)
        .order_by("distance_m", Station.id)
        .limit(bindparam("limit"))
    )
    if only is Only.RENTABLE:
        banks = exists().where(
            StationSlot.station_id == Station.id, PowerBank.id == StationSlot.power_bank_id, _rentable()
        )
        found = found.where(renting(), banks)
    if only is Only.RETURNABLE:
        found = found.where(Station.online, exists().where(StationSlot.station_id == Station.id, returnable()))
    near = found.subquery()
    return Prepared(
        _summaries()
        .join(near, near.c.id == Station.id)
        .add_columns(near.c.distance_m)
        .order_by(near.c.distance_m, Station.id)
    )


def _in_box(shape: BoxShape) -> ColumnElement[bool]:
    """What the index on (latitude, longitude) can look up; the distance decides."""
    tall = Station.latitude.between(_number("south"), _number("north"))
    west, east = Station.longitude >= _number("west"), Station.longitude <= _number("east")
    match shape:
        case "pole":
            return tall
        case "plain":
            return and_(tall, west, east)
        case _:
            return and_(tall, or_(west, east))


def _distance() -> ColumnElement[float]:
    """Great-circle distance in metres (haversine: exact for short distances too)."""
    here = _number("latitude")
    half_lat = func.radians(Station.latitude - here) / 2
    half_lon = func.radians(Station.longitude - _number("longitude")) / 2
    chord = func.power(func.sin(half_lat), 2) + func.cos(func.radians(here)) * func.cos(
        func.radians(Station.latitude)
    ) * func.power(func.sin(half_lon), 2)
    return 2 * EARTH_RADIUS_M * func.asin(func.least(1.0, func.sqrt(chord)))


def _slot_columns(rents: ColumnElement[bool]) -> tuple[Any, ...]:
    """What a page shows of a slot joined with its bank. `rents`: its station gives banks at all."""
    return (
        StationSlot.number,
        StationSlot.state,
        PowerBank.serial,
        PowerBank.charge_pct,
        StationSlot.locked,
        StationSlot.fault,
        StationSlot.disabled_reason,
        StationSlot.observed_at,
        and_(rents, func.coalesce(_rentable(), False)),
        returnable(),
    )


@cache
def slots_of_station() -> Prepared:
    """Parameters: now, min_charge_pct, station_id, station_rents."""
    return Prepared(
        select(*_slot_columns(bindparam("station_rents")))
        .select_from(StationSlot)
        .outerjoin(PowerBank, PowerBank.id == StationSlot.power_bank_id)
        .where(StationSlot.station_id == bindparam("station_id"))
        .order_by(StationSlot.number)
    )


#: Of a station, in front of the columns of each of its slots; no slot is one row without.
STATION_COLUMNS: Final = (
    Station.id, Station.code, Station.name, Station.address, Station.city, Station.country, Station.venue_id,
    Station.latitude, Station.longitude, Station.status, Station.online, Station.slot_count, Station.time_zone,
    Station.last_heard_at,
)  # fmt: skip


@cache
def station_with_slots() -> Prepared:
    """Parameters: now, min_charge_pct, code."""
    return Prepared(
        select(*STATION_COLUMNS, *_slot_columns(renting()))
        .select_from(Station)
        .outerjoin(StationSlot, StationSlot.station_id == Station.id)
        .outerjoin(PowerBank, PowerBank.id == StationSlot.power_bank_id)
        .where(Station.code == bindparam("code"))
        .order_by(StationSlot.number),
        planned=True,
    )
