"""What partners order their cabinets to do, and the log of it (decision 0270)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from firmware_protocol.commands import Command, PlaySound, QueryInventory, Reboot, SetVolume
from fleet.common.errors import InvalidInput
from fleet.devices import orders
from fleet.devices.commands import kind_of
from fleet.devices.models import DeviceCommand
from fleet.devices.orders import Abilities
from fleet.partners import queries
from fleet.partners.models import Partner, PartnerCommand
from fleet.stations.models import Station
from fleet.users.audit import Actor

#: Nothing that moves a bank, takes a slot out of use or into it, or takes a cabinet from the network.
ALLOWED: Final = (PlaySound, QueryInventory, Reboot, SetVolume)
#: A cabinet that has not answered by then is not asked again.
WITHIN: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Wish:
    """A command for one station, by code, and why."""

    station: str
    command: Command
    reason: str | None


@dataclass(frozen=True, slots=True)
class Logged:
    """One command as it stands now; `partner`: who sent it, the caller or one of its vendors."""

    command: DeviceCommand
    station: str
    partner: Partner
    reason: str | None


def order(
    session: Session,
    partner: Partner,
    wish: Wish,
    *,
    actor: Actor,
    abilities: Abilities,
    now: datetime,
) -> Logged:
    """Queue a command for a station of the partner's (or of its vendors'), and keep who sent it.

    Raises StationNotTheirs, InvalidInput, CommandNotSupported, EjectUnderWay.
    """
    assert actor.user_id is not None
    station = queries.station_of(session, partner, wish.station, now)
    if not isinstance(wish.command, ALLOWED):
        raise InvalidInput(f"{kind_of(wish.command)} is for operators", field="type")
    row = orders.order(
        session, station.code, wish.command, within=WITHIN, reason=wish.reason, actor=actor, abilities=abilities,
        now=now,
    )  # fmt: skip
    session.flush()  # the log refers to it
    session.add(
        PartnerCommand(
            command_id=row.id, partner_id=partner.id, station_id=station.id, user_id=actor.user_id,
            reason=wish.reason, at=now,
        )
    )  # fmt: skip
    return Logged(row, station.code, partner, wish.reason)


def sent(session: Session, partner: Partner, limit: int, before: UUID | None = None) -> list[Logged]:
    """What the partner and its vendors sent, newest first, to whichever stations they had then; `before` is the id of
    the last one seen.
    """
    query = (
        select(DeviceCommand, Station.code, Partner, PartnerCommand.reason)
        .join(PartnerCommand, PartnerCommand.command_id == DeviceCommand.id)
        .join(Partner, Partner.id == PartnerCommand.partner_id)
        .join(Station, Station.id == PartnerCommand.station_id)
        .where(queries.seen_by(partner))
        .order_by(PartnerCommand.command_id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(PartnerCommand.command_id < before)
    return [Logged(*row) for row in session.execute(query)]
