"""When cabinets are asked what is in their slots."""

from datetime import datetime, timedelta
from random import Random
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from firmware_protocol.commands import EjectPowerBank, Reboot
from fleet.common.models import OutboxEvent
from fleet.devices import reconcile
from fleet.devices.commands import queue_command
from fleet.devices.events import InventoryFresh
from fleet.devices.models import CommandPurpose, CommandState, DeviceCommand, StationReconciliation
from fleet.stations.models import Station, StationSlot
from tests.factories import add_station

EVERY = timedelta(minutes=30)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def station(session: Session, now: datetime) -> Station:
    return add_station(session, now, "A", 2)


def row(session: Session, station: Station) -> StationReconciliation:
    return session.get_one(StationReconciliation, station.id, populate_existing=True)


def events(session: Session) -> list[str]:
    names = session.scalars(select(OutboxEvent.name).where(OutboxEvent.name.like("devices.%")).order_by(OutboxEvent.id))
    return list(names)


def test_a_station_joins_in_and_is_asked_when_its_time_has_come(
    session: Session, station: Station, now: datetime
) -> None:
    assert reconcile.ask_due(session, now, EVERY) == []
    due = row(session, station).due_at
    assert EVERY / 2 <= due - now <= EVERY * 1.5
    assert reconcile.ask_due(session, due - MINUTE, EVERY) == []
    assert reconcile.ask_due(session, due, EVERY) == [station.id]
    command = session.scalars(select(DeviceCommand)).one()
    assert (command.kind, command.purpose, command.deadline) == (
        "query_inventory", CommandPurpose.PERIODIC, due + reconcile.ANSWER_WITHIN,
    )  # fmt: skip
    assert reconcile.ask_due(session, due, EVERY) == []


def test_an_answer_puts_the_next_question_off_by_a_period_more_or_less(
    session: Session, station: Station, now: datetime
) -> None:
    found = set()
    for seed in range(20):
        reconcile.answered(session, [station.id], now, EVERY, Random(seed))
        found.add(row(session, station).due_at - now)
    assert len(found) == 20
    assert min(found) > EVERY * 0.7
    assert max(found) < EVERY * 1.3


def test_without_an_answer_it_asks_again_more_and_more_seldom_and_says_so_once(
    session: Session, station: Station, now: datetime
) -> None:
    reconcile.asked(session, [station.id], now)
    waits = []
    for _ in range(6):
        due = row(session, station).due_at
        waits.append(due - now)
        now = due
        assert reconcile.ask_due(session, now, EVERY) == [station.id]
    assert [wait / MINUTE for wait in waits] == [2, 4, 8, 16, 32, 32]
    session.flush()
    assert events(session) == ["devices.InventoryStale.v1"]
    reconcile.answered(session, [station.id], now, EVERY)
    reconcile.answered(session, [station.id], now, EVERY)
    session.flush()
    assert events(session) == ["devices.InventoryStale.v1", "devices.InventoryFresh.v1"]


def test_what_a_start_promises_is_asked_for_if_it_does_not_come(
    session: Session, station: Station, now: datetime
) -> None:
    reconcile.expected(session, [station.id], now)
    assert (row(session, station).due_at, row(session, station).asked_at) == (now + reconcile.SHOWS_WITHIN, None)
    assert reconcile.ask_due(session, now + reconcile.SHOWS_WITHIN, EVERY) == [station.id]
    assert row(session, station).unanswered == 2
    reconcile.answered(session, [station.id], now, EVERY)
    reconcile.expected(session, [station.id], now)
    reconcile.answered(session, [station.id], now, EVERY)
    assert reconcile.ask_due(session, now + EVERY / 2, EVERY) == []
    session.flush()
    assert events(session) == []


def test_starts_that_never_show_anything_are_told_of_once(session: Session, station: Station, now: datetime) -> None:
    for _ in range(reconcile.STALE_AFTER + 2):
        reconcile.expected(session, [station.id], now)
    session.flush()
    assert events(session) == ["devices.InventoryStale.v1"]


def test_many_answers_at_once(session: Session, station: Station, now: datetime) -> None:
    stale, strange = (add_station(session, now, code, 2) for code in "BC")
    for _ in range(reconcile.STALE_AFTER):
        reconcile.asked(session, [stale.id], now)
    reconcile.asked(session, [station.id], now)
    reconcile.answered(session, [strange.id, stale.id, station.id], now, EVERY)
    assert [row(session, each).unanswered for each in (station, stale, strange)] == [0, 0, 0]
    assert [row(session, each).answered_at for each in (station, stale, strange)] == [now, now, now]
    session.flush()
    assert events(session) == ["devices.InventoryStale.v1", "devices.InventoryFresh.v1"]
    payload = session.scalars(select(OutboxEvent.payload).where(OutboxEvent.name == InventoryFresh.name)).one()
    assert payload["station_id"] == stale.id


@pytest.mark.parametrize("busy", ["queued", "sent", "unknown", "reserved", "offline"])
def test_a_station_where_something_moves_is_left_alone(
    session: Session, station: Station, now: datetime, busy: str
) -> None:
    reconcile.answered(session, [station.id], now, EVERY)
    due = row(session, station).due_at
    if busy == "offline":
        station.online = False
    elif busy == "reserved":
        slot = session.scalars(select(StationSlot).where(StationSlot.station_id == station.id).limit(1)).one()
        slot.reserved_for = uuid4()
    else:
        order = queue_command(
            session, station_id=station.id, command=EjectPowerBank(slot=1), deadline=due + MINUTE, now=now
        )
        order.state = CommandState(busy)
    session.flush()
    assert reconcile.ask_due(session, due, EVERY) == []
    assert row(session, station).unanswered == 0


def test_what_moves_no_metal_is_no_reason_to_wait(session: Session, station: Station, now: datetime) -> None:
    reconcile.answered(session, [station.id], now, EVERY)
    due = row(session, station).due_at
    queue_command(session, station_id=station.id, command=Reboot(), deadline=due + MINUTE, now=now)
    session.flush()
    assert reconcile.ask_due(session, due, EVERY) == [station.id]


def test_a_period_of_zero_asks_nobody(session: Session, station: Station, now: datetime) -> None:
    reconcile.asked(session, [station.id], now)
    assert reconcile.ask_due(session, now + 365 * 24 * 60 * MINUTE, timedelta(0)) == []
