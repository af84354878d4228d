"""One whole system without simulators; its only cabinets are the strangers."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from simulators.spec import default_fleet
from tests.stranger.power import Powered, Python, Shell
from tests.system.clients import Operator, Rider
from tests.system.system import System, SystemOptions
from tests.system.waiting import until
from tests.system.whole import add_tariff, load_initial_data


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("stranger"), default_fleet(1), SystemOptions(fsync=False)) as system:
        load_initial_data(system)
        add_tariff(system)
        yield system


@pytest.fixture(scope="package")
def operator(system: System) -> Operator:
    return Operator.of(system)


@pytest.fixture
def rider(system: System) -> Rider:
    rider = Rider(system).sign_up()
    rider.top_up(5000)
    return rider


@pytest.fixture
def code(operator: Operator) -> str:
    """A new station with four slots."""
    code = f"ST-{uuid4().hex[:8]}"
    about = {"code": code, "name": "Stranger", "latitude": 38.7, "longitude": -9.1, "slots": 4}
    operator.post("/admin/station", about)
    return code


@pytest.fixture
def bank(operator: Operator) -> str:
    """A new bank of the fleet."""
    serial = f"PB{uuid4().hex[:8]}"
    operator.post("/admin/bank", {"serials": [serial]})
    return serial


@pytest.fixture
def python(system: System, code: str, bank: str, rider: Rider, tmp_path: Path) -> Iterator[Python]:
    cabinet = Python(code, system.stack.device_mqtt_url, tmp_path)
    try:
        _set_up(cabinet, bank, rider)
        yield cabinet
    finally:
        cabinet.cut_power()


@pytest.fixture
def shell(system: System, code: str, bank: str, rider: Rider, tmp_path: Path) -> Iterator[Shell]:
    cabinet = Shell(code, system.stack.device_mqtt_url, tmp_path)
    try:
        _set_up(cabinet, bank, rider)
        yield cabinet
    finally:
        cabinet.cut_power()


def _set_up(cabinet: Powered, bank: str, rider: Rider) -> None:
    """Powered on and welcomed, with `bank` in slot 2."""
    cabinet.start()
    until(lambda: rider.get(f"/station/{cabinet.code}")["slots_free"] == 4, "the empty cabinet has told its inventory")
    cabinet.type(f"insert 2 {bank} 40")
    until(lambda: rider.get(f"/station/{cabinet.code}")["banks_available"] == 1, "the bank can be rented")
