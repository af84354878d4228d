"""Every way in which an eject can end, and what the rider pays: rentals-and-money's table."""

from collections.abc import Callable

from simulators.faults import FaultKind
from tests.system.clients import Operator, Rider
from tests.system.system import System
from tests.system.waiting import until

_FREE = {"amount_minor": 0, "currency": "EUR"}


def _paid_nothing(rider: Rider, rental_id: str) -> None:
    rental = rider.rental(rental_id)
    assert (rental["charged"], rental["due"]) == (_FREE, _FREE)
    wallet = rider.wallet()
    assert wallet["held"] == _FREE
    assert wallet["balance"]["amount_minor"] == 5000


def test_a_failed_eject_gives_the_next_best_bank(system: System, station: str, rider: Rider) -> None:
    system.cabinets.fault(station, FaultKind.FAILED_EJECT, count=1)
    rental = rider.rent(station)
    assert system.cabinets.moves(station) == 1
    assert rental["power_bank"] in system.cabinets.in_hands()
    commands = "SELECT count(*) FROM device_command WHERE rental_id = CAST(:id AS uuid) AND kind = 'eject_power_bank'"
    assert system.scalar(commands, id=rental["id"]) == 2


def test_two_failed_ejects_end_the_rental_free(system: System, station: str, rider: Rider) -> None:
    system.cabinets.fault(station, FaultKind.FAILED_EJECT, count=2)
    rental = rider.wait_state(rider.start(station)["id"], "eject_failed")
    assert rental["failure_code"] == "motor_stalled"
    assert system.cabinets.moves(station) == 0
    _paid_nothing(rider, rental["id"])


def test_no_answer_and_the_bank_is_gone(system: System, station: str, rider: Rider) -> None:
    system.cabinets.fault(station, FaultKind.NO_ANSWER, count=1, moves=True)
    rental = rider.start(station)
    serial = rental["power_bank"]
    system.cabinets.wait_in_hands(serial)
    active = rider.wait_state(rental["id"], "active")
    assert active["started_at"] < system.scalar("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS')")
    events = "SELECT array_agg(to_state ORDER BY id) FROM rental_event WHERE rental_id = CAST(:id AS uuid)"
    assert system.scalar(events, id=rental["id"])[-2:] == ["eject_unknown", "active"]


def test_no_answer_and_the_bank_is_still_there(system: System, station: str, rider: Rider) -> None:
    system.cabinets.fault(station, FaultKind.NO_ANSWER, count=1)
    rental = rider.start(station)
    rider.wait_state(rental["id"], "eject_failed")
    events = "SELECT array_agg(to_state ORDER BY id) FROM rental_event WHERE rental_id = CAST(:id AS uuid)"
    assert "eject_unknown" in system.scalar(events, id=rental["id"])
    assert system.cabinets.moves(station) == 0
    _paid_nothing(rider, rental["id"])


def test_a_station_that_stays_silent_never_costs_anything(
    system: System, station: str, other: str, rider: Rider
) -> None:
    """It lost its network in the middle; the bank left. Money is held, then released, and the bank is not forgotten."""
    system.cabinets.fault(station, FaultKind.LATE_ANSWER, count=1, moves=True, delay_s=0.5)
    rental = rider.start(station)
    until(lambda: system.cabinets.moving(station), "the motor turns")
    system.cabinets.fleet.disconnect(station)
    rider.wait_state(rental["id"], "eject_unknown")
    assert rider.wallet()["held"]["amount_minor"] == 1000
    rider.wait_state(rental["id"], "eject_failed", timeout_s=75)
    _paid_nothing(rider, rental["id"])
    system.cabinets.fleet.connect(station)
    # Heard from at last: the bank did leave, and the rider has it.
    reopened = rider.wait_state(rental["id"], "active")
    system.cabinets.fleet.insert(other, reopened["power_bank"])
    assert rider.wait_state(rental["id"], "completed")["charged"]["amount_minor"] == 150


def test_a_bank_that_leaves_after_the_verdict_reopens_the_rental(system: System, station: str, rider: Rider) -> None:
    system.cabinets.fault(station, FaultKind.LATE_ANSWER, count=1, delay_s=7)
    rental = rider.start(station)
    rider.wait_state(rental["id"], "eject_failed")
    _paid_nothing(rider, rental["id"])
    active = rider.wait_state(rental["id"], "active")
    assert active["power_bank"] in system.cabinets.in_hands()
    assert system.cabinets.moves(station) == 1


def test_a_late_answer_about_a_bank_that_left_in_time(system: System, station: str, rider: Rider) -> None:
    system.cabinets.fault(station, FaultKind.LATE_ANSWER, count=1, moves=True, delay_s=4)
    rental = rider.start(station)
    rider.wait_state(rental["id"], "active")
    until(lambda: not system.cabinets.moving(station), "the answer is sent")
    system.settle()
    assert rider.rental(rental["id"])["state"] == "active"


