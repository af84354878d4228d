"""Which commands a gateway takes, and which wait; on a real database, without a broker."""

from datetime import timedelta

from device_gateway import claims
from firmware_protocol.commands import EjectPowerBank, QueryInventory
from firmware_protocol.messages import CommandResult
from firmware_protocol.types import CommandOutcome, ResetCause
from fleet.db import session_scope
from fleet.devices import commands
from fleet.devices.models import CommandPurpose
from tests.databases import Database
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
