"""Volinks cabinets through the gateway: every answer to an eject, every way of a return, and what is sent when."""

from datetime import datetime

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from device_gateway.received import Received
from device_gateway.replay import ReplayRefused
from device_gateway.replay import apply as replay_in
from firmware_protocol.commands import Reboot
from firmware_protocol.dialects.volinks import codec, commands
from firmware_protocol.dialects.volinks.boards import Board, Hole, Inventory
from firmware_protocol.dialects.volinks.frames import NamedFrame, PopByHoleResult, ReturnResult, WifiScan
from fleet.common.models import OutboxEvent
from fleet.devices import presence, profiles, silence
from fleet.devices.commands import queue_command
from fleet.devices.lockout import lock_out
from fleet.devices.models import CommandState, DeadLetter, DeviceCommand
from fleet.devices.presence import Habit
from fleet.devices.queries import frames_of_rental
from fleet.devices.vendor_models import DeviceProfile
from fleet.rentals.errors import StationOffline
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.starts.ejects import ask_inventory
from fleet.rentals.underway import deadlines
from fleet.settings import Settings
from fleet.stations.models import MovementKind, PowerBankMovement
from tests.device_gateway.volinks_world import BANKS, CODE, VolinksWorld
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND

#: The cabinet's word that nothing moved, which is not believed before it has been seen (volinks.md 5.3).
FAILED = (0x00, 0x87, 0x88, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF)
UNCERTAIN = (0x02, 0x03, 0x04, 0x05, 0x06, 0x08, 0x11, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24, 0x55)


CHECKS = (commands.Plain(commands.Word.CHECK), commands.Plain(commands.Word.CHECK_ALL))


def state_of(rental: Rental) -> RentalState:
    """As it is now, whatever was asserted of it before."""
    return rental.state


@pytest.fixture
def world(session: Session, engine: Engine, now: datetime) -> VolinksWorld:
    return VolinksWorld(session, engine, now)


def test_the_first_frame_opens_a_session_and_the_first_inventory_commissions(world: VolinksWorld) -> None:
    station = world.station()
    assert station.online
    assert [world.place(str(serial)) for serial in BANKS.values()] == ["V1", "V2", "V3"]
    assert {event.encoding for event in world.events()} == {3}


def test_a_pop_goes_out_by_serial_and_success_starts_the_rental(world: VolinksWorld) -> None:
    rental, command = world.ordered()
    assert world.pops == [10001001]
    world.later(SECOND)
    world.popped(10001001)
    assert (state_of(rental), command.state) == (RentalState.ACTIVE, CommandState.SUCCEEDED)
    assert rental.started_at == world.now
    assert world.place("10001001") is None
    world.check_everything()


@pytest.mark.parametrize("state", [*FAILED, *UNCERTAIN])
def test_any_other_answer_is_looked_into_before_anything_else_is_tried(world: VolinksWorld, state: int) -> None:
    rental, command = world.ordered()
    world.later(SECOND)
    world.popped(10001001, state)
    assert (state_of(rental), command.state) == (RentalState.EJECT_UNKNOWN, CommandState.UNKNOWN)
    assert world.money() == (4500, 500)
    world.later(4 * SECOND)
    assert world.claim() == []  # the cabinet tests its slot; and nothing else is tried meanwhile
    world.later(SECOND)
    assert world.claim()[0] in CHECKS
    world.slots_as_they_are()
    world.session.refresh(command)
    assert command.state is CommandState.FAILED
    # Seen in its slot, and the rider still waits: the next best bank.
    assert (state_of(rental), rental.slot_out) == (RentalState.EJECTING, 2)
    world.later(SECOND)
    world.claim()
    assert world.pops == [10001001, 10001002]
    world.popped(10001002)
    assert state_of(rental) is RentalState.ACTIVE
    assert world.place("10001001") == "V1"
    world.check_everything()


@pytest.mark.parametrize("state", [*FAILED, *UNCERTAIN])
def test_a_bank_that_left_all_the_same_is_the_riders(world: VolinksWorld, state: int) -> None:
    rental, command = world.ordered()
    world.popped(10001001, state)
    world.later(5 * SECOND)
    world.claim()
    world.slots_as_they_are(without=1)
    assert (state_of(rental), command.state) == (RentalState.ACTIVE, CommandState.SUCCEEDED)
    assert rental.started_at == command.sent_at
    assert world.pops == [10001001]
    world.check_everything()


