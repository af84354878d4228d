"""Partners order their own cabinets to do what moves no bank; who sent what is kept for good."""

from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from firmware_protocol.commands import Command, EjectPowerBank, QueryInventory, Reboot, SetVolume, UnlockSlot
from firmware_protocol.dialects.registry import capabilities_of
from fleet.common.errors import InvalidInput
from fleet.devices.errors import EjectUnderWay
from fleet.devices.models import CommandState
from fleet.partners import commands, service
from fleet.partners.commands import Logged, Wish
from fleet.partners.errors import StationNotTheirs
from fleet.partners.models import Partner, PartnerKind
from fleet.users import audit
from fleet.users.audit import Actor
from tests.fleet.partners.conftest import Trade


def order(trade: Trade, partner: Partner, command: Command, station: str = "A") -> Logged:
    world = trade.world
    wish = Wish(world.stations[station].code, command, "it hangs")
    actor = Actor(user_id=world.rider)
    return commands.order(world.session, partner, wish, actor=actor, abilities=capabilities_of, now=world.now)


def log(trade: Trade, partner: Partner, limit: int = 10, before: UUID | None = None) -> list[tuple[str, str]]:
    found = commands.sent(trade.world.session, partner, limit, before)
    return [(each.partner.name, each.command.kind) for each in found]


def test_a_vendor_restarts_its_cabinet_and_its_franchise_sees_it(trade: Trade) -> None:
    first = order(trade, trade.vendor, Reboot())
    assert (first.command.state, first.command.requested_by) == (CommandState.QUEUED, trade.world.rider)
    order(trade, trade.franchise, SetVolume(volume_pct=10))
    assert log(trade, trade.vendor) == [("Kiosk", "reboot")]
    assert log(trade, trade.franchise) == [("North", "set_volume"), ("Kiosk", "reboot")]
    newest = commands.sent(trade.world.session, trade.franchise, 1)[0].command.id
    assert log(trade, trade.franchise, before=newest) == [("Kiosk", "reboot")]
    [noted] = audit.about(trade.world.session, trade.world.stations["A"].code, limit=1)
    assert (noted.action, noted.detail["reason"]) == ("command.set_volume", "it hangs")


def test_what_is_not_theirs_does_not_exist(trade: Trade) -> None:
    with pytest.raises(StationNotTheirs):
        order(trade, trade.vendor, QueryInventory(), station="B")
    other = service.create_partner(trade.world.session, name="South", kind=PartnerKind.FRANCHISE, now=trade.world.now)
    order(trade, trade.vendor, Reboot())
    with pytest.raises(StationNotTheirs):
        order(trade, other, Reboot())
    assert log(trade, other) == []


@pytest.mark.parametrize("command", [EjectPowerBank(slot=1), UnlockSlot(slot=1)])
def test_banks_and_slots_are_the_fleets(trade: Trade, command: Command) -> None:
    with pytest.raises(InvalidInput):
        order(trade, trade.vendor, command)
    assert log(trade, trade.vendor) == []


def test_no_restart_under_a_riders_hand(trade: Trade) -> None:
    trade.world.start()
    with pytest.raises(EjectUnderWay):
        order(trade, trade.vendor, Reboot())


def test_the_log_stays_with_who_sent_it(trade: Trade) -> None:
    order(trade, trade.vendor, Reboot())
    session = trade.world.session
    service.hand_over(session, trade.franchise, trade.world.stations["A"], trade.franchise, trade.world.now)
    assert log(trade, trade.vendor) == [("Kiosk", "reboot")]
    with pytest.raises(StationNotTheirs):
        order(trade, trade.vendor, Reboot())
    with pytest.raises(IntegrityError, match="append"), session.begin_nested():
        session.execute(text("DELETE FROM partner_command"))
