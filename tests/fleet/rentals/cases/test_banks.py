"""What operators decide about banks, and what became of them."""

from typing import Any

import pytest
from sqlalchemy import select

from fleet.rentals.cases import banks
from fleet.rentals.errors import BankIsHere, BankNotHeld
from fleet.rentals.models import RentalState
from fleet.rentals.records import histories
from fleet.stations import operators
from fleet.stations.banks import bank_page, bank_view
from fleet.stations.errors import BankNotFound, SlotNotFound, StationIsDisabled
from fleet.stations.models import PowerBank, PowerBankState, StationStatus
from fleet.users.audit import Actor
from fleet.users.models import UserAuditLog
from tests.fleet.rentals.world import HOUR, MINUTE, World

BOSS = Actor(console="root")


def hold(world: World, serial: str, state: PowerBankState = PowerBankState.QUARANTINED) -> PowerBank:
    return banks.hold(world.session, serial, state, reason="swollen", actor=BOSS, now=world.now)


def release(world: World, serial: str) -> PowerBank:
    return banks.release(world.session, serial, reason="it is fine", actor=BOSS, now=world.now)


def acts(world: World, target: str) -> list[tuple[str, dict[str, Any]]]:
    world.session.flush()
    query = select(UserAuditLog).where(UserAuditLog.target == target).order_by(UserAuditLog.id)
    return [(row.action, row.detail) for row in world.session.scalars(query)]


def test_a_bank_in_quarantine_is_given_to_nobody_until_it_is_released(world: World) -> None:
    hold(world, "A1")
    rental = world.start()
    assert world.serial(rental) == "A2"
    assert release(world, "A1").state is PowerBankState.AVAILABLE
    assert acts(world, "bank:A1") == [
        (
            "bank.quarantined",
            {
                "before": {"state": "available", "reason": None, "set_by": None},
                "after": {"state": "quarantined", "reason": "swollen", "set_by": "operator"},
                "reason": "swollen",
                "console": "root",
            },
        ),
        (
            "bank.release",
            {
                "before": {"state": "quarantined", "reason": "swollen", "set_by": "operator"},
                "after": {"state": "available", "reason": None, "set_by": None},
                "reason": "it is fine",
                "console": "root",
            },
        ),
    ]


def test_a_bank_that_is_with_a_rider_stays_there_and_is_held_when_it_comes_back(world: World) -> None:
    rental = world.rent()
    hold(world, "A1")
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    assert (rental.state, rental.ended_at) == (RentalState.COMPLETED, world.now)
    assert (world.place("A1"), world.bank("A1").state) == ("B1", PowerBankState.QUARANTINED)
    world.check_everything()


def test_a_released_bank_is_what_it_is(world: World) -> None:
    world.rent()
    hold(world, "A1")
    assert release(world, "A1").state is PowerBankState.RENTED
    world.inventory("A", {2: ("A2", 80)})
    hold(world, "A3", PowerBankState.LOST)
    assert release(world, "A3").state is PowerBankState.MISSING
    with pytest.raises(BankNotHeld):
        release(world, "A3")


def test_a_bank_that_lies_in_a_slot_is_not_lost(world: World) -> None:
    with pytest.raises(BankIsHere) as refused:
        hold(world, "A2", PowerBankState.LOST)
    assert refused.value.attributes["place"] == "A/2"


def test_a_foreign_bank_is_adopted_once_and_then_rented(world: World) -> None:
    world.inventory("B", {1: ("STRANGER", 99)})
    assert [view.serial for view in bank_page(world.session, limit=10, known=False)] == ["STRANGER"]
    for _ in range(2):
        banks.adopt(world.session, "STRANGER", reason="bought", actor=BOSS, now=world.now)
    assert [detail["before"]["known"] for _, detail in acts(world, "bank:STRANGER")] == [False, True]
    assert world.serial(world.start("B")) == "STRANGER"


