"""A whole system with its stations, banks, tariff and operator, ready to rent from."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from fleet.common import fixtures
from fleet.common.clock import utc_now
from fleet.config.service import load_config
from fleet.rentals.tariffs.models import Tariff
from simulators.spec import FleetSpec
from tests.system.clients import Operator
from tests.system.system import System, SystemOptions


@contextmanager
def whole_system(folder: Path, spec: FleetSpec, options: SystemOptions | None = None) -> Iterator[System]:
    with System(folder, spec, options) as system:
        load_initial_data(system)
        add_tariff(system)
        Operator.of(system).import_fleet()
        system.start_cabinets()
        yield system


def load_initial_data(system: System) -> None:
    """Countries and configuration, as they are shipped."""
    data = fixtures.read(Path(__file__).parents[2] / "fixtures" / "initial_data.json")
    with system.session() as session:
        fixtures.load_countries(session, data["countries"])
        load_config(session, data["config"], utc_now())


def add_tariff(system: System) -> None:
    with system.session() as session:
        session.add(tariff())


def tariff() -> Tariff:
    """Everything costs something from the first second: a charge that is lost or doubled shows."""
    return Tariff(
        name="tests",
        currency="EUR",
        unlock_minor=100,
        free_period=timedelta(0),
        interval_minor=50,
        interval_length=timedelta(minutes=30),
        daily_cap_minor=1000,
        total_cap_minor=3000,
        hold_minor=1000,
        overdue_after=timedelta(days=1),
        valid_from=utc_now() - timedelta(days=1),
    )
