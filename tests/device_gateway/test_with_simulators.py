"""Simulated cabinets, a real broker, the gateway and the business behind it."""

from collections.abc import Iterator
from datetime import timedelta
from time import monotonic
from typing import Final
from uuid import UUID

import pytest
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.orm import Session

from device_gateway.business import fact_handler
from firmware_protocol.commands import EjectPowerBank
from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.devices import commands
from fleet.devices.models import CommandState, DeviceCommand
from fleet.settings import Settings
from fleet.stations.models import Station
from simulators.faults import Fault, FaultKind
from simulators.spec import FleetSpec, default_fleet
from simulators.testing import FleetThread
from tests.databases import Database
from tests.device_gateway.cabinet import eventually
from tests.device_gateway.conftest import StartGateway
from tests.factories import add_banks, add_station

#: A cabinet that lost its connection waits for up to a minute, and two may throw each other out twice.
_JITTER_S: Final = 120.0


@pytest.fixture
def spec(clean_database: Database) -> FleetSpec:
    """Registered with the backend, banks and all; nobody is connected yet."""
    spec = default_fleet(3, seed=11)
    now = utc_now()
    with session_scope(clean_database.engine) as session:
        for station in spec.stations:
            add_station(session, now, station.code, station.slots, online=False)
            add_banks(session, now, [bank.serial for bank in station.banks])
    return spec


@pytest.fixture
def cabinets(spec: FleetSpec, start_gateway: StartGateway, device_mqtt_url: str) -> Iterator[FleetThread]:
    start_gateway(handle=fact_handler(Settings()))
    with FleetThread(spec, device_mqtt_url) as cabinets:
        cabinets.wait_welcomed()
        yield cabinets


def slots_of(database: Database, code: str) -> dict[int, str]:
    """Which serial is where, as the backend knows it."""
    query = text("""
    SELECT s.number, b.serial FROM station_slot s JOIN station t ON t.id = s.station_id
      JOIN power_bank b ON b.id = s.power_bank_id WHERE t.code = :code
    """)
    with database.engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(query, {"code": code})}


def in_cabinet(spec: FleetSpec, code: str) -> dict[int, str]:
    return {bank.slot: bank.serial for each in spec.stations if each.code == code for bank in each.banks}


def eject(database: Database, code: str, slot: int) -> UUID:
    now = utc_now()
    with session_scope(database.engine) as session:
        station_id = session.query(Station.id).filter_by(code=code).scalar()
        deadline = now + timedelta(seconds=15)
        command = EjectPowerBank(slot=slot)
        return commands.queue_command(session, station_id=station_id, command=command, deadline=deadline, now=now).id


def state_of(database: Database, command_id: UUID) -> CommandState:
    with Session(database.engine) as session:
        return session.get_one(DeviceCommand, command_id).state


def test_the_first_inventory_fills_the_slots(cabinets: FleetThread, spec: FleetSpec, clean_database: Database) -> None:
    codes = [station.code for station in spec.stations]
    told = {code: in_cabinet(spec, code) for code in codes}
    eventually(lambda: {code: slots_of(clean_database, code) for code in codes} == told)
    with clean_database.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM dead_letter")).scalar_one() == 0


def test_an_ejected_bank_leaves_its_slot_and_a_returned_one_fills_another(
    cabinets: FleetThread, spec: FleetSpec, clean_database: Database
) -> None:
    code, other = spec.stations[0].code, spec.stations[1].code
    slot, serial = next(iter(in_cabinet(spec, code).items()))
    eventually(lambda: slots_of(clean_database, code) == in_cabinet(spec, code))
    begun = monotonic()
    command = eject(clean_database, code, slot)
    eventually(lambda: state_of(clean_database, command) is CommandState.SUCCEEDED)
    assert monotonic() - begun < 10
    eventually(lambda: slot not in slots_of(clean_database, code))
    eventually(lambda: serial in cabinets.banks_out())
    into = cabinets.insert(other, serial)
    eventually(lambda: slots_of(clean_database, other).get(into) == serial)


@pytest.mark.parametrize("fault", [FaultKind.DUPLICATE, FaultKind.REORDER, FaultKind.DROP_EVENTS, FaultKind.GARBAGE])
def test_what_the_network_does_to_messages_changes_nothing_in_the_end(
    cabinets: FleetThread, spec: FleetSpec, clean_database: Database, fault: FaultKind
) -> None:
    code = spec.stations[2].code
    eventually(lambda: slots_of(clean_database, code) == in_cabinet(spec, code))
    cabinets.add_fault(code, Fault(kind=fault, probability=0.5))
    inside = dict(in_cabinet(spec, code))
    for slot in sorted(inside):
        cabinets.remove(code, slot)
    cabinets.clear_faults(code)
    eventually(lambda: slots_of(clean_database, code) == {}, 30)
    for serial in sorted(inside.values()):
        cabinets.insert(code, serial)
    eventually(lambda: sorted(slots_of(clean_database, code).values()) == sorted(inside.values()), 30)


def test_of_two_cabinets_with_one_identity_the_one_that_stays_is_believed(
    cabinets: FleetThread, spec: FleetSpec, clean_database: Database, device_mqtt_url: str
) -> None:
    """They take each other's place at the broker, and the newcomer counts its boots above those of the first. If one
    took the other's welcome for its own, they contradict each other, and one restarts.
    """
    code = spec.stations[0].code
    eventually(lambda: slots_of(clean_database, code) == in_cabinet(spec, code))
    other = default_fleet(1, seed=12)
    twin = replace(other, stations=(replace(other.stations[0], code=code),))
    with FleetThread(twin, device_mqtt_url):
        eventually(lambda: _has_seen(clean_database, twin.stations[0].banks[0].serial), _JITTER_S)
    eventually(lambda: slots_of(clean_database, code) == in_cabinet(spec, code), _JITTER_S)


def test_a_cabinet_whose_clock_has_run_ahead_obeys_the_second_order(
    cabinets: FleetThread, spec: FleetSpec, clean_database: Database
) -> None:
    code = spec.stations[0].code
    inside = in_cabinet(spec, code)
    eventually(lambda: slots_of(clean_database, code) == inside)
    cabinets.on(code, lambda driver: setattr(driver.cabinet.board.clock, "drift_ms", 3_600_000))
    slot = next(iter(inside))
    first = eject(clean_database, code, slot)
    eventually(lambda: state_of(clean_database, first) is CommandState.EXPIRED)

    def ejected() -> bool:
        order = eject(clean_database, code, slot)
        eventually(lambda: state_of(clean_database, order) in {CommandState.SUCCEEDED, CommandState.EXPIRED})
        return state_of(clean_database, order) is CommandState.SUCCEEDED

    eventually(ejected)


def _has_seen(database: Database, serial: str) -> bool:
    with database.engine.connect() as connection:
        query = text("SELECT EXISTS (SELECT FROM power_bank WHERE serial = :serial)")
        return bool(connection.execute(query, {"serial": serial}).scalar_one())
