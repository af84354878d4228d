"""Ejects that nobody answered: what an inventory says of them."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import select

from fleet.devices.commands import give_verdict
from fleet.devices.models import CommandState, DeviceCommand
from fleet.rentals.closing import give_up
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.rules import WAITING
from fleet.rentals.scene import Scene
from fleet.stations.models import StationSlot

STILL_THERE = "still_there"


def judge(scene: Scene, orders: Iterable[DeviceCommand], fresh: set[int], asked_at: datetime | None) -> None:
    """Banks that have gone were accounted for with the inventory's changes; one that is still there ends the wait.

    Only by a picture that is certainly younger than the eject's deadline: `asked_at` is when we asked for it.
    """
    for order in orders:
        if order.state is not CommandState.UNKNOWN or not _young(scene, order, asked_at):
            continue
        rental = scene.rental_of(order)
        number = order.args.get("slot") if rental is None else rental.slot_out
        if number in fresh and _still_there(scene, order, rental, scene.picture.slot(number)):
            give_verdict(scene.session, order, CommandState.FAILED, scene.now, code=STILL_THERE)
            if rental is not None and rental.state in WAITING:
                _fail(scene, rental, order)


def _young(scene: Scene, order: DeviceCommand, asked_at: datetime | None) -> bool:
    if asked_at is not None:
        return asked_at >= order.deadline
    return not scene.fact.replayed and scene.seen.at > order.deadline


def _still_there(scene: Scene, order: DeviceCommand, rental: Rental | None, slot: StationSlot) -> bool:
    """In its slot, or seen in another one before it could be ejected."""
    if rental is not None:
        return _held_somewhere(scene, rental.power_bank_id)
    held = scene.picture.bank_in(slot)
    serial = order.args.get("serial")
    return held is not None and (serial is None or held.serial == serial)


def _held_somewhere(scene: Scene, bank_id: int) -> bool:
    return scene.session.scalar(select(StationSlot.id).where(StationSlot.power_bank_id == bank_id)) is not None


def _fail(scene: Scene, rental: Rental, order: DeviceCommand) -> None:
    give_up(
        scene.session,
        rental,
        to=RentalState.EJECT_FAILED,
        why=STILL_THERE,
        code=STILL_THERE,
        evidence={**scene.evidence, "command": str(order.id)},
        at=scene.seen.at,
        now=scene.now,
    )
