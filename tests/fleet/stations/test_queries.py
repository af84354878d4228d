"""Lists, maps and pages: what they show, and with how few statements."""

from dataclasses import fields
from datetime import datetime
from math import asin, atan2, cos, degrees, hypot, radians, sin
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from firmware_protocol.messages import SlotInventory
from firmware_protocol.types import SlotState
from fleet.stations.availability import best_bank
from fleet.stations.errors import StationNotFound
from fleet.stations.inventory import take_inventory
from fleet.stations.models import Station, StationSlot, StationStatus
from fleet.stations.picture import Observation, look
from fleet.stations.queries import Only, nearby, station_by_code, station_page, station_view
from tests.factories import add_banks, add_station
from tests.statements import asked

MIN_CHARGE = 20


def fill(session: Session, station: Station, now: datetime, *charges: int | None) -> None:
    """Slots from 1 on hold banks of these charges (None: empty slot); the others are empty."""
    entries = []
    for number in range(1, station.slot_count + 1):
        charge = charges[number - 1] if number <= len(charges) else None
        serial = None if charge is None else f"{station.code}-{number}"
        state = SlotState.EMPTY if serial is None else SlotState.OCCUPIED
        entries.append(SlotInventory(slot=number, state=state, serial=serial, charge_pct=charge))
    serials = [entry.serial for entry in entries if entry.serial]
    add_banks(session, now, serials)
    picture = look(session, station.id, None, serials, now)
    take_inventory(session, picture, Observation(station.id, 1, 1, now), entries)


def test_a_page_counts_and_goes_on(session: Session, now: datetime) -> None:
    for code in "ABCDE":
        fill(session, add_station(session, now, code, 4), now, 90, 10, 50)
    session.expire_all()
    with asked(session) as seen:
        first = station_page(session, limit=3, now=now, min_charge_pct=MIN_CHARGE)
    assert len(seen) == 1
    assert [(s.code, s.slots, s.banks_available, s.slots_free) for s in first] == [(c, 4, 2, 1) for c in "ABC"]
    rest = station_page(session, limit=3, now=now, min_charge_pct=MIN_CHARGE, after_id=first[-1].id)
    assert [s.code for s in rest] == ["D", "E"]


def test_a_page_searches(session: Session, now: datetime) -> None:
    add_station(session, now, "ZRH-1", name="Main station 100%", city="Zürich")
    add_station(session, now, "BRN-1", name="Bundesplatz", city="Bern", address="Gasse 1")
    disabled = add_station(session, now, "OLD-1")
    disabled.status = StationStatus.DISABLED
    session.flush()

    def codes(**how: Any) -> list[str]:
        found = station_page(session, limit=10, now=now, min_charge_pct=MIN_CHARGE, **how)
        return [station.code for station in found]

    assert codes() == ["ZRH-1", "BRN-1"]
    assert codes(all_states=True) == ["ZRH-1", "BRN-1", "OLD-1"]
    assert codes(search="zrh") == ["ZRH-1"]
    assert codes(search="gasse") == ["BRN-1"]
    assert codes(search="100%") == ["ZRH-1"]
    assert codes(search="%") == ["ZRH-1"]
    assert codes(search="nothing_like_it") == []
    assert codes(city="Bern") == ["BRN-1"]


def test_a_station_that_rents_nothing_has_no_banks_to_show(session: Session, now: datetime) -> None:
    fill(session, add_station(session, now, "A", 4, online=False), now, 90, 80)
    [summary] = station_page(session, limit=10, now=now, min_charge_pct=MIN_CHARGE)
    assert (summary.banks_available, summary.slots_free, summary.online) == (0, 2, False)


