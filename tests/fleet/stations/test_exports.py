"""The fleet as CSV."""

import csv
import io
from datetime import datetime

import pytest
from sqlalchemy.orm import Session

from fleet.stations import exports
from fleet.stations.specs import StationSpec, parse_row
from tests.factories import add_banks, add_station


def table(session: Session, what: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(exports.EXPORTS[what](session)))))


def test_exported_stations_can_be_imported(session: Session, now: datetime) -> None:
    add_station(session, now, "A", 3, name='Zürich, "main"', city="Zürich", longitude=-8.5)
    [row] = table(session, "stations")
    assert (row["code"], row["name"], row["longitude"], row["online"]) == ("A", 'Zürich, "main"', "-8.5", "true")
    spec = parse_row(row)
    assert isinstance(spec, StationSpec)
    assert (spec.code, spec.slots, spec.longitude, spec.city) == ("A", 3, -8.5, "Zürich")


def test_slots_and_banks(session: Session, now: datetime) -> None:
    add_station(session, now, "A", 2)
    add_banks(session, now, ["X"])
    assert [(row["station"], row["number"], row["bank"]) for row in table(session, "slots")] == [
        ("A", "1", ""),
        ("A", "2", ""),
    ]
    [bank] = table(session, "banks")
    assert (bank["serial"], bank["state"], bank["known"], bank["station"]) == ("X", "available", "true", "")


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx"])
def test_no_cell_is_a_formula(session: Session, now: datetime, name: str) -> None:
    add_station(session, now, "A", 1, name=name)
    assert table(session, "stations")[0]["name"] == f"'{name}"


def test_a_large_fleet_comes_in_pieces(session: Session, now: datetime) -> None:
    add_banks(session, now, [f"B{n:05}" for n in range(2500)])
    pieces = list(exports.banks(session))
    assert len(pieces) == 3
    assert len(table(session, "banks")) == 2500
