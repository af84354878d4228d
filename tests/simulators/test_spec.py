from pathlib import Path

import msgspec
import pytest

from firmware_protocol.types import StationCode
from simulators.spec import FleetSpec, default_fleet, load_fleet, save_fleet


def test_the_default_fleet_keeps_its_promises() -> None:
    fleet = default_fleet(5000, seed=4)
    serials = [bank.serial for station in fleet.stations for bank in station.banks]
    assert len(set(serials)) == len(serials)
    assert all(serial.startswith("PB") and len(serial) == 10 and serial[2:].isdigit() for serial in serials)
    assert {len(station.banks) for station in fleet.stations} == {5, 6}
    assert {station.slots for station in fleet.stations} == {8}
    assert fleet.stations[0].code == "VB-0001"
    assert msgspec.convert(fleet.stations[-1].code, StationCode) == "VB-5000"


def test_stations_are_spread_around_the_centre() -> None:
    stations = default_fleet(300, centre=(52.52, 13.405)).stations
    assert all(abs(station.lat - 52.52) < 0.06 and abs(station.lon - 13.405) < 0.1 for station in stations)
    assert len({(station.lat, station.lon) for station in stations}) == 300


def test_a_fleet_file_says_the_same_when_read_again(tmp_path: Path) -> None:
    fleet = default_fleet(3, seed=2)
    save_fleet(fleet, tmp_path / "fleet.json")
    assert load_fleet(tmp_path / "fleet.json") == fleet


def test_a_list_of_codes_is_a_fleet(tmp_path: Path) -> None:
    codes = tmp_path / "codes.txt"
    codes.write_text("LIS-1\n\n# closed for works\nLIS-2  # by the door\n")
    assert [station.code for station in load_fleet(codes, 1).stations] == ["LIS-1", "LIS-2"]


@pytest.mark.parametrize("second", [{"code": "VB-0001"}, {"banks": default_fleet(1).stations[0].banks}])
def test_codes_and_serials_are_unique(second: dict[str, object]) -> None:
    first, other = default_fleet(2).stations
    with pytest.raises(ValueError, match="share a"):
        FleetSpec(stations=(first, msgspec.structs.replace(other, **second)))
