"""Stations, slots and banks as CSV, row by row: a fleet need not fit into memory."""

from collections.abc import Callable, Iterator
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.tables import AT_ONCE, lines
from fleet.stations.banks import bank_query, view_of
from fleet.stations.models import PowerBank, Station, StationSlot

_STATION: Final = (
    "code", "name", "address", "city", "country", "latitude", "longitude", "time_zone", "dialect", "hardware_model",
    "hardware_id", "firmware_version", "slot_count", "status", "online", "offline_cause", "online_changed_at",
    "last_heard_at", "created_at",
)  # fmt: skip
_SLOT: Final = (
    "number", "state", "locked", "fault", "disabled_reason", "health_score", "watched_until", "observed_at",
    "proven_at",
)  # fmt: skip
_BANK: Final = (
    "serial", "state", "known", "reason", "state_set_by", "station", "slot", "charge_pct", "cycles", "health_pct",
    "temperature_c", "seen_at",
)  # fmt: skip
#: `import` calls it so.
_HEADINGS: Final = {"slot_count": "slots"}


def stations(session: Session) -> Iterator[str]:
    """All stations; the columns of an import are named as it reads them."""
    rows = session.scalars(select(Station).order_by(Station.id).execution_options(yield_per=AT_ONCE))
    heading = [_HEADINGS.get(name, name) for name in _STATION]
    return lines(heading, ([getattr(row, name) for name in _STATION] for row in rows))


def slots(session: Session) -> Iterator[str]:
    """All slots with the banks in them."""
    query = (
        select(Station.code, StationSlot, PowerBank.serial, PowerBank.charge_pct)
        .join(StationSlot, StationSlot.station_id == Station.id)
        .outerjoin(PowerBank, PowerBank.id == StationSlot.power_bank_id)
        .order_by(Station.id, StationSlot.number)
        .execution_options(yield_per=AT_ONCE)
    )
    rows = (
        [code, *(getattr(slot, name) for name in _SLOT), serial, charge]
        for code, slot, serial, charge in session.execute(query)
    )
    return lines(["station", *_SLOT, "bank", "charge_pct"], rows)


def banks(session: Session) -> Iterator[str]:
    """All banks, foreign ones too."""
    found = session.execute(bank_query().execution_options(yield_per=AT_ONCE))
    return lines(list(_BANK), ([getattr(view_of(row), name) for name in _BANK] for row in found))


EXPORTS: Final[dict[str, Callable[[Session], Iterator[str]]]] = {"stations": stations, "slots": slots, "banks": banks}
