"""One whole system, with two gateways, for all end-to-end tests; each takes stations and riders of its own from it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simulators.spec import default_fleet
from tests.system.clients import Operator, Rider
from tests.system.invariants import assert_invariants
from tests.system.system import System, SystemOptions
from tests.system.whole import whole_system

_STATIONS = 90

#: Short deadlines: what a person waits for in minutes is tested in seconds. An eject is tried once within its deadline.
_OPTIONS = SystemOptions(
    gateways=2,
    fsync=False,
    settings={
        "EJECT_DEADLINE_S": "1.8",
        "EJECT_GRACE_S": "0.4",
        # A Volinks cabinet's slots are looked into 5 s after an eject's deadline: the limit must be well beyond that.
        "EJECT_UNKNOWN_LIMIT_S": "18",
        "HEARTBEAT_S": "5",
        # Ninety cabinets: what they measure each second would be half of all that the system has to do.
        "TELEMETRY_S": "4",
    },
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="package")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with whole_system(tmp_path_factory.mktemp("e2e"), default_fleet(_STATIONS, seed=7), _OPTIONS) as system:
        yield system


@pytest.fixture
def system(whole: System) -> Iterator[System]:
    """Checked after every test: nothing is lost, doubled or left over."""
    yield whole
    whole.cabinets.clear()
    ended = whole.revive()
    whole.settle()
    assert_invariants(whole)
    assert not ended, "\n".join(ended)


@pytest.fixture(scope="package")
def unused(whole: System) -> Iterator[str]:
    """Stations that no test has touched."""
    return iter(whole.cabinets.codes)


@pytest.fixture
def station(system: System, unused: Iterator[str]) -> str:
    return next(unused)


@pytest.fixture
def other(system: System, unused: Iterator[str]) -> str:
    """A second station."""
    return next(unused)


@pytest.fixture
def new_rider(system: System) -> Callable[[], Rider]:
    """Signed up, with 50 EUR in the wallet."""

    def make() -> Rider:
        rider = Rider(system).sign_up()
        rider.top_up(5000)
        return rider

    return make


@pytest.fixture
def rider(new_rider: Callable[[], Rider]) -> Rider:
    return new_rider()


@pytest.fixture(scope="package")
def operator(whole: System) -> Operator:
    return Operator.of(whole)
