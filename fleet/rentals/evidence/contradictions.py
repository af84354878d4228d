"""A rental was thought to have begun, and the cabinet says that its order moved nothing.

A start may be deduced: the bank was gone from its slot while the order was out (StartEvidence.ORDER). The cabinet's own
word on that very order is better. The rider is as if nothing had happened; a bank that is out is asked for by a case.
"""

from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from firmware_protocol.messages import CommandResult
from fleet.common.notify import Channel, notify
from fleet.devices.commands import take_back_success
from fleet.devices.facts import DeviceFact
from fleet.devices.models import DeviceCommand
from fleet.rentals.cases.service import open_case
from fleet.rentals.closing.annulment import annul
from fleet.rentals.locking import lock_rentals, slot_out
from fleet.rentals.models import Rental, RentalState, StartEvidence
from fleet.rentals.rules import RIDING
from fleet.rentals.starts import ejects
from fleet.stations.models import PowerBank

_BEGAN: Final = (*RIDING, RentalState.COMPLETED, RentalState.BOUGHT_OUT, RentalState.DISPUTED)


def never_left(session: Session, fact: DeviceFact, result: CommandResult, named: DeviceCommand, now: datetime) -> None:
    """`result` is any end but success, of a command that was thought to have succeeded. Again, it changes nothing."""
    if named.rental_id is None:
        return
    rental = lock_rentals(session, [named.rental_id], [named.id])[named.rental_id]
    latest = ejects.last_eject(session, rental.id)
    if rental.swaps:
        return  # it is about the other bank of an exchange: where that is, the next inventory says
    if rental.start_evidence is not StartEvidence.ORDER or rental.state not in _BEGAN or latest is not named:
        return
    take_back_success(session, named, result, now)
    riding = rental.state in RIDING
    evidence = {"device_event": fact.ref, "command": str(named.id)}
    code = result.code or result.outcome.value
    annul(session, rental, why="order_moved_nothing", code=code, evidence=evidence, at=fact.occurred_at, now=now)
    if riding:
        session.flush()  # the bank is nobody's before a case asks for it
        _ask_for_bank(session, rental, evidence, now)
    notify(session, Channel.STATION, str(fact.station_id))


def _ask_for_bank(session: Session, rental: Rental, evidence: dict[str, str], now: datetime) -> None:
    slot = slot_out(session, rental, lock=True)
    bank = session.get_one(PowerBank, rental.power_bank_id)
    open_case(session, bank, slot, reason="vanished", evidence=evidence, now=now, rental_id=rental.id)