def test_the_rental_follows_the_bank_that_left(system: System, station: str, other: str, rider: Rider) -> None:
    system.cabinets.fault(station, FaultKind.WRONG_BANK, count=1)
    before = set(system.cabinets.banks(station).values())
    rental = rider.rent(station)
    [left] = before - set(system.cabinets.banks(station).values())
    assert rental["power_bank"] == left
    system.cabinets.fleet.insert(other, left)
    rider.wait_state(rental["id"], "completed")


def test_a_bank_that_nobody_takes_costs_nothing(system: System, station: str, rider: Rider) -> None:
    system.cabinets.fault(station, FaultKind.NOT_TAKEN, count=1, delay_s=1)
    rental = rider.start(station)
    closed = rider.wait_state(rental["id"], "completed", "cancelled", "eject_failed")
    assert closed["charged"] == _FREE
    _paid_nothing(rider, rental["id"])
    watched = "SELECT count(*) FROM station_slot s JOIN station t ON t.id = s.station_id WHERE t.code = :code"
    assert system.scalar(f"{watched} AND s.watched_until > now() AND s.number = :slot", code=station,
                         slot=rental["slot_out"]) == 1  # fmt: skip


def test_power_fails_while_the_motor_turns(system: System, station: str, rider: Rider) -> None:
    system.cabinets.fault(station, FaultKind.REBOOT_MID_COMMAND, count=1, moves=True)
    rental = rider.start(station)
    rider.wait_state(rental["id"], "active")
    assert system.cabinets.moves(station) == 1


def test_power_fails_before_the_motor_turned(system: System, station: str, rider: Rider) -> None:
    system.cabinets.fault(station, FaultKind.REBOOT_MID_COMMAND, count=1, silent=True)
    rental = rider.start(station)
    final = rider.wait_state(rental["id"], "active", "eject_failed")
    system.settle()
    moved = system.cabinets.moves(station)
    assert rider.rental(rental["id"])["state"] == ("active" if moved else "eject_failed") == final["state"]


def test_a_bank_that_leaves_with_no_command_is_a_case(system: System, station: str, operator: Operator) -> None:
    slot, serial = next(iter(system.cabinets.banks(station).items()))
    system.cabinets.remove(station, slot)

    def case() -> object:
        cases = operator.get("/admin/orphan-case", limit=100)["items"]
        return next((each for each in cases if each["power_bank"] == serial and each["state"] == "open"), None)

    until(case, "an orphan case is open")
    assert serial in system.cabinets.in_hands()
    disabled = (
        "SELECT disabled_reason FROM station_slot s JOIN station t ON t.id = s.station_id"
        " WHERE t.code = :code AND s.number = :slot"
    )
    assert system.scalar(disabled, code=station, slot=slot), "the slot is quarantined"
    system.cabinets.fleet.insert(station, serial, slot=system.cabinets.free_slot(station))
    until(lambda: not case(), "the bank's return closes the case")


def test_cancel_before_the_command_is_sent(system: System, station: str, rider: Rider) -> None:
    with system.frozen("gateway"), system.frozen("gateway-2"):
        rental = rider.start(station)
        assert system.command_of(rental["id"])[0] == "queued"
        cancelled = rider.post(f"/rental/{rental['id']}/cancel")
        assert cancelled["state"] == "cancelled"
    system.settle()
    assert system.cabinets.moves(station) == 0
    _paid_nothing(rider, rental["id"])


def test_no_cancel_while_the_motor_may_turn(system: System, station: str, rider: Rider) -> None:
    system.cabinets.fault(station, FaultKind.LATE_ANSWER, count=1, delay_s=1)
    rental = rider.start(station)
    until(lambda: system.cabinets.moving(station), "the motor turns")
    refused = rider.post_raw(f"/rental/{rental['id']}/cancel")
    assert refused.status_code == 409, refused.text
    rider.wait_state(rental["id"], "active")


def test_the_next_rider_waits_for_no_one(system: System, station: str, new_rider: Callable[[], Rider]) -> None:
    """Two riders at one cabinet: one motor, two banks, one after the other."""
    first, second = new_rider(), new_rider()
    system.cabinets.fault(station, FaultKind.LATE_ANSWER, count=1, delay_s=0.3)
    one, two = first.start(station), second.start(station)
    banks = {
        first.wait_state(one["id"], "active")["power_bank"],
        second.wait_state(two["id"], "active")["power_bank"],
    }
    assert len(banks) == 2
    assert banks <= system.cabinets.in_hands()
