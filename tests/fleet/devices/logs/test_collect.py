"""Logs come in pieces: out of order, twice, with holes, too large, or not at all."""

import gzip
from datetime import datetime, timedelta
from random import Random
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from firmware_protocol.commands import CollectLogs
from firmware_protocol.messages import CommandResult, LogChunk
from firmware_protocol.types import CommandOutcome
from fleet.devices.commands import command_of, settle_command
from fleet.devices.facts import DeviceFact
from fleet.devices.logs import collect
from fleet.devices.logs.errors import ImpossibleChunk, LogEmpty, UnknownLogRequest
from fleet.devices.logs.models import DeviceLog, DeviceLogChunk, LogState
from fleet.devices.models import CommandState, DeviceCommand
from fleet.stations.models import Station
from tests.factories import add_station

PIECES = [b"first line\n", b"second line\n", b"third line\n", b"last line\n"]
TICK = collect.PATIENCE + timedelta(seconds=1)


class Scene:
    def __init__(self, session: Session, now: datetime) -> None:
        self.session = session
        self.now = now
        self.station = add_station(session, now, "LOG")

    def request(self, max_bytes: int = collect.DEFAULT_MAX_BYTES) -> DeviceLog:
        return collect.request_log(self.session, "LOG", self.now, max_bytes=max_bytes)

    def take(self, log: DeviceLog, index: int, content: bytes = b"", *, last: bool | None = None) -> bool:
        chunk = LogChunk(
            request_id=str(log.id),
            index=index,
            last=index == len(PIECES) - 1 if last is None else last,
            content=content or PIECES[index],
        )
        return collect.take_chunk(self.session, self.fact(chunk), chunk, self.now)

    def fact(self, chunk: LogChunk) -> DeviceFact:
        return DeviceFact(
            station_id=self.station.id, station_code="LOG", boot=1, seq=1, occurred_at=self.now, received_at=self.now,
            replayed=False, message=chunk,
        )  # fmt: skip

    def last_command(self) -> DeviceCommand:
        return self.session.scalars(select(DeviceCommand).order_by(DeviceCommand.id.desc()).limit(1)).one()

    def asked_for(self) -> tuple[int, ...]:
        order = command_of(self.last_command())
        assert isinstance(order, CollectLogs)
        return order.indexes

    def result(self, outcome: CommandOutcome, code: str | None = None) -> None:
        command = self.last_command()
        command.state = CommandState.SENT
        result = CommandResult(command_id=str(command.id), outcome=outcome, code=code)
        settled = settle_command(self.session, str(command.id), result, self.now)
        assert settled is not None
        collect.command_ended(self.session, settled, self.now)

    def later(self, by: timedelta = TICK) -> int:
        self.now += by
        return collect.sweep(self.session, self.now)

    def text(self, log: DeviceLog) -> bytes:
        return gzip.decompress(b"".join(collect.content_gzip(self.session, log.id)))


@pytest.fixture
def scene(session: Session, now: datetime) -> Scene:
    return Scene(session, now)


@pytest.mark.parametrize("seed", range(5))
def test_pieces_in_any_order_and_twice_make_one_log(scene: Scene, seed: int) -> None:
    log = scene.request()
    order = [0, 1, 2, 3] * 2
    Random(seed).shuffle(order)
    for index in order:
        scene.take(log, index)
    assert (log.state, log.chunks, log.size) == (LogState.COMPLETE, 4, sum(map(len, PIECES)))
    assert scene.text(log) == b"".join(PIECES)
    assert scene.later() == 0


def test_a_piece_that_lacks_is_asked_for_as_soon_as_the_cabinet_is_done(scene: Scene) -> None:
    log = scene.request()
    for index in (0, 2, 3):
        scene.take(log, index)
    scene.result(CommandOutcome.SUCCEEDED)
    assert scene.asked_for() == (1,)
    assert scene.take(log, 1)
    assert log.state is LogState.COMPLETE


def test_a_last_piece_that_lacks_is_found(scene: Scene) -> None:
    log = scene.request()
    for index in (0, 1, 2):
        scene.take(log, index)
    assert scene.later() == 1
    assert scene.asked_for()[0] == 3
    scene.take(log, 3)
    assert log.state is LogState.COMPLETE


def test_after_some_tries_what_is_here_must_do_and_late_pieces_still_count(scene: Scene) -> None:
    log = scene.request()
    scene.take(log, 0)
    scene.take(log, 3)
    for _ in range(collect.MOST_TIMES):
        scene.later()
    assert (log.state, log.code, log.asked) == (LogState.INCOMPLETE, "pieces_missing", collect.MOST_TIMES)
    assert scene.text(log) == PIECES[0] + PIECES[3]
    scene.take(log, 1)
    scene.take(log, 2)
    assert log.state is LogState.COMPLETE


def test_silence_is_a_failure_in_the_end(scene: Scene) -> None:
    log = scene.request()
    for _ in range(collect.MOST_TIMES):
        assert scene.later() == 1
    assert (log.state, log.code) == (LogState.FAILED, "no_answer")
    with pytest.raises(LogEmpty):
        scene.text(log)


def test_an_offline_cabinet_is_asked_when_it_is_back(scene: Scene) -> None:
    scene.station.online = False
    log = scene.request()
    for _ in range(10):
        scene.later()
    assert (log.state, log.asked) == (LogState.REQUESTED, 0)
    scene.session.get_one(Station, scene.station.id).online = True
    scene.session.flush()
    scene.later()
    assert log.asked == 1
    scene.station.online = False
    scene.session.flush()
    scene.later(collect.GIVE_UP_AFTER)
    assert log.state is LogState.FAILED


def test_a_refusal_keeps_the_cabinets_reason(scene: Scene) -> None:
    log = scene.request()
    scene.result(CommandOutcome.UNSUPPORTED)
    assert (log.state, log.code) == (LogState.FAILED, "unsupported")


def test_more_than_is_kept_is_cut_off(scene: Scene) -> None:
    log = scene.request(max_bytes=30)
    for index in range(3):
        scene.take(log, index)
    assert (log.state, log.chunks) == (LogState.TRUNCATED, 2)
    assert scene.text(log) == PIECES[0] + PIECES[1]
    assert not scene.take(log, 3)


def test_pieces_that_make_no_sense_are_refused(scene: Scene) -> None:
    log = scene.request()
    with pytest.raises(ImpossibleChunk):
        scene.take(log, 2**40, b"x", last=False)
    scene.take(log, 3)
    for index, last in ((4, False), (2, True), (3, False)):
        with pytest.raises(ImpossibleChunk):
            scene.take(log, index, b"x", last=last)
    stranger = add_station(scene.session, scene.now, "OTHER")
    for request_id, station in ((str(uuid4()), scene.station), ("log-7", scene.station), (str(log.id), stranger)):
        scene.station = station
        chunk = LogChunk(request_id=request_id, index=0, last=True, content=b"x")
        with pytest.raises(UnknownLogRequest):
            collect.take_chunk(scene.session, scene.fact(chunk), chunk, scene.now)


def test_old_logs_are_forgotten_with_their_pieces(scene: Scene) -> None:
    old, young = scene.request(), scene.request()
    scene.take(old, 0)
    old.created_at = scene.now - timedelta(days=31)
    scene.session.flush()
    assert collect.forget_old(scene.session, scene.now - timedelta(days=30)) == 1
    assert scene.session.scalars(select(DeviceLog.id)).all() == [young.id]
    assert scene.session.scalars(select(DeviceLogChunk)).all() == []
