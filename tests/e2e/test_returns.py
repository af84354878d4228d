"""Banks come back: offline, doubled, out of order, unannounced."""

from datetime import datetime

import pytest

from simulators.faults import FaultKind
from tests.system.clients import Rider
from tests.system.system import System
from tests.system.waiting import until


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_return_to_an_offline_cabinet_counts_from_its_own_clock(
    system: System, station: str, other: str, rider: Rider
) -> None:
    rental = rider.rent(station)
    system.cabinets.fleet.disconnect(other)
    system.cabinets.fleet.insert(other, rental["power_bank"])
    inserted = system.scalar("SELECT clock_timestamp()")
    offline = "SELECT NOT online FROM station WHERE code = :code"
    until(lambda: system.scalar(offline, code=other), "the backend knows that the station is away")
    assert rider.rental(rental["id"])["state"] == "active"
    reconnected = system.scalar("SELECT clock_timestamp()")
    system.cabinets.fleet.connect(other)
    done = rider.wait_state(rental["id"], "completed")
    ended = _instant(done["ended_at"])
    assert _instant(done["started_at"]) <= ended < reconnected
    assert abs((ended - inserted).total_seconds()) < 1.0


def test_lost_acknowledgements_change_nothing(system: System, station: str, other: str, rider: Rider) -> None:
    for code in (station, other):
        system.cabinets.fault(code, FaultKind.LOST_ACK, count=None)
    rental = rider.rent(station)
    system.cabinets.fleet.insert(other, rental["power_bank"])
    done = rider.wait_state(rental["id"], "completed")
    assert system.cabinets.journal(station) >= 2
    assert system.cabinets.journal(other) >= 1
    for code in (station, other):
        # It says everything again, and this time hears the answer.
        system.cabinets.fleet.clear_faults(code)
        system.cabinets.fleet.disconnect(code)
        system.cabinets.fleet.connect(code)
    system.settle()
    assert rider.rental(rental["id"]) == done


@pytest.mark.parametrize("kind", [FaultKind.DUPLICATE, FaultKind.REORDER, FaultKind.DROP_EVENTS, FaultKind.GARBAGE])
def test_a_bad_network_changes_nothing(system: System, station: str, other: str, rider: Rider, kind: FaultKind) -> None:
    for code in (station, other):
        system.cabinets.fault(code, kind, count=None, probability=1.0 if kind is not FaultKind.DROP_EVENTS else 0.5)
    rental = rider.start(station)
    if kind is FaultKind.DROP_EVENTS:
        # What the network swallowed is sent again when the cabinet next connects; the rider need not wait for it.
        system.cabinets.wait_in_hands(rental["power_bank"])
        _reconnect(system, station)
    active = rider.wait_state(rental["id"], "active")
    system.cabinets.fleet.insert(other, active["power_bank"])
    if kind is FaultKind.DROP_EVENTS:
        _reconnect(system, other)
    done = rider.wait_state(rental["id"], "completed")
    assert done["charged"]["amount_minor"] == 150


def _reconnect(system: System, code: str) -> None:
    system.cabinets.fleet.clear_faults(code)
    system.cabinets.fleet.disconnect(code)
    system.cabinets.fleet.connect(code)


def test_a_return_while_the_firmware_restarts_is_found_by_the_inventory(
    system: System, station: str, other: str, rider: Rider
) -> None:
    rental = rider.rent(station)
    before = system.scalar("SELECT clock_timestamp()")
    system.cabinets.fleet.reboot(other)
    system.cabinets.fleet.insert(other, rental["power_bank"])
    done = rider.wait_state(rental["id"], "completed")
    assert done["station_in"] == other
    assert _instant(done["ended_at"]) <= before, "the doubt is not the rider's"


def test_a_foreign_bank_is_taken_and_closes_nothing(system: System, station: str, rider: Rider) -> None:
    rental = rider.rent(station)
    system.cabinets.fleet.insert(station, "XX-FOREIGN-1", foreign=True, slot=system.cabinets.free_slot(station))
    known = "SELECT known FROM power_bank WHERE serial = 'XX-FOREIGN-1'"
    until(lambda: system.rows(known), "the foreign bank is noted")
    assert system.scalar(known) is False
    assert rider.rental(rental["id"])["state"] == "active"


def test_a_returned_bank_is_rented_again(system: System, station: str, rider: Rider) -> None:
    first = rider.rent(station)
    elsewhere = next(slot for slot in system.cabinets.free_slots(station) if slot != first["slot_out"])
    system.cabinets.fleet.insert(station, first["power_bank"], slot=elsewhere, charge_pct=99)
    rider.wait_state(first["id"], "completed")
    second = rider.rent(station)
    assert second["id"] != first["id"]
    elsewhere = next(slot for slot in system.cabinets.free_slots(station) if slot != second["slot_out"])
    system.cabinets.fleet.insert(station, second["power_bank"], slot=elsewhere)
    rider.wait_state(second["id"], "completed")
    assert rider.wallet()["balance"]["amount_minor"] == 5000 - 2 * 150
