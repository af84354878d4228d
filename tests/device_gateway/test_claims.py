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
from fleet.common.vault import Vault
from fleet.db import session_scope
from fleet.devices import commands, profiles
from fleet.devices.models import CommandPurpose, CommandState, DeviceCommand, DeviceSession
from fleet.stations.models import Station
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


def test_an_order_of_another_version_fails_alone(clean_database: Database) -> None:
    """New ones, and those that were sent and have no answer."""
    bench = Bench(clean_database.engine)
    ids = [add_station(clean_database.engine, code) for code in ("A", "B")]
    for code in ("A", "B"):
        bench.take(booted(code, 1, cause=ResetCause.RECONNECT))
    dispatcher.take(bench.engine, claims.Claimant("g"), bench.now)
    strange, known = (_ordered(bench, station_id, LockSlot(slot=1)) for station_id in ids)
    with bench.engine.begin() as connection:
        strangely = text("UPDATE device_command SET kind = 'of_another_version' WHERE id = :id")
        connection.execute(strangely, {"id": strange})
    orders, _ = dispatcher.take(bench.engine, claims.Claimant("g"), bench.now)
    assert [order.message.topic for order in orders] == ["vb/v1/B/down/command"]
    assert _row(bench, strange).state is CommandState.FAILED
    assert str(_row(bench, strange).code).startswith("unsupported_command: of_another_version")
    with bench.engine.begin() as connection:
        connection.execute(
            text("UPDATE device_command SET state = 'sent', attempt = 1, sent_at = :now WHERE id = :id"),
            {"id": strange, "now": bench.now},
        )
    with session_scope(bench.engine) as session:
        later = bench.now + claims.REPEAT_AFTER + timedelta(seconds=1)
        again = {order.kind for order in claims.repeat(session, later)}
    assert again == {"lock_slot", "query_inventory"}
    assert _row(bench, known).attempt == 2


def test_a_secret_that_cannot_be_opened_stops_no_other_station(clean_database: Database) -> None:
    """VOLTBAY_SECRET_KEY is another one by now."""
    bench = Bench(clean_database.engine)
    closed, native = (add_station(clean_database.engine, code) for code in ("A", "B"))
    with session_scope(bench.engine) as session:
        station = session.get_one(Station, closed)
        station.dialect, station.hardware_id = "volinks", "864601068412899"
        session.flush()
        profiles.set_secret(session, station, b"secret", Vault(b"a" * 32))
        for station_id in (closed, native):
            session.add(
                DeviceSession(
                    station_id=station_id, epoch=1, boot=1, firmware="1", hardware="h", reset_cause="unknown",
                    connected_at=bench.now, last_seen_at=bench.now,
                )
            )  # fmt: skip
    _ordered(bench, closed, QueryInventory())
    _ordered(bench, native, LockSlot(slot=1))
    orders, _ = dispatcher.take(bench.engine, claims.Claimant("g", Vault(b"b" * 32)), bench.now)
    assert sorted(order.kind for order in orders) == ["lock_slot", "query_inventory"]