def test_no_answer_is_looked_into_and_never_repeated(world: VolinksWorld) -> None:
    rental, command = world.ordered()
    for _ in range(25):
        world.later(SECOND)
        world.claim()
        deadlines.sweep_commands(world.session, world.now, world.policy)
    assert world.pops == [10001001]
    assert (state_of(rental), world.checks) == (RentalState.EJECT_UNKNOWN, 1)
    world.slots_as_they_are()
    assert (state_of(rental), command.state) == (RentalState.EJECT_FAILED, CommandState.FAILED)
    assert world.money() == (5000, 0)
    world.check_everything()


def test_what_was_asked_before_the_eject_timed_out_is_no_verdict(world: VolinksWorld) -> None:
    """The link stalls with an eject and a question in it: the cabinet pops, answers while its slot is tested and the
    bank still listed, and its result is lost.
    """
    rental, command = world.ordered()
    world.later(10 * SECOND)
    world.ask()
    world.later(9 * SECOND)
    deadlines.sweep_commands(world.session, world.now, world.policy)
    assert command.check_after == world.now + 5 * SECOND
    world.slots_as_they_are()
    assert (state_of(rental), command.state) == (RentalState.EJECT_UNKNOWN, CommandState.UNKNOWN)
    assert world.money() == (4500, 500)
    world.later(5 * SECOND)
    assert world.claim()[0] in CHECKS
    world.slots_as_they_are(without=1)
    assert (state_of(rental), command.state) == (RentalState.ACTIVE, CommandState.SUCCEEDED)
    world.check_everything()


def test_a_late_result_after_the_verdict_gives_the_rider_the_bank(world: VolinksWorld) -> None:
    rental, _ = world.ordered()
    world.later(19 * SECOND)
    deadlines.sweep_commands(world.session, world.now, world.policy)
    world.later(5 * SECOND)
    world.claim()
    world.slots_as_they_are()
    assert state_of(rental) is RentalState.EJECT_FAILED
    world.popped(10001001)
    assert state_of(rental) is RentalState.ACTIVE
    assert world.place("10001001") is None
    world.check_everything()


def test_a_result_told_twice_and_a_late_failure_change_nothing(world: VolinksWorld) -> None:
    rental, command = world.ordered()
    world.popped(10001001)
    started_at = rental.started_at
    world.later(SECOND)
    world.popped(10001001)
    world.popped(10001001, 0xFC)  # the second copy of a redelivered order: the bank is gone
    assert (state_of(rental), rental.started_at, command.state) == (
        RentalState.ACTIVE,
        started_at,
        CommandState.SUCCEEDED,
    )
    assert world.cases() == []
    world.later(5 * SECOND)
    assert world.claim() == [commands.Plain(commands.Word.CHECK)]  # contradictions are looked into
    world.slots_as_they_are(without=1)
    assert state_of(rental) is RentalState.ACTIVE
    world.check_everything()


def test_a_result_without_a_serial_is_of_the_eject_in_flight_and_no_proof(world: VolinksWorld) -> None:
    rental, _ = world.ordered()
    world.popped(0xFFFFFFFF)
    assert state_of(rental) is RentalState.EJECT_UNKNOWN
    world.later(5 * SECOND)
    world.claim()
    world.slots_as_they_are(without=1)
    assert state_of(rental) is RentalState.ACTIVE
    world.check_everything()


def test_a_bank_that_nobody_ordered_is_a_case(world: VolinksWorld) -> None:
    world.popped(10001003)
    assert [case.reason for case in world.cases()] == ["no_command"]
    world.check_everything()


def test_another_banks_result_is_not_taken_for_the_eject_in_flight(world: VolinksWorld) -> None:
    rental, command = world.ordered()
    world.popped(10001002)
    assert (state_of(rental), command.state) == (RentalState.EJECTING, CommandState.SENT)
    assert [case.reason for case in world.cases()] == ["no_command"]
    world.check_everything()


