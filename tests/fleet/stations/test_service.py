"""What operators do to stations and banks."""

from datetime import datetime

import h3
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.models import Country
from fleet.db import session_scope
from fleet.stations.errors import SlotNotFound, StationNotFound
from fleet.stations.models import PowerBank, Station, StationSlot, StationStatus
from fleet.stations.service import (
    add_power_banks,
    create_station,
    import_stations,
    set_slot_disabled,
    set_status,
)
from fleet.stations.specs import ImportProblem, ImportReport, StationSpec, parse_row
from tests.databases import Database
from tests.factories import add_station
from tests.fleet.parallel import together, wide_engine

ROW = {"code": "ZRH-1", "name": "Main station", "lat": "47.3779", "lon": "8.5402", "slots": "12", "city": "Zürich"}


@pytest.fixture(autouse=True)
def switzerland(session: Session) -> None:
    session.add(
        Country(
            iso_code="CH", name="Switzerland", dial_code="+41", currency="CHF", locale="de-CH",
            time_zone="Europe/Zurich",
        )
    )  # fmt: skip
    session.flush()


def spec(**changes: object) -> StationSpec:
    found = parse_row({**ROW, "country": "CH", "time_zone": "Europe/Zurich", **changes})
    assert isinstance(found, StationSpec)
    return found


def slots_of(session: Session, station: Station) -> list[int]:
    query = select(StationSlot.number).where(StationSlot.station_id == station.id).order_by(StationSlot.number)
    return list(session.scalars(query))


def test_a_station_comes_with_its_slots_and_its_cell(session: Session, now: datetime) -> None:
    station = create_station(session, spec(), now)
    assert slots_of(session, station) == list(range(1, 13))
    assert (station.status, station.online, station.country) == (StationStatus.ACTIVE, False, "CH")
    cell = h3.int_to_str(station.h3_cell)
    assert h3.get_resolution(cell) == 8
    assert h3.great_circle_distance(h3.cell_to_latlng(cell), (47.3779, 8.5402)) < 0.6


def test_creating_again_changes_what_is_different(session: Session, now: datetime) -> None:
    first = create_station(session, spec(), now)
    again = create_station(session, spec(name="North hall", slots=14), now)
    assert (again.id, again.name, again.slot_count) == (first.id, "North hall", 14)
    assert slots_of(session, again) == list(range(1, 15))
    create_station(session, spec(slots=3), now)
    assert slots_of(session, again) == [1, 2, 3]


def test_a_slot_in_use_does_not_go_away(session: Session, now: datetime) -> None:
    station = create_station(session, spec(), now)
    add_power_banks(session, ["PB1"], now)
    slot = session.scalars(select(StationSlot).where(StationSlot.number == 12)).one()
    slot.power_bank_id = session.scalars(select(PowerBank.id)).one()
    session.flush()
    with pytest.raises(InvalidInput) as refused:
        create_station(session, spec(slots=11, name="other"), now)
    assert refused.value.attributes["field"] == "slots"
    assert (station.name, len(slots_of(session, station))) == ("Main station", 12)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"code": ""}, "code"),
        ({"code": "a b"}, "code"),
        ({"name": ""}, "name"),
        ({"name": " \t"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"lat": "north"}, "latitude"),
        ({"lat": "90.1"}, "latitude"),
        ({"lat": "nan"}, "latitude"),
        ({"lon": "-181"}, "longitude"),
        ({"lat": "0", "lon": "0"}, "latitude"),
        ({"slots": "0"}, "slots"),
        ({"slots": "513"}, "slots"),
        ({"slots": "3.5"}, "slots"),
        ({"country": "XX"}, "country"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
    ],
)
def test_a_bad_row_changes_nothing_and_is_named(
    session: Session, now: datetime, change: dict[str, str], field: str
) -> None:
    rows = [parse_row(ROW), parse_row({**ROW, "code": "ZRH-2", **change}), parse_row({**ROW, "code": "ZRH-3"})]
    report = import_stations(session, rows, now)
    assert (report.created, report.updated, report.unchanged) == (2, 0, 0)
    [problem] = report.problems
    assert (problem.row, problem.field) == (2, field)
    assert set(session.scalars(select(Station.code))) == {"ZRH-1", "ZRH-3"}


