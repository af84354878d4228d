"""Every code with which a Volinks cabinet can answer an eject: what becomes of rider, money and slot.

A cabinet and a rider for each, all at once: each waits some seconds for the look into the slots that decides.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import pytest

from firmware_protocol.dialects.volinks.codes import PopOutcome, pop_outcome
from simulators.faults import Fault, FaultKind
from simulators.spec import Kind, StationSpec
from simulators.testing import FleetThread
from tests.system.clients import Rider
from tests.system.system import System
from tests.system.vendors import cabinets, powered_on
from tests.system.waiting import until

#: Codes of both guides (volinks.md 5.3), and one of neither.
STAYED: Final = (
    0x00, 0x02, 0x03, 0x04, 0x05, 0x06, 0x08, 0x11, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24, 0x55,
    0x87, 0x88, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF,
)  # fmt: skip
#: One that says no, one that says either, one that an earlier copy of the order explains; and plain success.
LEFT: Final = (0x00, 0x12, 0xFC, 0x01)
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Story:
    state: int
    moves: bool
    station: StationSpec
    rider: Rider
    #: As the start was answered.
    rental: Any

    @property
    def id(self) -> str:
        return str(self.rental["id"])


@pytest.fixture(scope="module")
def fleet(whole: System) -> Iterator[FleetThread]:
    with powered_on(whole, cabinets(Kind.VOLINKS, len(STAYED) + len(LEFT), 81, "POP")) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def stories(whole: System, fleet: FleetThread) -> dict[tuple[int, bool], Story]:
    """All begun."""
    cases = [*((state, False) for state in STAYED), *((state, True) for state in LEFT)]

    def begin(case: tuple[tuple[int, bool], StationSpec]) -> Story:
        (state, moves), station = case
        fault = Fault(kind=FaultKind.RESULT_CODE, count=1, result=state, moves=moves)
        fleet.add_fault(station.code, fault)
        rider = Rider(whole).sign_up()
        rider.top_up(5000)
        return Story(state, moves, station, rider, rider.start(station.code))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        begun = list(pool.map(begin, zip(cases, fleet.spec.stations, strict=True)))
    return {(story.state, story.moves): story for story in begun}


def _wallet(story: Story) -> tuple[int, int]:
    """Balance and held, in cents."""
    wallet = story.rider.wallet()
    return wallet["balance"]["amount_minor"], wallet["held"]["amount_minor"]


def _states(system: System, story: Story) -> list[str]:
    query = "SELECT to_state FROM rental_event WHERE rental_id = CAST(:id AS uuid) ORDER BY id"
    return [row[0] for row in system.rows(query, id=story.id)]


def _ejects(system: System, story: Story) -> int:
    query = "SELECT count(*) FROM device_command WHERE rental_id = CAST(:id AS uuid) AND kind = 'eject_power_bank'"
    return int(system.scalar(query, id=story.id))


def _slots_agree(system: System, fleet: FleetThread, story: Story) -> bool:
    """Our books show every slot as it really is, and none is reserved."""
    query = (
        "SELECT s.number, b.serial FROM station_slot s JOIN station t ON t.id = s.station_id"
        " LEFT JOIN power_bank b ON b.id = s.power_bank_id WHERE t.code = :code AND s.reserved_for IS NULL"
    )
    believed = {number: serial for number, serial in system.rows(query, code=story.station.code)}  # noqa: C416  # rows are no pairs to dict()
    true = fleet.on(
        story.station.code, lambda d: {s.number: s.bank.serial if s.bank else None for s in d.cabinet.board.slots}
    )
    return believed == true


def _wait_for_slots(system: System, fleet: FleetThread, story: Story) -> None:
    until(lambda: _slots_agree(system, fleet, story), f"slots of {story.station.code} are as they are", 60)


def _another_free_slot(fleet: FleetThread, story: Story, slot: int) -> int:
    """In its own one again at once it would not have been taken at all."""
    return fleet.on(
        story.station.code,
        lambda d: next(s.number for s in d.cabinet.board.slots if s.bank is None and s.number != slot),
    )


def _moves(fleet: FleetThread, story: Story) -> int:
    return fleet.on(story.station.code, lambda d: d.cabinet.executor.moves)


@pytest.mark.parametrize("state", STAYED)
def test_a_bank_that_stayed_costs_nothing(
    whole: System, fleet: FleetThread, stories: dict[tuple[int, bool], Story], state: int
) -> None:
    """Neither a plain failure nor a riddle is believed before the slots were looked into. (What must hold of the whole
    system is looked at after the last test.)
    """
    assert pop_outcome(state) is not PopOutcome.DISPENSED
    story = stories[state, False]
    ended = story.rider.wait_state(story.id, "eject_failed", timeout_s=60)
    assert (ended["charged"]["amount_minor"], ended["due"]["amount_minor"]) == (0, 0)
    assert _wallet(story) == (5000, 0)
    assert "eject_unknown" in _states(whole, story)
    _wait_for_slots(whole, fleet, story)
    assert (_moves(fleet, story), _ejects(whole, story)) == (0, 1)


def test_a_bank_that_left_is_the_riders_whatever_the_code_says(
    system: System, fleet: FleetThread, stories: dict[tuple[int, bool], Story]
) -> None:
    for state in LEFT:
        story = stories[state, True]
        active = story.rider.wait_state(story.id, "active", timeout_s=60)
        assert active["power_bank"] in fleet.banks_out(), state
        assert _wallet(story) == (5000, 1000), state
        _wait_for_slots(system, fleet, story)
        assert (_moves(fleet, story), _ejects(system, story)) == (1, 1), state
        slot = _another_free_slot(fleet, story, active["slot_out"])
        fleet.insert(story.station.code, active["power_bank"], slot=slot)
    for state in LEFT:
        story = stories[state, True]
        done = story.rider.wait_state(story.id, "completed", timeout_s=60)
        assert done["charged"]["amount_minor"] == 150, state
        assert _wallet(story) == (4850, 0), state
