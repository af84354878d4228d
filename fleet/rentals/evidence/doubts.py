"""Answers that prove nothing (vendors' cabinets): the command becomes UNKNOWN, and a look into the slots decides."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from firmware_protocol.messages import CheckNeeded, CommandUncertain
from fleet.common.notify import Channel, notify
from fleet.devices.commands import EJECT, doubt_command, find_command, inventory_is_coming
from fleet.devices.facts import DeviceFact
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import RentalState
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts import ejects
from fleet.rentals.states import move

NEAR: Final = timedelta(seconds=1)


def result_uncertain(
    session: Session, fact: DeviceFact, message: CommandUncertain, policy: RentalPolicy, now: datetime
) -> None:
    """The cabinet answered, and the answer does not say whether a bank left. Told again, or late, it changes nothing
    but the time of the look. The money stays held meanwhile.
    """
    named = find_command(session, message.command_id)
    if named is None or named.station_id != fact.station_id or named.kind != EJECT:
        return
    rentals = lock_rentals(session, [] if named.rental_id is None else [named.rental_id], [named.id])
    look_at = fact.received_at + timedelta(seconds=message.look_after_s)
    if not doubt_command(session, named, message.code, look_at):
        return
    rental = None if named.rental_id is None else rentals.get(named.rental_id)
    if rental is not None and rental.state is RentalState.EJECTING and ejects.is_latest(session, named):
        evidence = {"device_event": fact.ref, "command": str(named.id), "code": message.code}
        move(
            session,
            rental,
            RentalState.EJECT_UNKNOWN,
            why="uncertain_answer",
            evidence=evidence,
            at=fact.occurred_at,
            now=now,
        )
        notify(session, Channel.STATION, str(fact.station_id))
    ejects.ask_inventory(session, fact.station_id, policy, now, not_before=look_at)


def check_needed(session: Session, fact: DeviceFact, message: CheckNeeded, policy: RentalPolicy, now: datetime) -> None:
    """Something may have changed in the cabinet: ask, once it has looked itself."""
    look_at = fact.received_at + timedelta(seconds=message.look_after_s)
    # No verdict hangs on it: a question that is due a little sooner will do, so that repeated frames ask once.
    if not inventory_is_coming(session, fact.station_id, min(look_at, max(now, look_at - NEAR)), now):
        ejects.ask_inventory(session, fact.station_id, policy, now, not_before=look_at)
