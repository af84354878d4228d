"""Ejects that nobody answered: what an inventory says of them."""

from collections.abc import Iterable
from datetime import datetime

from firmware_protocol.messages import Inventory
from firmware_protocol.types import SlotState
from fleet.devices.commands import give_verdict
from fleet.devices.models import CommandState, DeviceCommand
from fleet.rentals.closing.annulment import give_up
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.rules import WAITING
from fleet.rentals.scene import Scene
from fleet.rentals.starts.ejects import fail_or_retry, is_latest

STILL_THERE = "still_there"


def judge(scene: Scene, orders: Iterable[DeviceCommand], message: Inventory, asked_at: datetime | None) -> None:
    """Banks that have gone were accounted for with the inventory's changes; what still waits has moved nothing.

    Only by a picture that is certainly younger than the eject's deadline: `asked_at` is when we asked for it.
    """
    told = {entry.slot: entry.state for entry in message.slots}
    whole = message.complete and told.keys() >= scene.picture.slots.keys()
    for order in orders:
        if order.state is not CommandState.UNKNOWN or not _young(scene, order, asked_at):
            continue
        state = told.get(_slot_of(scene, order))
        # A slot that is not listed, or of which the cabinet itself is not sure, proves nothing.
        if state is SlotState.UNKNOWN or (state is None and not whole):
            continue
        give_verdict(scene.session, order, CommandState.FAILED, scene.now, code=order.code or STILL_THERE)
        rental = scene.rental_of(order)
        if rental is not None and rental.state in WAITING and is_latest(scene.session, order):
            _fail(scene, rental, order)


def _slot_of(scene: Scene, order: DeviceCommand) -> int:
    """The slot that the order names, or that holds the bank it names; 0 when neither is known."""
    number: int = order.args.get("slot", 0)
    bank = scene.picture.banks.get(order.args.get("serial", ""))
    held = None if number or bank is None else scene.picture.slot_with(bank)
    return number if held is None or held.station_id != scene.picture.station_id else held.number


def _young(scene: Scene, order: DeviceCommand, asked_at: datetime | None) -> bool:
    if order.check_after is not None:
        # The cabinet ignores deadlines and takes orders in turn: it had this one before the question, or never gets it.
        return asked_at is not None and asked_at >= order.check_after
    if asked_at is not None:
        return asked_at >= order.deadline
    return not scene.fact.replayed and scene.seen.at > order.deadline


def _fail(scene: Scene, rental: Rental, order: DeviceCommand) -> None:
    evidence = {**scene.evidence, "command": str(order.id)}
    if order.code != STILL_THERE:
        # The cabinet had said that it failed, and its slots bear it out: as for a cabinet whose word is enough.
        code = order.code or STILL_THERE
        fail_or_retry(
            scene.session, rental, code=code, evidence=evidence, at=scene.seen.at, policy=scene.policy, now=scene.now
        )
        return
    give_up(
        scene.session,
        rental,
        to=RentalState.EJECT_FAILED,
        why=STILL_THERE,
        code=STILL_THERE,
        evidence=evidence,
        at=scene.seen.at,
        now=scene.now,
    )
