"""One whole system whose parts are killed and brought back, test after test. PostgreSQL syncs to disk here."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from simulators.spec import default_fleet
from tests.system.clients import Rider
from tests.system.invariants import assert_invariants
from tests.system.system import System, SystemOptions
from tests.system.whole import whole_system

_STATIONS = 12
#: A deadline that outlasts every restart: no test may end in "unknown" because a process was slow to start.
_OPTIONS = SystemOptions(settings={"EJECT_DEADLINE_S": "25", "EJECT_GRACE_S": "1", "HEARTBEAT_S": "10"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.chaos)


@pytest.fixture(scope="package")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with whole_system(tmp_path_factory.mktemp("chaos"), default_fleet(_STATIONS, seed=11), _OPTIONS) as system:
        yield system


@pytest.fixture
def system(whole: System) -> Iterator[System]:
    """Everything that was killed is back before the checks, and the checks are the same after every death."""
    yield whole
    whole.cabinets.clear()
    ended = whole.revive()
    whole.settle()
    assert_invariants(whole)
    assert not ended, "\n".join(ended)


@pytest.fixture(scope="package")
def rounds(whole: System) -> Iterator[tuple[str, str]]:
    """Each station gives a bank to its neighbour, round and round: none runs full or empty."""
    codes = whole.cabinets.codes
    return cycle(zip(codes, [*codes[1:], codes[0]], strict=True))


@pytest.fixture
def stations(system: System, rounds: Iterator[tuple[str, str]]) -> tuple[str, str]:
    """Where the bank leaves, and where it comes back."""
    return next(rounds)


@pytest.fixture
def rider(system: System) -> Rider:
    rider = Rider(system).sign_up()
    rider.top_up(5000)
    return rider