def test_nearby(session: Session, now: datetime) -> None:
    """Around Zürich's main station: Bellevue is 1.4 km away, Bern 95 km."""
    fill(session, add_station(session, now, "HB", 2, latitude=47.3779, longitude=8.5402), now)
    fill(session, add_station(session, now, "BELLEVUE", 2, latitude=47.3670, longitude=8.5450), now, 90, 90)
    fill(session, add_station(session, now, "BERN", 2, latitude=46.9490, longitude=7.4390), now, 90)

    def found(radius_m: float, only: Only | None = None, limit: int = 10) -> list[tuple[str, int]]:
        with asked(session) as seen:
            rows = nearby(
                session,
                latitude=47.3779,
                longitude=8.5402,
                radius_m=radius_m,
                limit=limit,
                now=now,
                min_charge_pct=MIN_CHARGE,
                only=only,
            )
        assert len(seen) == 1
        return [(row.code, round((row.distance_m or 0) / 100) * 100) for row in rows]

    assert found(1000) == [("HB", 0)]
    assert found(2000) == [("HB", 0), ("BELLEVUE", 1300)]
    assert found(100_000) == [("HB", 0), ("BELLEVUE", 1300), ("BERN", 95_900)]
    assert found(100_000, limit=1) == [("HB", 0)]
    assert found(2000, Only.RENTABLE) == [("BELLEVUE", 1300)]
    assert found(2000, Only.RETURNABLE) == [("HB", 0)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
    north_m=st.floats(-900, 900),
    east_m=st.floats(-900, 900),
)
def test_nearby_misses_nobody_anywhere_on_earth(
    session: Session, now: datetime, latitude: float, longitude: float, north_m: float, east_m: float
) -> None:
    """Across the date line, at the poles: what is within the circle is found (the box never cuts it off)."""
    distance, bearing = hypot(north_m, east_m) / 6_371_008.8, atan2(east_m, north_m)
    phi = radians(latitude)
    there = asin(max(-1.0, min(1.0, sin(phi) * cos(distance) + cos(phi) * sin(distance) * cos(bearing))))
    turn = atan2(sin(bearing) * sin(distance) * cos(phi), cos(distance) - sin(phi) * sin(there))
    east = (longitude + degrees(turn) + 540) % 360 - 180
    with session.begin_nested() as savepoint:
        station = add_station(session, now, "X", 1, latitude=1.0, longitude=1.0)
        station.latitude, station.longitude = round(degrees(there), 7), round(east, 7)
        session.flush()
        found = nearby(
            session, latitude=latitude, longitude=longitude, radius_m=1300, limit=10, now=now, min_charge_pct=MIN_CHARGE
        )
        assert [each.code for each in found] == ["X"]
        savepoint.rollback()
    session.expire_all()


def test_one_station_with_its_slots(session: Session, now: datetime) -> None:
    fill(session, add_station(session, now, "A", 4), now, 90, 10)
    session.expire_all()
    with asked(session) as seen:
        detail = station_by_code(session, "A", now=now, min_charge_pct=MIN_CHARGE)
    assert len(seen) == 2
    assert [(s.number, s.state, s.serial, s.charge_pct, s.rentable, s.returnable) for s in detail.slot_list] == [
        (1, SlotState.OCCUPIED, "A-1", 90, True, False),
        (2, SlotState.OCCUPIED, "A-2", 10, False, False),
        (3, SlotState.EMPTY, None, None, False, True),
        (4, SlotState.EMPTY, None, None, False, True),
    ]
    assert (detail.banks_available, detail.slots_free, detail.inventory_at) == (1, 2, now)
    with pytest.raises(StationNotFound):
        station_by_code(session, "B", now=now, min_charge_pct=MIN_CHARGE)


@pytest.mark.parametrize("change", [{}, {"online": False}, {"status": StationStatus.MAINTENANCE}])
def test_riders_see_what_operators_see(session: Session, now: datetime, change: dict[str, Any]) -> None:
    fill(session, add_station(session, now, "A", 4), now, 90, 10)
    session.execute(update(Station).values(city="Bern", **change))
    session.expire_all()
    with asked(session) as seen:
        view = station_view(session, "A", now=now, min_charge_pct=MIN_CHARGE)
    assert [each for each in seen if not each[0].startswith("PREPARE")] == seen[-1:]
    detail = station_by_code(session, "A", now=now, min_charge_pct=MIN_CHARGE)
    assert view.slot_list == detail.slot_list
    assert view.banks_available == detail.banks_available == (0 if change else 1)
    station = detail.station
    shown = {each.name: getattr(view, each.name) for each in fields(view) if each.name != "slot_list"}
    assert shown.pop("slots") == station.slot_count
    assert shown.pop("heard_at") == station.last_heard_at
    assert shown == {name: getattr(station, name) for name in shown}
    assert type(view.status) is StationStatus
    with pytest.raises(StationNotFound, match="no station B"):
        station_view(session, "B", now=now, min_charge_pct=MIN_CHARGE)


def test_a_station_without_slots_is_one(session: Session, now: datetime) -> None:
    add_station(session, now, "A", 1)
    session.execute(delete(StationSlot))
    view = station_view(session, "A", now=now, min_charge_pct=MIN_CHARGE)
    assert (view.code, view.slot_list, view.inventory_at) == ("A", (), None)


def test_a_slot_that_nobody_has_seen_makes_the_picture_ageless(session: Session, now: datetime) -> None:
    add_station(session, now, "A", 2)
    assert station_by_code(session, "A", now=now, min_charge_pct=MIN_CHARGE).inventory_at is None


def test_the_best_bank_without_a_lock_is_the_same(session: Session, now: datetime) -> None:
    station = add_station(session, now, "A", 4)
    fill(session, station, now, 40, 90, 60)
    chosen = [best_bank(session, station.id, MIN_CHARGE, now, lock=lock) for lock in (True, False)]
    assert [slot.number for slot in chosen if slot] == [2, 2]
    assert best_bank(session, station.id, 95, now) is None
    second = best_bank(session, station.id, MIN_CHARGE, now, not_slots={2})
    assert second is not None
    assert second.number == 3
    assert session.scalar(select(Station.id)) == station.id
