"""What a new development system is filled with, so that there is something to try. Running it again changes nothing."""

from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from cli.fixtures import INITIAL_DATA, load
from fleet.common.money import Money
from fleet.db import create_engine_from, session_scope
from fleet.payments.wallets import adjust
from fleet.stations.service import add_power_banks, import_stations
from fleet.stations.specs import StationSpec
from fleet.users.destinations import parse
from fleet.users.service import create_operator, user_at
from simulators.spec import FleetSpec

RIDER_EMAIL = "rider@example.com"
OPERATOR_EMAIL = "operator@example.com"
_PLACE = {"city": "Lisboa", "country": "PT", "time_zone": "Europe/Lisbon"}
_WELCOME_MINOR = 2000


def seed_demo(url: str, fleet: FleetSpec, currency: str, now: datetime, initial_data: Path = INITIAL_DATA) -> None:
    """Countries, configuration, tariffs, the simulated stations and their banks, a rider with 20.00, an operator."""
    engine = create_engine_from(url, name="voltbay-seed", pool_size=1)
    try:
        with session_scope(engine) as session:
            load(session, initial_data, now, currency=currency)
            _stations(session, fleet, now)
            _people(session, currency, now)
    finally:
        engine.dispose()


def _stations(session: Session, fleet: FleetSpec, now: datetime) -> None:
    specs = [
        StationSpec(
            code=station.code,
            name=station.name,
            latitude=station.lat,
            longitude=station.lon,
            slots=station.slots,
            address=station.address or None,
            dialect=station.dialect,
            hardware_id=station.hardware_id,
            **_PLACE,
        )
        for station in fleet.stations
    ]
    report = import_stations(session, specs, now)
    if report.problems:
        raise ValueError(f"the simulated fleet cannot be imported: {report.problems[0]}")
    add_power_banks(session, [bank.serial for station in fleet.stations for bank in station.banks], now)


def _people(session: Session, currency: str, now: datetime) -> None:
    operator = create_operator(session, OPERATOR_EMAIL, "Demo operator", now)
    rider, _ = user_at(session, parse(RIDER_EMAIL), now)
    adjust(
        session,
        user_id=rider.id,
        money=Money(_WELCOME_MINOR, currency),
        reason="something to rent with",
        actor_id=operator.id,
        key="demo-welcome",
        now=now,
    )
