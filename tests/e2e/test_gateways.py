"""Two gateways on one shared subscription; one of them goes."""

import pytest

from simulators.faults import FaultKind
from tests.system.clients import Rider
from tests.system.system import System
from tests.system.waiting import until


def test_both_take_part(system: System, station: str, rider: Rider) -> None:
    connected = "SELECT count(*) FROM gateway_instance WHERE connected_since IS NOT NULL"
    assert system.scalar(connected) == 2
    rental = rider.rent(station)
    assert rental["state"] == "active"


@pytest.mark.parametrize("goes", ["gateway", "gateway-2"])
def test_one_is_killed_while_the_motor_turns(system: System, station: str, other: str, rider: Rider, goes: str) -> None:
    """Whichever of the two sent the command, and whichever was to hear the answer: the broker keeps the share of the
    dead one until it is back.
    """
    system.cabinets.fault(station, FaultKind.LATE_ANSWER, count=1, delay_s=0.5)
    rental = rider.start(station)
    until(lambda: system.cabinets.moving(station), "the motor turns")
    with system.dead(goes):
        system.cabinets.wait_in_hands(rental["power_bank"])
        system.cabinets.fleet.insert(other, rental["power_bank"])
    done = rider.wait_state(rental["id"], "completed")
    assert done["station_in"] == other


def test_one_ends_in_good_order(system: System, station: str, other: str, rider: Rider) -> None:
    system.cabinets.fault(station, FaultKind.LATE_ANSWER, count=1, delay_s=1)
    rental = rider.start(station)
    until(lambda: system.cabinets.moving(station), "the motor turns")
    assert system.processes["gateway"].stop() == 0
    active = rider.wait_state(rental["id"], "active")
    system.restart("gateway")
    system.cabinets.fleet.insert(other, active["power_bank"])
    rider.wait_state(rental["id"], "completed")
