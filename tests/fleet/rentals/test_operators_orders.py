"""What operators may order, of which cabinet, and when."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from firmware_protocol.commands import (
    Command,
    EjectPowerBank,
    LockSlot,
    PlaySound,
    QueryInventory,
    Reboot,
    SetNetwork,
    SetVolume,
    VendorCommand,
)
from firmware_protocol.dialects.registry import capabilities_of
from firmware_protocol.messages import CommandResult
from firmware_protocol.types import CommandOutcome
from fleet.common.errors import InvalidInput
from fleet.devices import orders
from fleet.devices.commands import settle_command
from fleet.devices.errors import BankNotThere, CommandNotSupported, EjectUnderWay, SlotReserved
from fleet.devices.models import CommandState, DeviceCommand
from fleet.rentals.models import RentalState
from fleet.stations.errors import StationNotFound
from fleet.users.audit import Actor
from fleet.users.models import UserAuditLog
from tests.fleet.rentals.world import MINUTE, SECOND, World


def order(world: World, command: Command, code: str = "A") -> DeviceCommand:
    return orders.order(
        world.session,
        code,
        command,
        within=30 * SECOND,
        reason="a test",
        actor=Actor(user_id=world.rider, request_id="req-9", address="192.0.2.1"),
        abilities=capabilities_of,
        now=world.now,
    )


def log(world: World) -> list[tuple[str, str | None, dict[str, Any]]]:
    world.session.flush()
    rows = world.session.scalars(
        select(UserAuditLog).where(UserAuditLog.action.like("command.%")).order_by(UserAuditLog.id)
    )
    return [(row.action, row.target, row.detail) for row in rows]


def test_an_order_is_queued_and_noted_with_who_and_why(world: World) -> None:
    row = order(world, SetVolume(volume_pct=40))
    assert (row.kind, row.args, row.deadline) == ("set_volume", {"volume_pct": 40}, world.now + 30 * SECOND)
    assert (row.requested_by, row.request_id) == (world.rider, "req-9")
    assert log(world) == [
        ("command.set_volume", "A", {"command_id": str(row.id), "args": {"volume_pct": 40}, "reason": "a test"})
    ]


@pytest.mark.parametrize(
    ("dialect", "command"),
    [("volinks", PlaySound(sound="beep")), ("volinks", LockSlot(slot=1)), ("nobody's", QueryInventory())],
)
def test_what_the_cabinet_cannot_do_is_said_at_once_and_leaves_no_trace(
    world: World, dialect: str, command: Command
) -> None:
    world.stations["A"].dialect = dialect
    world.session.flush()
    with pytest.raises(CommandNotSupported) as refused:
        order(world, command)
    assert refused.value.attributes["dialect"] == dialect
    able = capabilities_of(dialect)
    assert refused.value.attributes["supported"] == ([] if able is None else sorted(able.commands))
    assert log(world) == []


@pytest.mark.parametrize(
    ("dialect", "command", "error"),
    [
        ("native", VendorCommand(name="load_ad"), CommandNotSupported),
        ("relink", VendorCommand(name="load_ad"), CommandNotSupported),
        ("volinks", VendorCommand(name="popup", data="1"), CommandNotSupported),
        ("volinks", VendorCommand(name="load_ad", data="1"), InvalidInput),
        ("volinks", VendorCommand(name="setAudio"), InvalidInput),
        ("volinks", VendorCommand(name="set_wifi", wifi_ssid="lobby"), InvalidInput),
    ],
)
def test_a_vendors_own_word_that_the_cabinet_does_not_know_is_refused(
    world: World, dialect: str, command: Command, error: type[Exception]
) -> None:
    world.stations["A"].dialect = dialect
    world.session.flush()
    with pytest.raises(error):
        order(world, command)
    assert log(world) == []


def test_a_vendors_own_words_are_ordered_while_nothing_moves(world: World) -> None:
    world.stations["A"].dialect = "volinks"
    world.session.flush()
    row = order(world, VendorCommand(name="set_wifi", wifi_ssid="lobby", wifi_password="hunter2"))
    assert row.args == {"name": "set_wifi", "wifi_ssid": "lobby", "wifi_password": "hunter2"}
    assert log(world)[0][2]["args"]["wifi_password"] == "***"
    world.start()
    with pytest.raises(EjectUnderWay):
        order(world, VendorCommand(name="push_version_publish"))


def test_an_eject_by_slot_names_the_bank_too_and_the_other_way_round(world: World) -> None:
    assert order(world, EjectPowerBank(slot=2)).args == {"slot": 2, "serial": "A2"}
    assert order(world, EjectPowerBank(serial="A3")).args == {"slot": 3, "serial": "A3"}
    assert order(world, EjectPowerBank(slot=5)).args == {"slot": 5}
    with pytest.raises(BankNotThere) as refused:
        order(world, EjectPowerBank(serial="A3"), "B")
    assert refused.value.attributes["place"] == "A/3"
    with pytest.raises(InvalidInput):
        order(world, EjectPowerBank(slot=6))
    with pytest.raises(StationNotFound):
        order(world, EjectPowerBank(slot=1), "NOPE")


def test_no_rider_is_given_the_bank_that_an_operator_takes(world: World) -> None:
    order(world, EjectPowerBank(slot=1))
    assert world.serial(world.start()) == "A2"


def test_an_operator_does_not_take_the_bank_that_a_rider_waits_for(world: World) -> None:
    rental = world.start()
    with pytest.raises(SlotReserved):
        order(world, EjectPowerBank(slot=1))
    assert rental.state is RentalState.EJECTING


def test_a_bank_that_an_operator_took_is_asked_for_until_it_is_back(world: World) -> None:
    row = order(world, EjectPowerBank(serial="A2"))
    row.state, row.sent_at = CommandState.SENT, world.now
    world.session.flush()
    world.ejected("A", 2, "A2", row)
    [case] = world.cases()
    assert (case.reason, case.evidence["command"]) == ("operator_eject", str(row.id))
    assert world.slot("A", 2).disabled_reason is None
    world.check_everything()
    world.later(MINUTE)
    world.inventory("B", {4: ("A2", 80)})
    assert world.cases() == []
    world.check_everything()


def test_no_reboot_cuts_off_an_eject(world: World) -> None:
    rental = world.start()
    with pytest.raises(EjectUnderWay):
        order(world, Reboot())
    world.ejected("A", 1, "A1", world.send(rental))
    assert order(world, Reboot()).kind == "reboot"


def test_a_slot_that_is_not_there(world: World) -> None:
    with pytest.raises(InvalidInput):
        order(world, LockSlot(slot=9))


def test_a_password_is_shown_to_nobody_and_forgotten_when_it_is_no_longer_needed(world: World) -> None:
    row = order(world, SetNetwork(wifi_ssid="lobby", wifi_password="hunter2-hunter2"))
    assert row.args["wifi_password"] == "hunter2-hunter2"
    assert "hunter2" not in str(log(world))
    row.state, row.sent_at, row.payload = CommandState.SENT, world.now, b"hunter2-hunter2"
    world.session.flush()
    done = CommandResult(command_id=str(row.id), outcome=CommandOutcome.SUCCEEDED)
    assert settle_command(world.session, str(row.id), done, world.now + timedelta(seconds=1)) is not None
    world.session.expire_all()
    told = world.session.get_one(DeviceCommand, row.id)
    assert (told.args, told.payload) == ({"wifi_ssid": "lobby"}, None)
