"""Rollouts: group by group, no faster than told, halted by themselves, and right about every station in the end."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from firmware_protocol.commands import EjectPowerBank
from firmware_protocol.messages import FirmwareProgress
from firmware_protocol.types import CommandOutcome
from fleet.common.errors import IllegalTransition
from fleet.common.models import OutboxEvent
from fleet.db import session_scope
from fleet.devices.commands import queue_command
from fleet.devices.configuration import groups
from fleet.devices.facts import DeviceFact
from fleet.devices.firmware import queries, releases, sweep
from fleet.devices.firmware.errors import NoTargets, ReleaseNotReady
from fleet.devices.firmware.models import (
    FirmwareRollout,
    FirmwareRolloutEvent,
    FirmwareRolloutTarget,
    RolloutState,
    TargetState,
)
from fleet.devices.firmware.rollouts import GroupSpec
from fleet.devices.firmware.rules import Action
from fleet.devices.models import CommandState, DeviceCommand
from fleet.stations.models import Station, StationSlot
from tests.databases import Database
from tests.fleet.devices.firmware.world import NEW, OLD, Scene
from tests.fleet.parallel import together

EVERYONE = GroupSpec("everyone", percent=100)
T = TargetState


@pytest.fixture
def scene(session: Session, now: datetime) -> Scene:
    return Scene(session, now)


def test_a_rollout_goes_through_its_groups(scene: Scene) -> None:
    stations = [scene.station(code) for code in "ABCDEF"]
    scene.station("X", hardware="OTHER")
    groups.put_group(scene.session, "canary", scene.now, description="", rank=0)
    groups.change_members(scene.session, "canary", add=["A", "X"])
    rollout = scene.rollout(
        GroupSpec("first", group="canary"),
        GroupSpec("named", stations=("B", "C"), starts_by_itself=True),
        GroupSpec("rest", percent=100),
    )
    assert [group.size for group, _ in queries.groups_of(scene.session, rollout.id)] == [1, 2, 3]
    scene.sweep()
    assert scene.states(rollout) == [T.OFFERED] + [T.WAITING] * 5
    scene.updates(stations[0])
    scene.sweep()
    assert rollout.current_group == 2
    scene.sweep()
    for station in stations[1:3]:
        scene.updates(station)
    scene.sweep()
    assert (scene.state(rollout), rollout.current_group) == (RolloutState.WAITING, 2)
    assert scene.steer(rollout, Action.NEXT_GROUP) is RolloutState.RUNNING
    scene.sweep()
    for station in stations[3:]:
        scene.updates(station)
    scene.sweep()
    assert (scene.state(rollout), scene.states(rollout)) == (RolloutState.COMPLETED, [T.UPDATED] * 6)
    assert scene.sweep() == 0


def test_percent_is_of_what_is_left_and_never_nothing(scene: Scene) -> None:
    for number in range(10):
        scene.station(f"S{number}")
    rollout = scene.rollout(GroupSpec("a", percent=1), GroupSpec("b", percent=50), EVERYONE, approve=False)
    assert [group.size for group, _ in queries.groups_of(scene.session, rollout.id)] == [1, 5, 4]
    assert scene.sweep() == 0  # a draft does nothing


def test_too_many_failures_halt_it_and_what_is_not_sent_stays_here(scene: Scene) -> None:
    stations = [scene.station(code) for code in "ABCDEF"]
    rollout = scene.rollout(EVERYONE, failure_pct=10, per_minute=30)
    for _ in range(3):
        scene.sweep()
    offered = [station for station in stations if scene.target(rollout, station).state is T.OFFERED]
    assert 3 <= len(offered) < 6
    scene.answers(offered[0], CommandOutcome.FAILED, "wrong_image")
    scene.sweep()
    assert (scene.state(rollout), rollout.reason) == (RolloutState.HALTED, "group 1 (everyone): 1 of 6 failed")
    assert scene.target(rollout, offered[0]).code == "wrong_image"
    assert scene.states(rollout).count(T.WAITING) == 5
    assert scene.offers(offered[1])[-1].state is CommandState.CANCELLED
    names = scene.session.scalars(select(OutboxEvent.name)).all()
    assert sorted(names) == ["devices.firmware_rollout_halted.v1", "devices.firmware_update_failed.v1"]
    scene.sweep()
    assert scene.states(rollout).count(T.WAITING) == 5
    # Looked at and gone on with: only a further failure halts it again.
    scene.steer(rollout, Action.RESUME)
    scene.sweep()
    assert scene.state(rollout) is RolloutState.RUNNING
    scene.answers(offered[1], CommandOutcome.FAILED, "wrong_image")
    scene.sweep()
    assert scene.state(rollout) is RolloutState.HALTED
    scene.steer(rollout, Action.RESUME, retry_failed=True)
    for _ in range(8):
        scene.sweep()
    assert scene.states(rollout) == [T.OFFERED] * 6
    assert scene.target(rollout, offered[0]).attempts == 2


def test_the_cabinets_word_is_not_enough(scene: Scene) -> None:
    station = scene.station("A")
    rollout = scene.rollout(EVERYONE, failure_pct=100)
    scene.sweep()
    scene.answers(station)
    scene.sweep()
    assert scene.target(rollout, station).state is T.STARTING
    scene.boots(station, OLD, cause="reconnect")  # the network, not a start
    scene.sweep()
    assert scene.target(rollout, station).state is T.STARTING
    scene.boots(station, OLD, cause="watchdog")
    scene.sweep()
    assert (scene.target(rollout, station).state, scene.target(rollout, station).code) == (
        T.FAILED, "booted_old_version",
    )  # fmt: skip


def test_a_device_that_is_back_after_its_deadline_counts_and_leaves_a_trail(scene: Scene) -> None:
    station = scene.station("A")
    rollout = scene.rollout(EVERYONE, failure_pct=0, device_deadline_s=60)
    scene.sweep()
    scene.answers(station)
    scene.sweep(timedelta(minutes=2))
    assert (scene.state(rollout), scene.states(rollout)) == (RolloutState.HALTED, [T.TIMED_OUT])
    scene.boots(station, NEW)
    scene.sweep()
    assert scene.states(rollout) == [T.UPDATED]
    trail = queries.events_of(scene.session, rollout.id, limit=50)
    moves = [(event.before, event.after, event.detail.get("late")) for event, code in trail if code == "A"][::-1]
    assert moves == [
        ("waiting", "offered", None), ("offered", "starting", None), ("starting", "timed_out", None),
        ("timed_out", "updated", True),
    ]  # fmt: skip
    scene.steer(rollout, Action.RESUME)
    scene.sweep()
    assert scene.state(rollout) is RolloutState.COMPLETED


def test_a_late_device_counts_even_when_the_rollout_is_over(scene: Scene) -> None:
    station = scene.station("A")
    rollout = scene.rollout(EVERYONE, failure_pct=0, device_deadline_s=60)
    scene.sweep()
    scene.answers(station)
    scene.sweep(timedelta(minutes=2))
    scene.steer(rollout, Action.ABORT)
    scene.boots(station, NEW)
    scene.sweep()
    assert scene.states(rollout) == [T.UPDATED]


@pytest.mark.parametrize("busy", ["eject", "held", "offline", "other"])
def test_only_idle_stations_are_told(scene: Scene, busy: str) -> None:
    station = scene.station("A")
    if busy == "eject":
        order = EjectPowerBank(slot=1)
        deadline = scene.now + timedelta(seconds=10)
        command = queue_command(scene.session, station_id=station, command=order, deadline=deadline, now=scene.now)
        command.state = CommandState.UNKNOWN
    elif busy == "held":
        slot = scene.session.scalars(select(StationSlot).where(StationSlot.station_id == station).limit(1)).one()
        slot.reserved_for = uuid4()
    elif busy == "offline":
        scene.session.get_one(Station, station).online = False
    else:
        scene.rollout(EVERYONE, release=scene.release(counter=8, version="1.2.0"))
        scene.sweep()
    scene.session.flush()
    rollout = scene.rollout(EVERYONE)
    scene.sweep()
    assert scene.states(rollout) == [T.WAITING]


def test_an_offer_that_was_never_sent_is_made_again(scene: Scene) -> None:
    station = scene.station("A")
    rollout = scene.rollout(EVERYONE, failure_pct=0)
    scene.sweep()
    scene.offers(station)[-1].state = CommandState.EXPIRED
    scene.sweep()
    assert scene.states(rollout) == [T.OFFERED]
    assert len(scene.offers(station)) == 2
    assert scene.state(rollout) is RolloutState.RUNNING


def test_a_station_that_has_it_already_is_not_told(scene: Scene) -> None:
    station = scene.station("A", firmware=NEW)
    rollout = scene.rollout(EVERYONE)
    scene.sweep()
    scene.sweep()
    assert (scene.states(rollout), scene.offers(station)) == ([T.UPDATED], [])
    assert scene.state(rollout) is RolloutState.COMPLETED


def test_no_faster_than_the_rate(scene: Scene) -> None:
    for number in range(10):
        scene.station(f"S{number}")
    rollout = scene.rollout(EVERYONE, per_minute=2)
    for _ in range(31):
        scene.sweep()
    assert scene.states(rollout).count(T.OFFERED) == 3


def test_pause_stops_and_abort_ends(scene: Scene) -> None:
    stations = [scene.station(code) for code in "AB"]
    rollout = scene.rollout(EVERYONE)
    scene.sweep()
    scene.answers(stations[0])
    assert scene.steer(rollout, Action.PAUSE) is RolloutState.PAUSED
    scene.sweep()
    assert scene.states(rollout) == [T.STARTING, T.WAITING]
    scene.steer(rollout, Action.RESUME)
    scene.sweep()
    scene.steer(rollout, Action.ABORT)
    assert scene.states(rollout) == [T.STARTING, T.SKIPPED]
    for action in Action:
        with pytest.raises(IllegalTransition):
            scene.steer(rollout, action)


def test_what_is_withdrawn_or_expired_halts(scene: Scene) -> None:
    scene.station("A")
    release = scene.release()
    rollout = scene.rollout(EVERYONE, release=release)
    releases.withdraw(scene.session, release.id)
    scene.sweep()
    assert (scene.state(rollout), rollout.reason) == (RolloutState.HALTED, "it was withdrawn")
    with pytest.raises(ReleaseNotReady):
        scene.steer(rollout, Action.RESUME)


def test_groups_that_make_no_sense_are_refused(scene: Scene) -> None:
    scene.station("A")
    scene.station("X", hardware="OTHER")
    for specs in (
        (GroupSpec("g", stations=("X",)),),
        (GroupSpec("g", stations=("NOBODY",)),),
        (EVERYONE, EVERYONE),
        (GroupSpec("a", stations=("A",)), GroupSpec("b", stations=("A",))),
    ):
        with pytest.raises(NoTargets):
            scene.rollout(*specs)
    rollout = scene.rollout(EVERYONE)
    with pytest.raises(NoTargets):
        scene.steer(rollout, Action.NEXT_GROUP)


def test_progress_is_shown_in_order_and_proves_nothing(scene: Scene) -> None:
    station = scene.station("A")
    rollout = scene.rollout(EVERYONE)
    scene.sweep()

    def says(phase: str, seq: int, version: str = NEW) -> bool:
        message = FirmwareProgress(version=version, phase=phase, progress_pct=5)
        fact = DeviceFact(
            station_id=station, station_code="A", boot=1, seq=seq, occurred_at=scene.now, received_at=scene.now,
            replayed=False, message=message,
        )  # fmt: skip
        return sweep.take_progress(scene.session, fact, message, scene.now)

    assert says("installing", 9)
    assert not says("downloading", 8)
    assert not says("done", 10, version="9.9.9")
    assert scene.target(rollout, station).phase == "installing"
    scene.sweep()
    assert scene.states(rollout) == [T.UPDATING]


def test_the_trail_cannot_be_changed(scene: Scene) -> None:
    scene.station("A")
    scene.rollout(EVERYONE)
    scene.session.flush()
    assert scene.session.scalars(select(FirmwareRolloutEvent)).all()
    with pytest.raises(IntegrityError, match="append-only"), scene.session.begin_nested():
        scene.session.execute(text("DELETE FROM firmware_rollout_event"))


def test_many_sweeps_and_operators_at_once_tell_each_station_once(clean_database: Database, now: datetime) -> None:
    with session_scope(clean_database.engine) as session:
        scene = Scene(session, now)
        for number in range(12):
            scene.station(f"S{number}")
        rollout_id = scene.rollout(EVERYONE).id

    def work(number: int) -> None:
        with session_scope(clean_database.engine) as session:
            if number % 4 == 3:
                queries.get_rollout(session, rollout_id, lock=True)
            sweep.sweep(session, now + timedelta(seconds=number), lambda *_: "http://image")

    assert together(12, work) == [None] * 12
    with session_scope(clean_database.engine) as session:
        per_station = session.scalars(select(DeviceCommand.station_id)).all()
        targets = session.scalars(select(FirmwareRolloutTarget.state)).all()
        assert len(per_station) == len(set(per_station)) == targets.count(T.OFFERED)
        assert session.get_one(FirmwareRollout, rollout_id).state is RolloutState.RUNNING
