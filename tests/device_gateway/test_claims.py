"""Which commands a gateway takes, and which wait; on a real database, without a broker."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from device_gateway import claims, dispatcher
from firmware_protocol.commands import Command, EjectPowerBank, LockSlot, QueryInventory
from firmware_protocol.messages import CommandResult
from firmware_protocol.types import CommandOutcome, ResetCause
from fleet.common.roundtrips import send
from fleet.db import session_scope
from fleet.devices import commands
from fleet.devices.models import CommandPurpose, CommandState, DeviceCommand
from tests.databases import Database
from tests.device_gateway.cabinet import eventually
from tests.device_gateway.support import Bench, add_station, booted


def test_a_periodic_question_waits_while_an_eject_is_ordered_or_under_way(clean_database: Database) -> None:
    """The station was idle when it was asked; a rider was faster than the claim."""
    bench = Bench(clean_database.engine)
    station_id = add_station(clean_database.engine, "A")

    def claimed() -> list[str]:
        with session_scope(bench.engine) as session:
            return [order.kind for order in claims.claim(session, claims.Claimant("g"), bench.now)[0]]

    bench.take(booted("A", 1, cause=ResetCause.RECONNECT))
    assert claimed() == ["query_inventory"]  # a connection is always asked about
    deadline = bench.now + timedelta(seconds=20)
    with session_scope(bench.engine) as session:
        commands.queue_many(
            session, [station_id], QueryInventory(), deadline=deadline, now=bench.now, purpose=CommandPurpose.PERIODIC
        )
        order = EjectPowerBank(slot=1)
        eject = commands.queue_command(session, station_id=station_id, command=order, deadline=deadline, now=bench.now)
        id_ = str(eject.id)
    assert claimed() == ["eject_power_bank"]
    assert claimed() == []
    with session_scope(bench.engine) as session:
        commands.settle_command(
            session, id_, CommandResult(command_id=id_, outcome=CommandOutcome.SUCCEEDED), bench.now
        )
    assert claimed() == ["query_inventory"]


def test_what_may_be_answered_already_is_not_repeated(clean_database: Database) -> None:
    """The gateway is behind: answers wait in its buffer."""
    bench = Bench(clean_database.engine)
    add_station(clean_database.engine, "A")
    bench.take(booted("A", 1, cause=ResetCause.RECONNECT))
    with session_scope(bench.engine) as session:
        assert len(claims.claim(session, claims.Claimant("g"), bench.now)[0]) == 1
    later = bench.now + claims.REPEAT_AFTER + timedelta(seconds=1)

    def repeated(heard_through: timedelta | None) -> int:
        with session_scope(bench.engine) as session:
            through = None if heard_through is None else bench.now + heard_through
            return len(claims.repeat(session, later, through))

    assert repeated(claims.REPEAT_AFTER) == 0
    assert repeated(claims.REPEAT_AFTER + timedelta(seconds=1)) == 1
    assert repeated(None) == 0  # the second time it waits for longer


def _ordered(bench: Bench, station_id: int, command: Command) -> UUID:
    with session_scope(bench.engine) as session:
        deadline = bench.now + timedelta(seconds=20)
        return commands.queue_command(
            session, station_id=station_id, command=command, deadline=deadline, now=bench.now
        ).id


def _row(bench: Bench, command_id: UUID) -> DeviceCommand:
    with Session(bench.engine) as session:
        return session.get_one(DeviceCommand, command_id)


def test_a_station_that_another_gateway_was_faster_at_is_left_out_and_no_other(clean_database: Database) -> None:
    """Two ejects of one station, claimed at the same moment by two gateways: neither sees the other's."""
    bench = Bench(clean_database.engine)
    ids = [add_station(clean_database.engine, code) for code in ("A", "B", "C")]
    for code in ("A", "B", "C"):
        bench.take(booted(code, 1, cause=ResetCause.RECONNECT))
    assert len(dispatcher.take(bench.engine, claims.Claimant("g"), bench.now)[0]) == 3  # what each of them holds
    first = _ordered(bench, ids[1], EjectPowerBank(slot=1))
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with ThreadPoolExecutor(1) as pool:
        with session_scope(bench.engine) as faster:
            assert len(claims.claim(faster, claims.Claimant("faster"), bench.now)[0]) == 1
            send(faster)
            second = _ordered(bench, ids[1], EjectPowerBank(slot=2))
            others = [_ordered(bench, ids[0], EjectPowerBank(slot=1)), _ordered(bench, ids[2], LockSlot(slot=1))]
            slower = pool.submit(dispatcher.take, bench.engine, claims.Claimant("slower"), bench.now)
            with bench.engine.connect() as watching:
                eventually(lambda: watching.scalar(waiting))
        orders, seen = slower.result(timeout=30)
    assert (sorted(order.kind for order in orders), seen) == (["eject_power_bank", "lock_slot"], 2)
    assert [_row(bench, each).claimed_by for each in (first, *others)] == ["faster", "slower", "slower"]
    left = _row(bench, second)
    assert (left.state, left.attempt, left.payload, left.claimed_by) == (CommandState.QUEUED, 0, None, None)
