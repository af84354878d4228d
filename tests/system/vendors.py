"""Vendors' cabinets beside the native ones of a whole system: registered as an operator does, then powered on."""

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from fleet.common.clock import utc_now
from fleet.common.vault import Vault
from fleet.devices import profiles
from fleet.settings import Settings
from fleet.stations.service import add_power_banks, create_station
from fleet.stations.specs import StationSpec
from simulators import spec
from simulators.testing import FleetThread
from simulators.tuning import Tuning
from tests.system.system import System

#: Quick motors; an inventory is right soon after an eject.
TUNING = Tuning(eject_ms=(100, 200), self_check_ms=300, switch_ms=200, heartbeat_s=2, first_upload_s=600)


def cabinets(kind: spec.Kind, number: int, seed: int, prefix: str) -> tuple[spec.StationSpec, ...]:
    """Codes `{prefix}-1`…; two fleets of one system differ in prefix and seed."""
    fleet = spec.default_fleet(number, seed, kind=kind)
    return tuple(replace(each, code=f"{prefix}-{n}") for n, each in enumerate(fleet.stations, 1))


@contextmanager
def powered_on(system: System, stations: tuple[spec.StationSpec, ...]) -> Iterator[FleetThread]:
    """All of them connected, and their slots known."""
    register(system, stations)
    fleet = FleetThread(
        spec.FleetSpec(stations=stations),
        system.stack.device_mqtt_url,
        tuning=TUNING,
        http_url=system.url,
        relink=("127.0.0.1", system.relink_port),
    )
    with fleet:
        system.wait_online(*(each.code for each in stations))
        yield fleet


def register(system: System, stations: tuple[spec.StationSpec, ...]) -> None:
    vault = Vault.of(Settings(secret_key=system.environment["VOLTBAY_SECRET_KEY"]), profiles.PURPOSE)
    now = utc_now()
    with system.session() as session:
        for each in stations:
            station = create_station(
                session,
                StationSpec(
                    code=each.code, name=each.name, latitude=each.lat, longitude=each.lon, slots=each.slots,
                    dialect=each.dialect, hardware_id=each.hardware_id, country="PT", time_zone="Europe/Lisbon",
                ),
                now,
            )  # fmt: skip
            proves_itself = each.dialect == "relink" and each.flavour != "1"
            profiles.set_secret(session, station, each.token_secret.encode() if proves_itself else None, vault)
        add_power_banks(session, [bank.serial for each in stations for bank in each.banks], now)