def test_a_result_by_hole_is_matched_by_its_hole(world: VolinksWorld) -> None:
    rental, _ = world.ordered()
    world.hear(PopByHoleResult(board=1, hole=2, state=1))
    assert state_of(rental) is RentalState.EJECTING
    world.hear(PopByHoleResult(board=1, hole=1, state=1))
    assert state_of(rental) is RentalState.ACTIVE


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("state", [0x00, 0x11, 0x12, 0x55, 0x87, 0x88, 0xFF])
def test_any_other_answer_by_hole_is_looked_into_too(world: VolinksWorld, state: int, *, left: bool) -> None:
    rental, command = world.ordered()
    world.hear(PopByHoleResult(board=1, hole=1, state=state))
    assert (state_of(rental), command.state, world.money()) == (
        RentalState.EJECT_UNKNOWN,
        CommandState.UNKNOWN,
        (4500, 500),
    )
    world.later(5 * SECOND)
    assert world.claim()[0] in CHECKS
    world.slots_as_they_are(without=1 if left else None)
    world.session.refresh(command)
    assert command.state is (CommandState.SUCCEEDED if left else CommandState.FAILED)
    assert state_of(rental) is (RentalState.ACTIVE if left else RentalState.EJECTING)
    assert world.place("10001001") == (None if left else "V1")
    world.check_everything()


def test_one_eject_at_a_time_and_five_seconds_between_two(world: VolinksWorld) -> None:
    world.ordered(slot=1)
    other = world.start(CODE, 2, rider=world.another_rider())
    assert world.claim() == []
    world.later(SECOND)
    world.popped(10001001)
    assert world.claim() == []
    world.later(3 * SECOND)
    assert world.claim() == []
    world.later(SECOND)
    world.claim()
    assert world.pops == [10001001, 10001002]
    world.popped(10001002)
    assert state_of(other) is RentalState.ACTIVE


def test_nothing_is_sent_to_a_cabinet_that_was_not_heard_of_within_a_heartbeat(world: VolinksWorld) -> None:
    world.later(11 * MINUTE)
    station = world.station()
    station.last_heard_at = world.now  # the rider's check is another one
    rental = world.start(CODE)
    assert world.claim() == []
    world.later(16 * SECOND)
    deadlines.sweep_commands(world.session, world.now, world.policy)
    assert state_of(rental) is RentalState.EJECT_FAILED
    assert world.money() == (5000, 0)
    world.beat()
    assert world.claim() == []  # nothing is left over for the cabinet that is back


def test_commands_without_an_answer_are_sent_once_and_done_with(world: VolinksWorld) -> None:
    station = world.stations[CODE]
    row = queue_command(
        world.session, station_id=station.id, command=Reboot(), deadline=world.now + MINUTE, now=world.now
    )
    assert world.claim() == [commands.Plain(commands.Word.REBOOT)]
    world.session.refresh(row)
    assert (row.state, row.code) == (CommandState.ABANDONED, "never_answered")


# Returns


def movements(world: VolinksWorld, serial: int) -> list[MovementKind]:
    bank = world.bank(str(serial))
    query = select(PowerBankMovement.kind).where(PowerBankMovement.power_bank_id == bank.id)
    return list(world.session.scalars(query.order_by(PowerBankMovement.id)))


def test_a_return_closes_the_rental_once_however_often_it_is_told(world: VolinksWorld) -> None:
    rental, _ = world.ordered()
    world.popped(10001001)
    back_at = world.later(HOUR)
    world.put_back(4, 10001001)
    assert (state_of(rental), rental.ended_at) == (RentalState.COMPLETED, back_at)
    charged = rental.charged_minor
    world.later(MINUTE)
    world.put_back(4, 10001001)
    world.found(4, 10001001)
    world.claim()
    banks = {2: (10001002, 80), 3: (10001003, 70), 4: (10001001, 40)}
    world.inventory_of(banks)
    assert (state_of(rental), rental.ended_at, rental.charged_minor) == (RentalState.COMPLETED, back_at, charged)
    assert movements(world, 10001001) == [MovementKind.FOUND, MovementKind.EJECTED, MovementKind.INSERTED]
    world.check_everything()


def test_a_return_found_by_the_self_test_is_at_the_earliest_time_it_can_have_been(world: VolinksWorld) -> None:
    rental, _ = world.ordered()
    world.popped(10001001)
    world.later(HOUR)
    world.claim()
    world.put_back(4, 0, 0x24)  # uncertain: the bank may be inside
    assert state_of(rental) is RentalState.ACTIVE
    world.later(5 * SECOND)
    world.claim()
    empty_at = world.now
    world.slots_as_they_are(without=1)  # it does not show yet
    assert state_of(rental) is RentalState.ACTIVE
    world.later(4 * MINUTE)
    world.found(4, 10001001)
    assert (state_of(rental), rental.ended_at) == (RentalState.COMPLETED, empty_at)
    world.check_everything()


