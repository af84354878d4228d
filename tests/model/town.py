"""One small town per example: cabinets, banks and riders in the backend's tables and in the world at once."""

from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Final
from uuid import UUID

from fleet.db import session_scope
from tests.factories import add_banks, add_rider, add_station
from tests.model.backend import Backend
from tests.model.cabinets import Cabinet

STATIONS: Final = 3
SLOTS: Final = 4
BANKS: Final = 7
RIDERS: Final = 3
FUNDS: Final = 5000
_numbers = count(1)


@dataclass
class Town:
    cabinets: dict[str, Cabinet]
    station_ids: list[int]
    riders: list[UUID]
    #: Serials of the fleet.
    banks: list[str]
    #: Banks in people's hands.
    hands: list[str] = field(default_factory=list)
    #: Banks that were pulled out by force and not brought back since.
    stolen: set[str] = field(default_factory=set)
    #: Rentals that were begun, in their order, by rider.
    rentals: dict[UUID, UUID] = field(default_factory=dict)
    #: Whose top-up an intent is.
    top_ups: dict[UUID, UUID] = field(default_factory=dict)


def build(backend: Backend, now: datetime) -> Town:
    """Every cabinet has booted, has told what is in its slots, and its clock is known."""
    number = next(_numbers)
    codes = [f"M{number}-{letter}" for letter in "ABC"[:STATIONS]]
    banks = [f"{number}-{n}" for n in range(1, BANKS + 1)]
    with session_scope(backend.engine) as session:
        add_banks(session, now, banks)
        ids = [add_station(session, now, code, SLOTS).id for code in codes]
        riders = [add_rider(session, now, FUNDS) for _ in range(RIDERS)]
    cabinets = {code: Cabinet(code, dict.fromkeys(range(1, SLOTS + 1))) for code in codes}
    for place, serial in enumerate(banks):
        cabinets[codes[place % STATIONS]].slots[place // STATIONS + 1] = serial
    town = Town(cabinets, ids, riders, banks)
    for cabinet in cabinets.values():
        cabinet.inventory(now)
        backend.ingest([cabinet.booted(now)])
        deliver(backend, cabinet, now)
    return town


def deliver(backend: Backend, cabinet: Cabinet, now: datetime) -> None:
    """All that waits, in order."""
    batch = [cabinet.frame(event, now) for event in cabinet.waiting]
    cabinet.said += cabinet.waiting
    cabinet.waiting = []
    if batch:
        backend.ingest(batch)
