"""Commands to cabinets, over a real broker."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from device_gateway.claims import Order
from device_gateway.dispatcher import Dispatcher
from device_gateway.metrics import Metrics
from device_gateway.received import Received
from firmware_protocol.commands import Command, EjectPowerBank, LockSlot, PlaySound
from firmware_protocol.dialect import Published
from firmware_protocol.messages import CommandResult
from firmware_protocol.types import CommandOutcome
from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.devices import commands
from fleet.devices.models import CommandState, DeviceCommand
from tests.databases import Database
from tests.device_gateway.cabinet import Cabinet, eventually
from tests.device_gateway.conftest import StartGateway
from tests.device_gateway.support import add_station, booted


class Orders:
    """One station's commands, as a service gives them."""

    def __init__(self, database: Database, station_id: int) -> None:
        self._engine = database.engine
        self._station_id = station_id

    def give(self, command: Command, within_s: float = 20) -> UUID:
        now = utc_now()
        with session_scope(self._engine) as session:
            row = commands.queue_command(
                session,
                station_id=self._station_id,
                command=command,
                deadline=now + timedelta(seconds=within_s),
                now=now,
            )
            return row.id

    def settle(self, command_id: UUID, outcome: CommandOutcome = CommandOutcome.SUCCEEDED) -> None:
        with session_scope(self._engine) as session:
            result = CommandResult(command_id=str(command_id), outcome=outcome)
            assert commands.settle_command(session, str(command_id), result, utc_now()) is not None

    def get(self, command_id: UUID) -> DeviceCommand:
        with Session(self._engine) as session:
            return session.get_one(DeviceCommand, command_id)


@pytest.fixture
def orders(clean_database: Database, group: str) -> Orders:
    return Orders(clean_database, add_station(clean_database.engine, group))


@pytest.fixture
def cabinet(group: str, device_mqtt_url: str, orders: Orders) -> Iterator[Cabinet]:
    with Cabinet(group, device_mqtt_url) as cabinet:
        yield cabinet


def of_kind(cabinet: Cabinet, kind: type[Command]) -> list[tuple[str, int]]:
    return [(each.command_id, each.attempt) for each in cabinet.commands() if isinstance(each.command, kind)]


def test_a_command_waits_for_its_station_and_then_goes_out_with_an_expiry(
    start_gateway: StartGateway, cabinet: Cabinet, orders: Orders, group: str
) -> None:
    gateway = start_gateway()
    command = orders.give(LockSlot(slot=2), within_s=20)
    gateway.dispatcher.wake()
    assert orders.get(command).state is CommandState.QUEUED  # nobody is connected
    cabinet.send(booted(group, 1))
    eventually(lambda: of_kind(cabinet, LockSlot))
    sent = orders.get(command)
    assert (sent.state, sent.attempt, sent.claimed_by) == (CommandState.SENT, 1, gateway.name)
    frame = next(each for each in cabinet.commands() if isinstance(each.command, LockSlot))
    assert frame.command == LockSlot(slot=2)
    assert frame.deadline_ms == round(sent.deadline.timestamp() * 1000)
    assert sent.payload is not None
    assert all(expiry is not None and 0 < expiry <= 60 for expiry, (topic, _) in _commands_only(cabinet) if topic)


def _commands_only(cabinet: Cabinet) -> list[tuple[int | None, tuple[str, object]]]:
    told = zip(cabinet.expiries, cabinet.told, strict=True)
    return [(expiry, each) for expiry, each in told if each[0].endswith("/command")]


def test_one_eject_at_a_time_per_station(
    start_gateway: StartGateway, cabinet: Cabinet, orders: Orders, group: str
) -> None:
    start_gateway()
    start_gateway("two")
    cabinet.send(booted(group, 1))
    first, second = orders.give(EjectPowerBank(slot=1)), orders.give(EjectPowerBank(slot=2))
    sound = orders.give(PlaySound(sound="beep"))
    eventually(lambda: of_kind(cabinet, PlaySound))
    eventually(lambda: of_kind(cabinet, EjectPowerBank))
    assert {each for each, _ in of_kind(cabinet, EjectPowerBank)} == {str(first)}
    assert orders.get(second).state is CommandState.QUEUED
    orders.settle(sound)
    orders.settle(first, CommandOutcome.FAILED)
    eventually(lambda: str(second) in {each for each, _ in of_kind(cabinet, EjectPowerBank)})


def test_an_unanswered_command_is_repeated_under_its_id_until_it_is_answered(
    start_gateway: StartGateway, cabinet: Cabinet, orders: Orders, group: str
) -> None:
    start_gateway()
    cabinet.send(booted(group, 1))
    command = orders.give(EjectPowerBank(slot=1))
    eventually(lambda: len(of_kind(cabinet, EjectPowerBank)) == 2)
    assert of_kind(cabinet, EjectPowerBank) == [(str(command), 1), (str(command), 2)]
    orders.settle(command)
    assert orders.get(command).attempt == 2
    with pytest.raises(AssertionError):
        eventually(lambda: len(of_kind(cabinet, EjectPowerBank)) > 2, within_s=5)


def test_a_command_claimed_by_a_gateway_that_died_is_published_by_another(
    start_gateway: StartGateway, cabinet: Cabinet, orders: Orders, group: str, clean_database: Database
) -> None:
    command = orders.give(EjectPowerBank(slot=1))
    with session_scope(clean_database.engine) as session:
        row = session.get_one(DeviceCommand, command)
        row.state, row.attempt, row.sent_at, row.claimed_by = CommandState.SENT, 1, utc_now(), "dead"
    start_gateway()
    cabinet.send(booted(group, 1))
    eventually(lambda: of_kind(cabinet, EjectPowerBank))
    assert of_kind(cabinet, EjectPowerBank)[0] == (str(command), 2)


def test_a_command_past_its_deadline_is_not_sent(
    start_gateway: StartGateway, cabinet: Cabinet, orders: Orders, group: str
) -> None:
    late = orders.give(LockSlot(slot=1), within_s=-1)
    start_gateway()
    cabinet.send(booted(group, 1))
    good = orders.give(LockSlot(slot=2))
    eventually(lambda: of_kind(cabinet, LockSlot))
    assert [each for each, _ in of_kind(cabinet, LockSlot)] == [str(good)]
    assert orders.get(late).state is CommandState.QUEUED


@dataclass
class _Written:
    """Writes down what is to leave, and with which expiry."""

    expiries: list[int | None] = field(default_factory=list)
    connected_since: datetime | None = None

    def publish(self, message: Published, expiry_s: int | None = None) -> None:
        del message
        self.expiries.append(expiry_s)

    def acknowledge(self, batch: Iterable[Received]) -> None:
        raise AssertionError(batch)


def test_no_order_expires_after_its_deadline(engine: Engine, now: datetime) -> None:
    """Its last part of a second is not worth sending it: an expiry has whole ones."""
    registry, outlet = CollectorRegistry(), _Written()
    dispatcher = Dispatcher(engine, outlet, Metrics(registry), name="g", clock=lambda: now)
    message = Published(topic="t", payload=b"", qos=1)
    left = (-1.0, 0.0, 0.9, 1.0, 1.9, 20.0)
    dispatcher._publish([Order(message, now + timedelta(seconds=each), "eject_power_bank") for each in left], "sent")
    assert outlet.expiries == [1, 1, 20]
    assert registry.get_sample_value("voltbay_gateway_commands_total", {"action": "too_late"}) == 3
