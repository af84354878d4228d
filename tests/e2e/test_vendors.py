"""Volinks and Relink cabinets in the whole system: rented from and returned to, as riders see it."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from fleet.common.clock import utc_now
from fleet.common.vault import Vault
from fleet.devices import profiles
from fleet.settings import Settings
from fleet.stations.service import add_power_banks, create_station
from fleet.stations.specs import StationSpec
from simulators.faults import Fault, FaultKind
from simulators.spec import FleetSpec, Kind, default_fleet
from simulators.testing import FleetThread
from simulators.tuning import Tuning
from tests.system.clients import Operator, Rider
from tests.system.system import System
from tests.system.waiting import until

_TUNING = Tuning(eject_ms=(100, 200), self_check_ms=300, switch_ms=200, heartbeat_s=2, first_upload_s=600)


@pytest.fixture(scope="module")
def vendors(whole: System) -> Iterator[FleetThread]:
    """One cabinet of each make, registered by an operator, connected."""
    seed = int(uuid4().hex[:4], 16)
    volinks, relink = (default_fleet(1, seed, kind=kind).stations[0] for kind in (Kind.VOLINKS, Kind.RELINK))
    spec = FleetSpec(seed=seed, stations=(volinks, relink))
    vault = Vault.of(Settings(secret_key=whole.environment["VOLTBAY_SECRET_KEY"]), profiles.PURPOSE)
    with whole.session() as session:
        for each in spec.stations:
            station = create_station(
                session,
                StationSpec(
                    code=each.code, name=each.name, latitude=each.lat, longitude=each.lon, slots=each.slots,
                    dialect=each.dialect, hardware_id=each.hardware_id, country="PT", time_zone="Europe/Lisbon",
                ),
                utc_now(),
            )  # fmt: skip
            profiles.set_secret(
                session, station, each.token_secret.encode() if each.dialect == "relink" else None, vault
            )
        add_power_banks(session, [bank.serial for each in spec.stations for bank in each.banks], utc_now())
    relink_at = ("127.0.0.1", whole.relink_port)
    with FleetThread(spec, whole.stack.device_mqtt_url, tuning=_TUNING, http_url=whole.url, relink=relink_at) as fleet:
        whole.wait_online(*(each.code for each in spec.stations))
        yield fleet


@pytest.fixture(params=["volinks", "relink"])
def vendor_station(request: pytest.FixtureRequest, vendors: FleetThread) -> str:
    return next(each.code for each in vendors.spec.stations if each.dialect == request.param)


def test_rented_from_and_returned_to(
    system: System, vendors: FleetThread, vendor_station: str, new_rider: Callable[[], Rider], operator: Operator
) -> None:
    rider = new_rider()
    rental = rider.rent(vendor_station)
    assert rental["power_bank"] in vendors.banks_out()
    vendors.insert(vendor_station, rental["power_bank"])
    done = rider.wait_state(rental["id"], "completed")
    assert done["station_in"] == vendor_station
    trace = operator.get(f"/admin/rental/{rental['id']}/trace")["entries"]
    assert {"command", "frame_sent", "frame_received"} <= {entry["kind"] for entry in trace}
    until(lambda: not system.pending(), lambda: f"{system.pending()}", 60)


def test_a_lost_result_is_found_by_the_inventory(
    system: System, vendors: FleetThread, vendor_station: str, new_rider: Callable[[], Rider]
) -> None:
    rider = new_rider()
    vendors.add_fault(vendor_station, Fault(kind=FaultKind.NO_ANSWER, count=1, moves=True))
    rental = rider.wait_state(rider.start(vendor_station)["id"], "active", timeout_s=60)
    assert rental["power_bank"] in vendors.banks_out()
    vendors.insert(vendor_station, rental["power_bank"])
    rider.wait_state(rental["id"], "completed", timeout_s=60)
    until(lambda: not system.pending(), lambda: f"{system.pending()}", 60)


def test_a_connection_that_breaks_at_an_eject_costs_no_second_bank(
    system: System, vendors: FleetThread, new_rider: Callable[[], Rider]
) -> None:
    """A broker told QoS 1 would send the eject again, and the cabinet would give the next bank."""
    station = next(each.code for each in vendors.spec.stations if each.dialect == "volinks")
    before = set(vendors.banks_out())
    vendors.add_fault(station, Fault(kind=FaultKind.LOST_PUBACK, count=1))
    rider = new_rider()
    rental = rider.wait_state(rider.start(station)["id"], "active", timeout_s=60)
    until(lambda: not system.pending(), lambda: f"{system.pending()}", 60)
    assert set(vendors.banks_out()) - before == {rental["power_bank"]}
    vendors.insert(station, rental["power_bank"])
    rider.wait_state(rental["id"], "completed", timeout_s=60)
    until(lambda: not system.pending(), lambda: f"{system.pending()}", 60)