def test_a_late_repetition_of_a_return_does_not_end_the_next_rental(world: VolinksWorld) -> None:
    rental, _ = world.ordered()
    world.popped(10001001)
    world.later(HOUR)
    world.put_back(1, 10001001, charge=95)
    again = world.start(CODE, 1, rider=world.another_rider())
    world.claim()
    world.later(SECOND)
    world.popped(10001001)
    assert (state_of(rental), state_of(again)) == (RentalState.COMPLETED, RentalState.ACTIVE)
    world.put_back(1, 10001001, charge=95)
    assert state_of(again) is RentalState.ACTIVE
    world.later(5 * SECOND)
    world.claim()
    world.slots_as_they_are(without=1)
    assert state_of(again) is RentalState.ACTIVE
    world.check_everything()


@pytest.mark.parametrize("state", [0x00, 0x02, 0x11, 0x24])
def test_an_uncertain_return_is_decided_by_an_inventory(world: VolinksWorld, state: int) -> None:
    rental, _ = world.ordered()
    world.popped(10001001)
    world.later(HOUR)
    world.put_back(4, 0 if state == 0x11 else 10001001, state)
    assert state_of(rental) is RentalState.ACTIVE
    world.later(5 * SECOND)
    world.claim()
    world.inventory_of({2: (10001002, 80), 3: (10001003, 70), 4: (10001001, 40)})
    assert state_of(rental) is RentalState.COMPLETED
    world.check_everything()


# Inventories


def test_an_inventory_that_was_on_its_way_undoes_nothing_newer(world: VolinksWorld) -> None:
    """Two gateways: one holds the answer to a check while the other takes a return."""
    rental, _ = world.ordered()
    world.popped(10001001)
    world.later(HOUR)
    world.beat()
    world.ask()
    world.later(SECOND)
    world.put_back(4, 10001001)
    world.later(SECOND)
    world.slots_as_they_are(without=1)  # taken before the return, stored after it
    assert state_of(rental) is RentalState.COMPLETED
    assert world.place("10001001") == "V4"
    assert world.cases() == []
    world.check_everything()


def test_an_inventory_that_nobody_asked_for_moves_nothing_and_is_asked_for(world: VolinksWorld) -> None:
    world.inventory_of({})
    assert world.place("10001001") == "V1"
    world.later(SECOND)
    assert world.claim() == [commands.Plain(commands.Word.CHECK)]
    world.inventory_of({2: (10001002, 80), 3: (10001003, 70)})
    assert world.place("10001001") is None
    assert [case.reason for case in world.cases()] == ["vanished"]


def test_another_layout_is_refused_and_told_once(world: VolinksWorld) -> None:
    world.ask()
    world.inventory_of({}, holes=3)
    world.inventory_of({}, holes=3)
    profile = world.session.scalars(select(DeviceProfile)).one()
    assert profile.layout == [[1, 2, 3, 4]]
    assert profile.stale_since == world.now
    assert world.place("10001001") == "V1"
    letters = world.session.scalars(select(DeadLetter)).all()
    assert [(each.error_code, each.station_code) for each in letters] == [("layout_changed", CODE)]
    told = world.session.scalars(select(OutboxEvent.name).where(OutboxEvent.name.like("devices.Inventory%"))).all()
    assert told == ["devices.InventoryRefused.v1"]
    world.slots_as_they_are()
    world.session.refresh(profile)
    assert profile.stale_since is None


def test_part_of_a_cabinet_proves_nothing_about_the_rest(world: VolinksWorld) -> None:
    profiles.forget_layout(world.session, world.stations[CODE].id)
    world.ask()
    world.inventory_of({2: (10001002, 60)}, holes=3)  # of four
    assert world.place("10001001") == "V1"
    assert world.session.scalars(select(DeviceProfile)).one().layout is None


CHECK, CHECK_ALL = CHECKS


def test_a_cabinet_that_tells_part_is_asked_for_all_and_commissioned_by_that(world: VolinksWorld) -> None:
    profiles.forget_layout(world.session, world.stations[CODE].id)
    world.ask()
    world.inventory_of({1: (10001001, 90), 2: (10001002, 80), 3: (10001003, 70)}, holes=3)  # its fullest, of four
    world.later(SECOND)
    assert world.claim() == [CHECK_ALL]
    world.slots_as_they_are()
    profile = world.session.scalars(select(DeviceProfile)).one()
    assert (profile.revision, profile.layout) == ("old", [[1, 2, 3, 4]])
    world.later(MINUTE)
    ask_inventory(world.session, world.stations[CODE].id, world.policy, world.now)
    assert world.claim() == [CHECK_ALL]