def test_an_import_twice_changes_nothing(session: Session, now: datetime) -> None:
    rows = [parse_row({**ROW, "code": f"ZRH-{n}"}) for n in range(50)]
    assert import_stations(session, rows, now).created == 50
    again = import_stations(session, rows, now)
    assert (again.created, again.updated, again.unchanged, again.problems) == (0, 0, 50, [])
    assert session.scalar(select(func.count()).select_from(StationSlot)) == 50 * 12


def test_one_code_twice_in_one_import(session: Session, now: datetime) -> None:
    report = import_stations(session, [spec(), spec(name="other")], now)
    assert report.problems == [ImportProblem(2, "ZRH-1", "code", "station ZRH-1 is there twice")]
    assert session.scalars(select(Station.name)).one() == "Main station"


def test_twenty_imports_at_once_are_one(clean_database: Database, now: datetime) -> None:
    rows = [
        spec(code="A", slots=2, hardware_id="7001", country=None),
        spec(code="B", slots=3, country=None),
    ]
    with wide_engine(clean_database.url, 20) as engine:

        def run(_: int) -> ImportReport:
            with session_scope(engine) as session:
                return import_stations(session, rows, now)

        outcomes = together(20, run)
        assert [each for each in outcomes if isinstance(each, Exception)] == []
        reports = [each for each in outcomes if isinstance(each, ImportReport)]
        assert (sum(each.created for each in reports), sum(each.unchanged for each in reports)) == (2, 38)
        with session_scope(engine) as session:
            assert session.scalar(select(func.count()).select_from(StationSlot)) == 5


def test_status(session: Session, now: datetime) -> None:
    add_station(session, now, "A")
    assert set_status(session, "A", StationStatus.MAINTENANCE, now).status is StationStatus.MAINTENANCE
    with pytest.raises(StationNotFound):
        set_status(session, "B", StationStatus.ACTIVE, now)


def test_a_slot_out_of_use_and_back(session: Session, now: datetime) -> None:
    add_station(session, now, "A")
    slot = set_slot_disabled(session, "A", 2, "broken latch", now)
    slot.health_score, slot.watched_until = 0, now
    back = set_slot_disabled(session, "A", 2, None, now)
    assert (back.disabled_reason, back.health_score, back.watched_until) == (None, 100, None)
    with pytest.raises(SlotNotFound):
        set_slot_disabled(session, "A", 9, None, now)


def test_banks_are_entered_once_and_foreign_ones_adopted(session: Session, now: datetime) -> None:
    session.add(PowerBank(serial="PB2", known=False, created_at=now, updated_at=now))
    session.flush()
    report = add_power_banks(session, ["PB1", "PB2", "PB1"], now)
    assert (report.added, report.already_known) == (2, 0)
    assert set(session.scalars(select(PowerBank.known))) == {True}
    report = add_power_banks(session, ["PB1", "PB3"], now)
    assert (report.added, report.already_known) == (1, 1)
    with pytest.raises(InvalidInput):
        add_power_banks(session, ["a serial"], now)


def test_a_hardware_id_belongs_to_one_station(session: Session, now: datetime) -> None:
    rows: list[StationSpec | ImportProblem] = [
        spec(code="V-1", hardware_id="864601068412899"),
        spec(code="V-2", hardware_id="864601068412899"),
        spec(code="V-3", hardware_id="a/b"),
    ]
    report = import_stations(session, rows, now)
    assert (report.created, [(each.code, each.field) for each in report.problems]) == (
        1,
        [("V-2", "hardware_id"), ("V-3", "hardware_id")],
    )
    again = import_stations(session, [spec(code="V-4", hardware_id="864601068412899")], now)
    assert [(each.field, each.message) for each in again.problems] == [
        ("hardware_id", "864601068412899 is station V-1 already")
    ]
