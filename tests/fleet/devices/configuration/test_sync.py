"""From what operators want to what cabinets have, whoever else changes it, restarts or speaks late meanwhile."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from firmware_protocol.commands import GetConfig, SetConfig
from firmware_protocol.messages import CommandResult, ConfigReport, EventMessage
from firmware_protocol.types import CommandOutcome
from fleet.db import session_scope
from fleet.devices.commands import command_of, settle_command
from fleet.devices.configuration import groups, layers, reports, sync
from fleet.devices.configuration.errors import ConfigChanged, GroupInUse, GroupNotFound, InvalidConfig, LayerNotFound
from fleet.devices.configuration.models import ConfigScope, DeviceConfig
from fleet.devices.configuration.reports import BootWord
from fleet.devices.configuration.rules import merge
from fleet.devices.facts import DeviceFact
from fleet.devices.models import CommandState, DeviceCommand
from fleet.stations.errors import StationNotFound
from fleet.stations.models import Station
from tests.databases import Database
from tests.factories import add_station
from tests.fleet.parallel import together

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class Scene:
    """Operators, the sweep, and cabinets that answer as they are told to."""

    def __init__(self, session: Session, now: datetime) -> None:
        self.session = session
        self.now = now
        self.seq = 0

    def station(self, code: str, **spec: Any) -> int:
        return add_station(self.session, self.now, code, **spec).id

    def row(self, station: int) -> DeviceConfig:
        return self.session.get_one(DeviceConfig, station, populate_existing=True)

    def sweep(self, after: timedelta = SECOND) -> sync.Synced:
        self.now += after
        return sync.sweep(self.session, self.now)

    def orders(self, station: int) -> Sequence[DeviceCommand]:
        query = select(DeviceCommand).where(DeviceCommand.station_id == station).order_by(DeviceCommand.id)
        return self.session.scalars(query.execution_options(populate_existing=True)).all()

    def last_order(self, station: int) -> SetConfig:
        command = command_of(self.orders(station)[-1])
        assert isinstance(command, SetConfig)
        return command

    def answer(self, station: int, outcome: CommandOutcome, code: str | None = None) -> None:
        row = self.orders(station)[-1]
        row.state = CommandState.SENT
        result = CommandResult(command_id=str(row.id), outcome=outcome, code=code)
        settle_command(self.session, str(row.id), result, self.now)

    def report(self, station: int, version: int, values: dict[str, Any], *, boot: int = 1, seq: int = 0) -> bool:
        self.seq += 1
        message = ConfigReport(version=version, values=values)
        return reports.take_report(self.session, self.fact(station, message, boot, seq or self.seq), message, self.now)

    def fact(self, station: int, message: EventMessage, boot: int, seq: int) -> DeviceFact:
        return DeviceFact(
            station_id=station, station_code="?", boot=boot, seq=seq, occurred_at=self.now, received_at=self.now,
            replayed=False, message=message,
        )  # fmt: skip

    def carries_out(self, station: int, *, boot: int = 1) -> None:
        """As a cabinet that does what it is told."""
        order = self.last_order(station)
        self.report(station, order.version, {k: v for k, v in order.values.items() if v is not None}, boot=boot)
        self.answer(station, CommandOutcome.SUCCEEDED)


@pytest.fixture
def scene(session: Session, now: datetime) -> Scene:
    return Scene(session, now)


def put(scene: Scene, scope: ConfigScope, name: str, **values: Any) -> int:
    return layers.put_layer(scene.session, scope, name, values, scene.now).version


def test_layers_reach_their_stations_and_are_put_together(scene: Scene) -> None:
    one, other = scene.station("A", hardware_model="CAB8"), scene.station("B")
    groups.put_group(scene.session, "airport", scene.now, description="", rank=1)
    groups.change_members(scene.session, "airport", add=["A"])
    put(scene, ConfigScope.DIALECT, "native", volume_pct=10, language="en")
    put(scene, ConfigScope.MODEL, "CAB8", volume_pct=20, night_mode=True)
    put(scene, ConfigScope.GROUP, "airport", volume_pct=30)
    layers.set_overrides(scene.session, "A", {"language": "de"}, scene.now)
    assert scene.sweep() == sync.Synced(recomputed=2, sent=2)
    assert scene.last_order(one).values == {"volume_pct": 30, "language": "de", "night_mode": True}
    assert scene.last_order(other).values == {"volume_pct": 10, "language": "en"}
    assert scene.sweep() == sync.Synced(0, 0)
    for station in (one, other):
        scene.carries_out(station)
        row = scene.row(station)
        assert (row.accepted_version, row.drifted) == (row.version, False)
    assert scene.sweep(MINUTE) == sync.Synced(0, 0)


def test_the_higher_rank_wins_and_membership_counts_at_once(scene: Scene) -> None:
    station = scene.station("A")
    for name, rank, volume in (("low", 1, 10), ("high", 2, 20)):
        groups.put_group(scene.session, name, scene.now, description="", rank=rank)
        groups.change_members(scene.session, name, add=["A"])
        put(scene, ConfigScope.GROUP, name, volume_pct=volume)
    scene.sweep()
    assert scene.last_order(station).values == {"volume_pct": 20}
    scene.carries_out(station)
    groups.put_group(scene.session, "low", scene.now, description="", rank=3)
    scene.sweep()
    assert scene.last_order(station).values == {"volume_pct": 10}
    scene.carries_out(station)
    assert groups.change_members(scene.session, "low", remove=["A"]) == 0
    scene.sweep()
    assert scene.last_order(station).values == {"volume_pct": 20}


def test_what_is_taken_away_is_given_back_to_the_cabinet(scene: Scene) -> None:
    station = scene.station("A")
    put(scene, ConfigScope.DIALECT, "native", volume_pct=10)
    scene.sweep()
    scene.carries_out(station)
    layers.delete_layer(scene.session, ConfigScope.DIALECT, "native")
    scene.sweep()
    assert scene.last_order(station) == SetConfig(version=2, values={"volume_pct": None})
    scene.carries_out(station)
    assert not scene.row(station).drifted


def test_an_offline_station_is_told_when_it_is_back(scene: Scene) -> None:
    station = scene.station("A", online=False)
    put(scene, ConfigScope.DIALECT, "native", volume_pct=10)
    assert scene.sweep().sent == 0
    scene.session.get_one(Station, station).online = True
    reports.booted(scene.session, [BootWord(station, 4, 0, updated=False)])
    assert reports.wanted_versions(scene.session, [station]) == {station: 1}
    assert scene.sweep().sent == 1


def test_a_restart_in_the_middle_of_a_change_is_noticed(scene: Scene) -> None:
    station = scene.station("A")
    layers.set_overrides(scene.session, "A", {"volume_pct": 10}, scene.now)
    scene.sweep()
    scene.carries_out(station)
    layers.set_overrides(scene.session, "A", {"volume_pct": 20}, scene.now)
    scene.sweep()
    scene.carries_out(station)
    # The flash had not taken it: the next start has version 1 again.
    reports.booted(scene.session, [BootWord(station, 2, 1, updated=False)])
    assert scene.row(station).accepted_version == 1
    assert scene.sweep().sent == 1
    assert scene.last_order(station) == SetConfig(version=2, values={"volume_pct": 20})


def test_a_silent_command_is_sent_again_ever_more_slowly(scene: Scene) -> None:
    station = scene.station("A")
    put(scene, ConfigScope.DIALECT, "native", volume_pct=10)
    scene.sweep()
    sent = 1
    for wait in (30, 60, 120):
        scene.orders(station)[-1].state = CommandState.UNKNOWN
        assert scene.sweep(timedelta(seconds=wait - 2)).sent == 0
        assert scene.sweep(timedelta(seconds=3)).sent == 1
        sent += 1
    assert len({row.id for row in scene.orders(station)}) == sent


def test_a_newer_version_replaces_one_that_was_not_sent_yet(scene: Scene) -> None:
    station = scene.station("A")
    layers.set_overrides(scene.session, "A", {"volume_pct": 10}, scene.now)
    scene.sweep()
    layers.set_overrides(scene.session, "A", {"volume_pct": 20}, scene.now)
    assert scene.sweep().sent == 1
    first, second = scene.orders(station)
    assert (first.state, second.state) == (CommandState.CANCELLED, CommandState.QUEUED)


def test_a_newer_version_waits_for_the_answer_to_one_that_was_sent(scene: Scene) -> None:
    station = scene.station("A")
    layers.set_overrides(scene.session, "A", {"volume_pct": 10}, scene.now)
    scene.sweep()
    scene.orders(station)[-1].state = CommandState.SENT
    layers.set_overrides(scene.session, "A", {"volume_pct": 20}, scene.now)
    assert scene.sweep().sent == 0
    scene.carries_out(station)
    assert scene.sweep().sent == 1
    assert scene.last_order(station).version == 2


def test_a_refusal_keeps_its_reason_and_is_not_repeated(scene: Scene) -> None:
    station = scene.station("A")
    layers.set_overrides(scene.session, "A", {"volume_pct": 10}, scene.now)
    scene.sweep()
    scene.answer(station, CommandOutcome.INVALID, "bad_value")
    scene.sweep()
    row = scene.row(station)
    assert (row.refused_version, row.refused_code) == (1, "bad_value")
    assert scene.sweep(timedelta(days=1)).sent == 0
    # Another firmware may take it.
    reports.booted(scene.session, [BootWord(station, 2, 0, updated=True)])
    assert scene.sweep().sent == 1
    scene.answer(station, CommandOutcome.UNSUPPORTED)
    scene.sweep()
    assert scene.row(station).refused_code == "unsupported"
    layers.set_overrides(scene.session, "A", {"volume_pct": 15}, scene.now)
    assert scene.sweep().sent == 1
    assert scene.row(station).refused_version is None


def test_a_late_older_report_never_wins(scene: Scene) -> None:
    station = scene.station("A")
    layers.set_overrides(scene.session, "A", {"volume_pct": 20}, scene.now)
    scene.sweep()
    assert scene.report(station, 1, {"volume_pct": 20}, boot=2, seq=7)
    for boot, seq in ((2, 6), (2, 7), (1, 900)):
        assert not scene.report(station, 0, {"volume_pct": 5}, boot=boot, seq=seq)
    row = scene.row(station)
    assert (row.accepted_version, row.reported) == (1, {"volume_pct": 20})
    # Nor does a reconnect of the same boot, nor an older boot's word.
    reports.booted(scene.session, [BootWord(station, 2, 0, updated=False)])
    assert scene.row(station).accepted_version == 1


def test_a_cabinet_that_is_ahead_lifts_the_version(scene: Scene) -> None:
    """A restored backup, or a cabinet that came from another fleet."""
    station = scene.station("A")
    layers.set_overrides(scene.session, "A", {"volume_pct": 20}, scene.now)
    reports.booted(scene.session, [BootWord(station, 2, 40, updated=False)])
    scene.sweep()
    assert scene.last_order(station).version > 40


def test_old_version_makes_us_ask_what_it_has(scene: Scene) -> None:
    station = scene.station("A")
    layers.set_overrides(scene.session, "A", {"volume_pct": 20}, scene.now)
    scene.sweep()
    scene.answer(station, CommandOutcome.INVALID, "old_version")
    scene.sweep()
    assert isinstance(command_of(scene.orders(station)[-1]), GetConfig)
    scene.report(station, 9, {"volume_pct": 5})
    assert scene.sweep().sent == 1
    assert scene.last_order(station) == SetConfig(version=10, values={"volume_pct": 20})


def test_a_cabinet_that_changes_its_mind_shows_as_drift(scene: Scene) -> None:
    station = scene.station("A")
    layers.set_overrides(scene.session, "A", {"volume_pct": 20}, scene.now)
    scene.sweep()
    scene.carries_out(station)
    scene.report(station, 1, {"volume_pct": 55})
    assert scene.row(station).drifted
    scene.report(station, 1, {"volume_pct": 20, "log_kib": 64})
    assert not scene.row(station).drifted


def test_a_report_of_a_station_nobody_configures_is_kept(scene: Scene) -> None:
    station = scene.station("A")
    scene.report(station, 7, {"volume_pct": 55})
    row = scene.row(station)
    assert (row.version, row.accepted_version, row.drifted) == (7, 7, False)
    assert scene.sweep(MINUTE).sent == 0


def test_more_keys_than_a_cabinet_takes_are_not_sent(scene: Scene) -> None:
    station = scene.station("A", hardware_model="CAB8")
    for scope, name in ((ConfigScope.DIALECT, "native"), (ConfigScope.MODEL, "CAB8")):
        put(scene, scope, name, **{f"x_{scope}_{number}": 1 for number in range(64)})
    layers.set_overrides(scene.session, "A", {"volume_pct": 1}, scene.now)
    assert scene.sweep().sent == 0
    assert scene.row(station).refused_code == "too_many_keys"


def test_an_operator_who_saw_an_older_version_is_refused(scene: Scene) -> None:
    scene.station("A")
    assert put(scene, ConfigScope.DIALECT, "native", volume_pct=1) == 1
    layer = layers.put_layer(
        scene.session, ConfigScope.DIALECT, "native", {"volume_pct": 2}, scene.now, expected_version=1
    )
    assert layer.version == 2
    for expected in (0, 1):
        with pytest.raises(ConfigChanged):
            layers.put_layer(scene.session, ConfigScope.DIALECT, "native", {}, scene.now, expected_version=expected)
    layers.set_overrides(scene.session, "A", {"volume_pct": 1}, scene.now, expected_version=0)
    with pytest.raises(ConfigChanged):
        layers.set_overrides(scene.session, "A", {"volume_pct": 9}, scene.now, expected_version=0)


def test_what_makes_no_sense_is_refused_and_changes_nothing(scene: Scene) -> None:
    scene.station("A")
    with pytest.raises(InvalidConfig):
        put(scene, ConfigScope.DIALECT, "native", volume_pct=101)
    with pytest.raises(GroupNotFound):
        put(scene, ConfigScope.GROUP, "nobody", volume_pct=1)
    with pytest.raises(StationNotFound):
        layers.set_overrides(scene.session, "Z", {}, scene.now)
    with pytest.raises(LayerNotFound):
        layers.delete_layer(scene.session, ConfigScope.MODEL, "CAB8")
    groups.put_group(scene.session, "g", scene.now, description="", rank=0)
    with pytest.raises(StationNotFound):
        groups.change_members(scene.session, "g", add=["A", "Z"])
    put(scene, ConfigScope.GROUP, "g", volume_pct=1)
    with pytest.raises(GroupInUse):
        groups.delete_group(scene.session, "g")
    assert scene.sweep() == sync.Synced(0, 0)


def test_two_operators_and_two_sweeps_at_once_lose_nothing(clean_database: Database, now: datetime) -> None:
    with session_scope(clean_database.engine) as session:
        station = add_station(session, now, "A").id
        groups.put_group(session, "g", now, description="", rank=0)
        groups.change_members(session, "g", add=["A"])

    def work(number: int) -> None:
        with session_scope(clean_database.engine) as session:
            if number % 4 == 0:
                values = {f"x_{number}": number}
                layers.put_layer(session, ConfigScope.DIALECT, "native", values, now)
            elif number % 4 == 1:
                layers.set_overrides(session, "A", {"volume_pct": number}, now)
            elif number % 4 == 2:
                layers.put_layer(session, ConfigScope.GROUP, "g", {"led_brightness_pct": number}, now)
            else:
                sync.sweep(session, now)

    assert together(16, work) == [None] * 16
    with session_scope(clean_database.engine) as session:
        for second in range(3):
            sync.sweep(session, now + second * SECOND)
        row = session.get_one(DeviceConfig, station)
        book = layers.LayerBook(session)
        wanted = merge([*book.of("native", None, ["g"]), row.overrides])
        assert {key: value for key, value in row.desired.items() if value is not None} == wanted
        open_orders = session.scalars(select(DeviceCommand).where(DeviceCommand.state == CommandState.QUEUED)).all()
        assert [order.args["version"] for order in open_orders] == [row.version]