def test_a_refused_check_is_put_the_other_way_the_next_time_and_back_again(world: VolinksWorld) -> None:
    """Old cabinets with five banks in holes that do not follow each other: their `check` cannot be read at all."""
    station = world.stations[CODE]
    asked: list[commands.DownCommand] = []
    for _ in range(3):
        world.beat()
        ask_inventory(world.session, station.id, world.policy, world.now)
        asked += world.claim()
        world.inventory_of({1: (10001001, 90)}, holes=2)  # not the layout it was commissioned with
        world.later(2 * MINUTE)
        deadlines.sweep_commands(world.session, world.now, world.policy)
    assert asked == [CHECK, CHECK_ALL, CHECK]
    profiles.set_revision(world.session, station.id, "new")
    world.beat()
    ask_inventory(world.session, station.id, world.policy, world.now)
    assert world.claim() == [CHECK]


def test_holes_are_numbered_over_boards_and_a_faulty_one_gives_no_bank(world: VolinksWorld) -> None:
    profiles.forget_layout(world.session, world.stations[CODE].id)
    world.ask()
    empty = Hole(hole=31, state=0)
    one = Board(address=0x10, holes=(Hole(hole=1, state=1, sn=10001001, soc_raw=90), Hole(hole=2, state=0)))
    two = Board(address=0x60, holes=(empty, Hole(hole=32, state=4, sn=10001003, soc_raw=255)))
    world.hear(Inventory(boards=(one, two)))
    assert (world.place("10001001"), world.place("10001003")) == ("V1", "V4")
    assert world.slot(CODE, 4).fault == "jam"
    assert world.bank("10001003").charge_pct == 70  # 255 is no charge
    world.later(MINUTE)
    world.put_back(31, 10001002)
    assert world.place("10001002") == "V3"


def test_the_sessions_begin_anew_after_the_cabinet_called_connect(world: VolinksWorld) -> None:
    before = {event.boot for event in world.events()}
    profile = world.session.scalars(select(DeviceProfile)).one()
    profile.connected_at = world.now
    world.session.flush()
    world.later(SECOND)
    world.beat()
    assert world.claim() == [commands.Plain(commands.Word.CHECK)]
    world.slots_as_they_are()
    boots = {event.boot for event in world.events()}
    assert (len(before), len(boots)) == (1, 2)


def fall_silent(world: VolinksWorld) -> None:
    world.later(21 * MINUTE)
    presence.gateway_beat(
        world.session,
        name="gateway-one",
        started_at=world.now,
        connected_since=world.now - 2 * HOUR,
        now=world.now,
    )
    presence.learn(world.session, [Habit(world.stations[CODE].id, 600.0, 1290.0, None)])
    world.later(2 * MINUTE)
    presence.gateway_beat(
        world.session, name="gateway-one", started_at=world.now, connected_since=world.now - 2 * HOUR, now=world.now
    )
    assert silence.mark_silent(world.session, world.now, 2.5) == [world.stations[CODE].id]
    world.session.expire_all()
    assert not world.station().online


def test_after_a_silence_the_second_word_brings_it_back_and_it_is_asked_for_that(world: VolinksWorld) -> None:
    """It may be the last heartbeat of a cabinet that is going down; the next one comes in ten minutes."""
    fall_silent(world)
    world.later(MINUTE)
    boots = {event.boot for event in world.events()}
    world.beat()
    assert not world.station().online
    assert world.claim() == []
    world.later(6 * SECOND)
    assert world.claim() == [CHECK]
    world.slots_as_they_are()
    assert world.station().online
    assert {event.boot for event in world.events()} == boots  # the same session goes on
    rental, _ = world.ordered()
    world.popped(10001001)
    assert state_of(rental) is RentalState.ACTIVE


def test_a_cabinet_that_is_locked_out_is_away_at_once_and_until_it_is_readmitted(world: VolinksWorld) -> None:
    """Its own silence would show in 22 minutes, and riders would be sent there meanwhile."""
    rental, _ = world.ordered()
    world.popped(10001001)
    world.later(HOUR)
    lock_out(world.session, world.station().id, "stolen", world.now)
    assert (world.station().online, world.station().offline_cause) == (False, "revoked")
    world.beat()  # was on its way when the broker cut it
    world.put_back(1, 10001001)  # this one too: the rider has nothing to do with it
    assert state_of(rental) is RentalState.COMPLETED
    assert not world.station().online
    with pytest.raises(StationOffline):
        world.start(CODE)
    profiles.readmit(world.session, world.station().id)
    world.later(MINUTE)
    world.beat()
    assert world.station().online
    world.later(SECOND)
    assert world.claim() == [CHECK]


