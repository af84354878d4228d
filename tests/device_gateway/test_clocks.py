"""The backend's time, told again to cabinets whose connections last."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from device_gateway import clocks
from device_gateway.ingest import Done
from firmware_protocol.commands import QueryInventory, Welcome
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import CommandResult
from firmware_protocol.types import CommandOutcome
from fleet.db import session_scope
from fleet.devices.commands import queue_command
from tests.databases import Database
from tests.device_gateway.support import NOON, Bench, add_station, booted, up

HOUR = timedelta(hours=1)


@pytest.fixture
def bench(clean_database: Database) -> Bench:
    add_station(clean_database.engine, "A")
    bench = Bench(clean_database.engine)
    bench.take(booted("A", 7))
    return bench


def order(bench: Bench, deadline: datetime) -> str:
    station_id = bench.one("SELECT id FROM station WHERE code = 'A'")
    with session_scope(bench.engine) as session:
        row = queue_command(session, station_id=station_id, command=QueryInventory(), deadline=deadline, now=NOON)
        return str(row.id)


def welcomes(done: Done) -> list[Welcome]:
    found = [NATIVE.decode_control(each.payload) for each in done.outbound.messages if each.topic.endswith("/welcome")]
    return [each for each in found if isinstance(each, Welcome)]


def refused(bench: Bench, seq: int, command_id: str, outcome: CommandOutcome = CommandOutcome.EXPIRED) -> Done:
    return bench.take(up("A", seq, CommandResult(command_id=command_id, outcome=outcome, code="deadline_passed")))


def test_who_calls_an_order_too_late_that_is_not_is_told_the_time(bench: Bench) -> None:
    (told,) = welcomes(refused(bench, 1, order(bench, NOON + timedelta(seconds=15))))
    assert (told.epoch, told.server_ms, told.boot_floor, told.epoch_floor) == (7, round(NOON.timestamp() * 1000), 0, 0)
    assert (told.heartbeat_s, told.telemetry_s, told.retry_after_s) == (30, 60, None)


def test_who_is_right_or_speaks_of_no_order_of_ours_is_told_nothing(bench: Bench) -> None:
    assert not welcomes(refused(bench, 1, order(bench, NOON - timedelta(seconds=1))))
    assert not welcomes(refused(bench, 2, order(bench, NOON + clocks.CLOSE)))
    assert not welcomes(refused(bench, 3, str(uuid4())))
    assert not welcomes(refused(bench, 4, "not-one-of-ours"))
    assert not welcomes(refused(bench, 5, order(bench, NOON + HOUR), CommandOutcome.BUSY))


def test_every_session_that_lasts_has_its_minute_of_the_day(bench: Bench) -> None:
    add_station(bench.engine, "B")
    add_station(bench.engine, "C")
    bench.take(booted("B", 1))  # C was never here
    bench.now += HOUR
    own = bench.one("SELECT id % 1440 FROM station WHERE code = 'A'")
    with Session(bench.engine) as session:
        everybody = range(clocks.MINUTES_A_DAY)
        assert clocks.due(session, everybody, bench.now) == []
        bench.now += timedelta(minutes=1)
        here = clocks.due(session, everybody, bench.now)
        assert len(here) == 2
        assert clocks.due(session, [own + clocks.MINUTES_A_DAY], bench.now) == here[:1]
        assert clocks.due(session, [own + 500], bench.now) == []
        told = clocks.renew(session, bench.directory, here, bench.now, telemetry_s=60)
    assert [each.topic for each in told.messages] == ["vb/v1/A/down/welcome", "vb/v1/B/down/welcome"]
    assert [each.epoch for each in welcomes(Done(told))] == [7, 1]