def test_banks_that_nobody_has(world: World) -> None:
    for decide in (hold, release):
        with pytest.raises(BankNotFound):
            decide(world, "NOPE")
    with pytest.raises(ValueError, match="for cabinets and rentals"):
        hold(world, "A1", PowerBankState.RENTED)


def test_banks_are_listed_by_what_is_asked(world: World) -> None:
    world.rent()
    hold(world, "A2")

    def listed(**asked: Any) -> list[str]:
        return [view.serial for view in bank_page(world.session, limit=10, **asked)]

    assert listed() == ["A1", "A2", "A3"]
    assert listed(after_id=bank_view(world.session, "A1").id) == ["A2", "A3"]
    assert listed(station="A") == ["A2", "A3"]
    assert listed(state=PowerBankState.QUARANTINED) == ["A2"]
    assert listed(search="A3") == ["A3"]
    assert listed(search="%") == []
    out, here = bank_view(world.session, "A1"), bank_view(world.session, "A2")
    assert ((out.station, out.slot), (here.station, here.slot)) == (("A", None), ("A", 2))


def test_maintenance_and_slots_are_noted_with_what_was_before(world: World) -> None:
    operators.set_maintenance(world.session, "A", on=True, reason="paint", actor=BOSS, now=world.now)
    operators.disable_slot(world.session, "A", 2, reason="bent", actor=BOSS, now=world.now)
    operators.enable_slot(world.session, "A", 2, reason="straight", actor=BOSS, now=world.now)
    [(action, detail)] = acts(world, "A")
    assert (action, detail["before"], detail["after"]) == (
        "station.status", {"status": "active"}, {"status": "maintenance"},
    )  # fmt: skip
    assert [(action, detail["before"]["disabled_reason"]) for action, detail in acts(world, "A/2")] == [
        ("slot.disable", None),
        ("slot.enable", "bent"),
    ]
    operators.set_status(world.session, "A", StationStatus.DISABLED, reason=None, actor=BOSS, now=world.now)
    with pytest.raises(StationIsDisabled):
        operators.set_maintenance(world.session, "A", on=False, reason="back", actor=BOSS, now=world.now)
    with pytest.raises(SlotNotFound):
        operators.disable_slot(world.session, "A", 9, reason="what", actor=BOSS, now=world.now)


def test_a_banks_history_tells_its_whole_way(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    world.inserted("B", 2, "A1")
    world.later(MINUTE)
    hold(world, "A1")
    world.later(MINUTE)
    world.inventory("B", {})
    world.session.flush()
    found = histories.bank_history(world.session, "A1", limit=10)
    assert [(entry.kind, entry.summary) for entry in found] == [
        ("movement", "A1 vanished in B/2"),
        ("case", "vanished: A1 of B/2"),
        ("act", "bank.quarantined"),
        ("movement", "A1 inserted in B/2"),
        ("movement", "A1 ejected in A/1"),
        ("movement", "A1 found in A/1"),
    ]
    assert found[4].detail["rental_id"] == str(rental.id)
    with pytest.raises(BankNotFound):
        histories.bank_history(world.session, "NOPE", limit=10)


def test_histories_are_read_page_by_page_and_nothing_is_left_out(world: World) -> None:
    """Entries of one instant too: an inventory tells of many banks at once."""
    world.rent()
    for minute in range(5):
        world.later(MINUTE)
        world.inventory("A", {2: ("A2", 80), 3: ("A3", 70)} if minute % 2 else {})
    whole = histories.station_history(world.session, "A", limit=1000)
    assert len(whole) > 12
    assert [entry.cursor for entry in whole] == sorted((entry.cursor for entry in whole), reverse=True)
    pages: list[histories.HistoryEntry] = []
    while page := histories.station_history(world.session, "A", limit=3, after=pages[-1].cursor if pages else None):
        pages += page
    assert [entry.id for entry in pages] == [entry.id for entry in whole]
    slot = histories.slot_history(world.session, "A", 1, limit=100)
    assert {entry.kind for entry in slot} == {"movement", "command"}
    with pytest.raises(SlotNotFound):
        histories.slot_history(world.session, "A", 9, limit=1)