def test_after_a_silence_nothing_else_is_sent_before_the_second_word(world: VolinksWorld) -> None:
    fall_silent(world)
    world.beat()
    queue_command(
        world.session,
        station_id=world.stations[CODE].id,
        command=Reboot(),
        deadline=world.now + MINUTE,
        now=world.now,
    )
    world.later(6 * SECOND)
    assert world.claim() == [CHECK]


def test_what_is_told_with_the_first_word_after_a_silence_counts(world: VolinksWorld) -> None:
    rental, _ = world.ordered()
    world.popped(10001001)
    fall_silent(world)
    world.put_back(4, 10001001)
    assert state_of(rental) is RentalState.COMPLETED
    assert not world.station().online
    world.check_everything()


def test_a_cabinet_that_restarted_in_its_silence_is_back_at_once(world: VolinksWorld) -> None:
    fall_silent(world)
    profile = world.session.scalars(select(DeviceProfile)).one()
    profile.connected_at = world.now
    world.session.flush()
    world.beat()
    assert world.station().online


def test_garbage_becomes_dead_letters_with_its_bytes(world: VolinksWorld) -> None:
    world.hear(bytes.fromhex("a8000540ff"))
    world.hear(b"\x00" * 40)
    letters = world.session.scalars(select(DeadLetter).order_by(DeadLetter.id)).all()
    assert [(each.error_code, bytes(each.payload)[:4].hex()) for each in letters] == [
        ("checksum", "a8000540"),
        ("head", "00000000"),
    ]


def test_a_frame_that_changes_nothing_is_counted_and_kept(world: VolinksWorld) -> None:
    before = len(world.events())
    done = world.hear(NamedFrame(command=0x18, data=b"\x09"))
    done.add(world.hear(WifiScan(data=b'["Cafe, upstairs","Guest"]')))
    assert done.tally.applied["frame_noted"] == 2
    assert not done.tally.dead
    kept = world.events()[before:]
    assert [bytes(each.raw)[3] for each in kept] == [0x18, 0xCF]
    assert [(each.message or {})["what"] for each in kept] == ["0x18 4G heartbeat frequency", "wifi_scan"]
    assert (kept[1].message or {})["details"] == ["Cafe, upstairs", "Guest"]
    assert world.claim() == []


def test_a_queued_eject_is_not_sent_by_two_gateways(world: VolinksWorld) -> None:
    world.start(CODE)
    world.claim()
    world.claim()
    assert world.pops == [10001001]
    assert len(world.session.scalars(select(DeviceCommand).where(DeviceCommand.kind == "eject_power_bank")).all()) == 1


def test_the_trace_of_a_rental_shows_frames_and_what_they_were_read_as(world: VolinksWorld) -> None:
    rental, command = world.ordered()
    world.popped(10001001)
    frames = frames_of_rental(world.session, rental.id)
    assert [(each.sent, each.type) for each in frames] == [(True, "eject_power_bank"), (False, "command_result")]
    assert frames[0].body["cmd"] == "popup_sn"
    assert frames[1].body["hex"].startswith("a8000c31")
    assert frames[1].body["read_as"]["command_id"] == str(command.id)


def test_a_replayed_frame_has_the_cabinet_asked_instead(world: VolinksWorld) -> None:
    world.hear(bytes.fromhex("a8000540ff"))
    letter = world.session.scalars(select(DeadLetter)).one()
    rental, _ = world.ordered()
    world.popped(10001001)
    good = codec.encode_up(ReturnResult(board=1, hole=1, area=0, sn=10001001, state=1))
    received = Received(letter.topic, good, None, 0, 0, 0, world.now.timestamp())
    replay_in(world.session, received, world.nobody, Settings(), world.now)
    assert state_of(rental) is RentalState.ACTIVE
    assert world.claim()[0] in CHECKS
    bad = Received(letter.topic, bytes(letter.payload), None, 0, 0, 0, world.now.timestamp())
    with pytest.raises(ReplayRefused, match="checksum"):
        replay_in(world.session, bad, world.nobody, Settings(), world.now)
