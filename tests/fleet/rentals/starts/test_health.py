"""Slots that jam and banks that are hot or worn are kept from riders; nothing is undone, and nothing counts twice."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from firmware_protocol.messages import SlotFault, StationFault
from firmware_protocol.types import CommandOutcome, SlotFaultKind, StationFaultKind
from fleet.common.models import OutboxEvent
from fleet.rentals.errors import NoBankAvailable
from fleet.rentals.models import RentalState
from fleet.stations import health, service
from fleet.stations.models import HealthEvent, HealthKind, PowerBank, PowerBankState, StationSlot
from tests.databases import Database
from tests.fleet.rentals.world import World

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def jam(world: World, *, slot: int = 1, seq: int | None = None, cleared: bool = False) -> None:
    world.say("A", SlotFault(slot=slot, kind=SlotFaultKind.JAM, cleared=cleared), seq=seq)


def heard(world: World) -> None:
    world.stations["A"].last_heard_at = world.now
    world.session.flush()


def history(world: World, slot: int = 1) -> list[str]:
    query = select(HealthEvent.kind).where(
        HealthEvent.station_id == world.stations["A"].id, HealthEvent.slot_number == slot
    )
    return [kind.value for kind in world.session.scalars(query.order_by(HealthEvent.id))]


def told(world: World, name: str) -> int:
    return len(world.session.scalars(select(OutboxEvent).where(OutboxEvent.name == f"stations.{name}.v1")).all())


def test_a_slot_that_jams_again_and_again_is_disabled_and_stays_so(world: World) -> None:
    for _ in range(3):
        jam(world)
        jam(world, cleared=True)
        world.later(HOUR)
    slot = world.slot("A", 1)
    assert slot.disabled_reason == "health: 3 jams within 24 h"
    assert (slot.fault, slot.health_score) == (None, 40)
    assert history(world) == ["jam", "jam", "jam", "disabled"]
    assert (told(world, "SlotDisabled"), told(world, "FaultReported")) == (1, 6)
    world.inventory("A", {1: ("A1", 90)})
    assert world.slot("A", 1).disabled_reason is not None
    jam(world)  # one more changes nothing
    assert history(world).count("disabled") == 1


def test_an_operator_puts_it_back_and_only_what_comes_after_counts(world: World) -> None:
    for _ in range(3):
        jam(world)
        world.later(HOUR)
    service.set_slot_disabled(world.session, "A", 1, None, world.now)
    world.later(HOUR)
    jam(world)
    world.later(HOUR)
    jam(world)
    slot = world.slot("A", 1)
    assert (slot.disabled_reason, slot.health_score) == (None, 60)
    assert history(world) == ["jam", "jam", "jam", "disabled", "enabled", "jam", "jam"]
    world.later(HOUR)
    jam(world)
    assert world.slot("A", 1).disabled_reason is not None


def test_a_jam_told_twice_counts_once(world: World) -> None:
    fact = world.say("A", SlotFault(slot=1, kind=SlotFaultKind.JAM))
    for _ in range(3):
        world.apply(fact)
    assert history(world) == ["jam"]
    assert world.slot("A", 1).health_score == 80


def test_a_short_circuit_disables_at_once(world: World) -> None:
    world.say("A", SlotFault(slot=1, kind=SlotFaultKind.SHORT))
    assert world.slot("A", 1).disabled_reason == "health: short circuit"


def test_failed_ejects_count_as_jams(world: World) -> None:
    for _ in range(3):
        world.session.execute(update(StationSlot).values(watched_until=None))
        heard(world)
        rental = world.start("A", slot=1)
        world.result("A", world.send(rental), CommandOutcome.FAILED, "jam")
        if rental.state is not RentalState.EJECT_FAILED:  # the next best slot was tried: it fails as well
            world.result("A", world.send(rental), CommandOutcome.FAILED, "no_power")
        world.later(HOUR)
    assert world.slot("A", 1).disabled_reason == "health: 3 jams within 24 h"
    world.check_everything()


def set_bank(world: World, serial: str = "A1", **values: object) -> None:
    world.session.execute(update(PowerBank).where(PowerBank.serial == serial).values(sampled_at=world.now, **values))


@pytest.mark.parametrize(
    ("values", "reason"), [({"temperature_c": 61.0}, "hot: 61.0 °C"), ({"health_pct": 40}, "worn: 40 % of")]
)
def test_a_hot_or_worn_bank_is_quarantined(world: World, values: dict[str, Any], reason: str) -> None:
    set_bank(world, **values)
    assert health.sweep_banks(world.session, world.policy.health, world.now) == 1
    bank = world.bank("A1")
    assert (bank.state, bank.state_set_by) == (PowerBankState.QUARANTINED, "health")
    assert (bank.quarantine_reason or "").startswith(reason)
    assert health.sweep_banks(world.session, world.policy.health, world.now) == 0
    assert history(world) == ["quarantined"]
    assert told(world, "PowerBankQuarantined") == 1
    world.inventory("A", {1: ("A1", 90)})
    assert world.bank("A1").state is PowerBankState.QUARANTINED


def test_a_worn_bank_that_was_released_is_judged_again_when_it_is_worse(world: World) -> None:
    set_bank(world, health_pct=50)
    health.sweep_banks(world.session, world.policy.health, world.now)
    set_bank(world, state=PowerBankState.AVAILABLE, state_set_by=None, quarantine_reason=None)
    assert health.sweep_banks(world.session, world.policy.health, world.now) == 0
    set_bank(world, health_pct=49)
    assert health.sweep_banks(world.session, world.policy.health, world.now) == 1


def test_a_bank_is_not_taken_from_a_rider_but_judged_when_it_is_back(world: World) -> None:
    rental = world.rent("A", slot=1)
    set_bank(world, health_pct=40)
    assert health.sweep_banks(world.session, world.policy.health, world.now) == 0
    assert world.bank("A1").state is PowerBankState.RENTED
    world.later(HOUR)
    world.inserted("A", 1, "A1", 30)
    assert rental.state is RentalState.COMPLETED
    assert world.bank("A1").state is PowerBankState.QUARANTINED
    world.check_everything()


def test_a_bank_that_is_being_ejected_is_left_alone(world: World) -> None:
    rental = world.start("A", slot=1)
    command = world.send(rental)
    set_bank(world, temperature_c=80.0)
    assert health.sweep_banks(world.session, world.policy.health, world.now) == 0
    world.ejected("A", 1, "A1", command)
    assert rental.state is RentalState.ACTIVE
    world.check_everything()


def test_a_start_passes_over_bad_slots_and_banks(world: World) -> None:
    """Each for itself: a quarantined bank, a disabled slot, a slot whose health is gone."""
    slots = [
        slot.number
        for slot in world.session.scalars(
            select(StationSlot).where(
                StationSlot.station_id == world.stations["A"].id, StationSlot.power_bank_id.is_not(None)
            )
        )
    ]
    for number in slots:
        slot = world.slot("A", number)
        assert slot.power_bank_id is not None
        bank = world.session.get_one(PowerBank, slot.power_bank_id)
        if number % 3 == 1:
            set_bank(world, bank.serial, health_pct=10)
        elif number % 3 == 2:
            for _ in range(3):
                jam(world, slot=number)
                jam(world, slot=number, cleared=True)
                world.later(2 * MINUTE)
        else:
            slot.health_score = 10
    world.session.flush()
    health.sweep_banks(world.session, world.policy.health, world.now)
    heard(world)
    with pytest.raises(NoBankAvailable):
        world.start("A")


def test_old_banks_are_flagged_once_and_stay_in_use(world: World) -> None:
    set_bank(world, cycles=512)
    for _ in range(2):
        health.sweep_banks(world.session, world.policy.health, world.now)
    assert (world.bank("A1").state, world.bank("A1").flagged_at) == (PowerBankState.AVAILABLE, world.now)
    flags = world.session.scalars(select(HealthEvent).where(HealthEvent.kind == HealthKind.FLAGGED)).all()
    assert [flag.detail for flag in flags] == ["512 cycles"]
    assert told(world, "PowerBankFlagged") == 1


def test_a_slot_that_a_start_holds_is_passed_over(clean_database: Database, world: World) -> None:
    """Whoever locks the slot first decides; the sweep does not wait, and the bank is judged on its return."""
    with Session(clean_database.engine) as one, Session(clean_database.engine) as two:
        other = World(one, world.now)
        one.execute(update(PowerBank).where(PowerBank.serial == "A1").values(health_pct=10))
        one.commit()
        other.start("A", slot=1)
        assert health.sweep_banks(two, world.policy.health, world.now) == 0


def test_a_fault_of_the_cabinet_is_told(world: World) -> None:
    world.say("A", StationFault(kind=StationFaultKind.SMOKE))
    assert told(world, "FaultReported") == 1
