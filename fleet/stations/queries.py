"""What lists, maps and pages ask. Counts are made in SQL; each function is at most two statements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import asin, cos, degrees, radians, sin
from typing import Any, Final, NamedTuple

from sqlalchemy import Row, bindparam, select
from sqlalchemy.orm import Session

from firmware_protocol.types import SlotState
from fleet.common.plans import PLANNED
from fleet.stations import statements
from fleet.stations.errors import StationNotFound
from fleet.stations.models import PowerBank, Station, StationStatus
from fleet.stations.specs import POSITION_DIGITS
from fleet.stations.statements import EARTH_RADIUS_M, BoxShape, Only

__all__ = [
    "Only",
    "SlotView",
    "StationDetail",
    "StationSummary",
    "StationView",
    "bank_by_serial",
    "find_station",
    "nearby",
    "station_by_code",
    "station_page",
    "station_view",
]

#: Built once: every page, quote and start asks it.
_BY_CODE: Final = (
    select(Station).where(Station.code == bindparam("code")).execution_options(populate_existing=True, **PLANNED)
)
#: Where `status` is in a summary's row, and in a view's.
_STATUS: Final = 7
_VIEW_STATUS: Final = 9
#: How many columns of a view's row are the station's.
_ABOUT: Final = len(statements.STATION_COLUMNS)
_STATUSES: Final = {each.value: each for each in StationStatus}
_SLOT_STATES: Final = {each.value: each for each in SlotState}


class StationSummary(NamedTuple):
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


class SlotView(NamedTuple):
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
class _Shown:
    """The slots of one station. `inventory_at`: since when every slot's picture is at least as new."""

    slot_list: tuple[SlotView, ...]

    @property
    def banks_available(self) -> int:
        return sum(slot.rentable for slot in self.slot_list)

    @property
    def slots_free(self) -> int:
        return sum(slot.returnable for slot in self.slot_list)

    @property
    def inventory_at(self) -> datetime | None:
        seen = [slot.observed_at for slot in self.slot_list]
        known = [at for at in seen if at is not None]
        return min(known) if len(known) == len(seen) and known else None


@dataclass(frozen=True, slots=True)
class StationDetail(_Shown):
    """One station as operators see it."""

    station: Station


@dataclass(frozen=True, slots=True)
class StationView(_Shown):
    """One station as riders see it."""

    id: int
    code: str
    name: str
    address: str | None
    city: str | None
    country: str | None
    venue_id: int | None
    latitude: float
    longitude: float
    status: StationStatus
    online: bool
    slots: int
    time_zone: str
    heard_at: datetime | None


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
    statement = statements.page_of_stations(
        after=after_id is not None, city=city is not None, search=bool(search), all_states=all_states
    )
    pattern = f"%{_escaped(search)}%" if search else None
    rows = statement.all(
        session, now=now, min_charge_pct=min_charge_pct, limit=limit, after_id=after_id, city=city, pattern=pattern
    )
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
    latitude, longitude = round(latitude, POSITION_DIGITS), round(longitude, POSITION_DIGITS)
    shape, box = _box(latitude, longitude, radius_m)
    rows = statements.stations_nearby(shape, only).all(
        session,
        now=now,
        min_charge_pct=min_charge_pct,
        limit=limit,
        latitude=latitude,
        longitude=longitude,
        radius_m=radius_m,
        **box,
    )
    return [_summary(row) for row in rows]


def _summary(row: Row[*tuple[Any, ...]]) -> StationSummary:
    values: list[Any] = [*row]
    values[_STATUS] = _STATUSES[values[_STATUS]]
    return StationSummary(*values)


def _box(latitude: float, longitude: float, radius_m: float) -> tuple[BoxShape, dict[str, float]]:
    """A box around the circle, and how it lies."""
    angle = radius_m / EARTH_RADIUS_M
    box = {"south": latitude - degrees(angle), "north": latitude + degrees(angle), "west": -180.0, "east": 180.0}
    if box["south"] <= -90 or box["north"] >= 90 or angle >= 1:
        return "pole", box  # every longitude is inside
    width = degrees(asin(sin(angle) / cos(radians(latitude))))
    box |= {"west": longitude - width, "east": longitude + width}
    if box["west"] < -180:
        return "west", box | {"west": box["west"] + 360}
    if box["east"] > 180:
        return "east", box | {"east": box["east"] - 360}
    return "plain", box


def station_view(session: Session, code: str, *, now: datetime, min_charge_pct: int) -> StationView:
    """One statement. Raises StationNotFound."""
    rows = statements.station_with_slots().all(session, now=now, min_charge_pct=min_charge_pct, code=code)
    if not rows:
        raise _no_station(code)
    about = [*rows[0][:_ABOUT]]
    about[_VIEW_STATUS] = _STATUSES[about[_VIEW_STATUS]]
    slots = tuple(_slot(row[_ABOUT:]) for row in rows if row[_ABOUT] is not None)
    return StationView(slots, *about)


def station_by_code(session: Session, code: str, *, now: datetime, min_charge_pct: int) -> StationDetail:
    """Two statements. Raises StationNotFound."""
    station = find_station(session, code)
    rows = statements.slots_of_station().all(
        session,
        now=now,
        min_charge_pct=min_charge_pct,
        station_id=station.id,
        station_rents=station.status is StationStatus.ACTIVE and station.online,
    )
    return StationDetail(tuple(_slot(row) for row in rows), station)


def _slot(row: Sequence[Any]) -> SlotView:
    number, state, *rest = row
    return SlotView(number, _SLOT_STATES[state], *rest)


def find_station(session: Session, code: str) -> Station:
    """Raises StationNotFound."""
    station = session.scalars(_BY_CODE, {"code": code}).one_or_none()
    if station is None:
        raise _no_station(code)
    return station


def _no_station(code: str) -> StationNotFound:
    return StationNotFound(f"no station {code}", station=code)


def bank_by_serial(session: Session, serial: str) -> PowerBank | None:
    return session.scalars(select(PowerBank).where(PowerBank.serial == serial)).one_or_none()


def _escaped(text: str) -> str:
    return text.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
