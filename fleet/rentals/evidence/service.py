"""What cabinets tell, turned into what it means: slots, banks, commands, rentals, cases.

One function for the gateway. It may be called twice for the same event, and late: nothing newer is ever undone.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from firmware_protocol.messages import (
    CheckNeeded,
    CommandResult,
    CommandUncertain,
    Inventory,
    PowerBankEjected,
    PowerBankInserted,
    SlotFault,
    StationFault,
)
from fleet.common.notify import Channel, notify
from fleet.common.outbox import publish
from fleet.devices import reconcile
from fleet.devices.commands import find_command, unknown_ejects
from fleet.devices.facts import DeviceFact
from fleet.devices.models import CommandState, DeviceCommand
from fleet.rentals.evidence import conflicts
from fleet.rentals.evidence.answers import answered, ejected
from fleet.rentals.evidence.departures import bank_vanished
from fleet.rentals.evidence.doubts import check_needed, result_uncertain
from fleet.rentals.evidence.returns import bank_came, loose_ends
from fleet.rentals.evidence.verdicts import judge
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.scene import Scene, observation, open_scene
from fleet.rentals.starts.ejects import ask_inventory
from fleet.rentals.underway import claims
from fleet.stations import inventory
from fleet.stations.events import FaultReported
from fleet.stations.health import note_incident
from fleet.stations.inventory import Change
from fleet.stations.models import MovementKind
from fleet.stations.picture import look
from fleet.stations.rules import Incident


def apply_fact(session: Session, fact: DeviceFact, policy: RentalPolicy, now: datetime) -> None:
    """Apply one journaled event in the caller's transaction. Raises NoSuchSlot for a slot beyond the station's.

    `now` is when it is applied: deadlines are counted from it; what happened, happened at `fact.occurred_at`.
    """
    message = fact.message
    if isinstance(message, PowerBankInserted):
        _inserted(session, fact, message, policy, now)
    elif isinstance(message, PowerBankEjected):
        ejected(session, fact, message, policy, now)
    elif isinstance(message, CommandResult):
        answered(session, fact, message, policy, now)
    elif isinstance(message, Inventory):
        _inventory(session, fact, message, policy, now)
    elif isinstance(message, CommandUncertain):
        result_uncertain(session, fact, message, policy, now)
    elif isinstance(message, CheckNeeded):
        check_needed(session, fact, message, policy, now)
    elif isinstance(message, SlotFault):
        _slot_fault(session, fact, message, policy, now)
    elif isinstance(message, StationFault):
        inventory.set_station_fault(
            session, observation(fact), message.kind, cleared=message.cleared, detail=message.detail
        )
        _tell_fault(session, fact, now)


def _slot_fault(session: Session, fact: DeviceFact, message: SlotFault, policy: RentalPolicy, now: datetime) -> None:
    picture = look(session, fact.station_id, {message.slot}, (), now)
    inventory.set_slot_fault(picture, observation(fact), message.slot, message.kind, cleared=message.cleared)
    if not message.cleared:
        note_incident(
            session,
            picture.slot(message.slot),
            Incident(message.kind.value),
            source=f"{fact.boot}:{fact.seq}",
            at=fact.occurred_at,
            policy=policy.health,
            now=now,
        )
    _tell_fault(session, fact, now)


def _tell_fault(session: Session, fact: DeviceFact, now: datetime) -> None:
    """Once per event, also when a newer one is known: whoever hears of it looks at what is true then."""
    publish(session, FaultReported(fact.station_id), now)
    notify(session, Channel.STATION, str(fact.station_id))


def _inserted(
    session: Session, fact: DeviceFact, message: PowerBankInserted, policy: RentalPolicy, now: datetime
) -> None:
    serials = set() if message.serial is None else {message.serial}
    scene = open_scene(session, fact, policy, now, numbers={message.slot}, serials=serials, came=bool(serials))
    bank = None if message.serial is None else scene.picture.banks[message.serial]
    changes = inventory.insert_bank(scene.picture, scene.seen, message.slot, bank, message.charge_pct)
    _follow_up(scene, changes, {})


def _inventory(session: Session, fact: DeviceFact, message: Inventory, policy: RentalPolicy, now: datetime) -> None:
    orders = {order.id: order for order in unknown_ejects(session, fact.station_id)}
    claimed = claims.claimed_here(session, fact.station_id)
    scene = open_scene(
        session,
        fact,
        policy,
        now,
        numbers=None,
        serials={entry.serial for entry in message.slots if entry.serial is not None},
        rental_ids={order.rental_id for order in orders.values() if order.rental_id is not None} | set(claimed),
        command_ids=orders,
    )
    told = {slot.told_bank_id for slot in scene.picture.slots.values() if slot.told_bank_id is not None}
    told |= {scene.picture.banks[entry.serial].id for entry in message.slots if entry.serial is not None}
    asked_at = _asked_at(session, message)
    if not fact.numbered:
        # It may have been on its way, or in another gateway's hands, while newer events were stored.
        scene.seen = replace(scene.seen, taken_since=asked_at)
    changes = inventory.take_inventory(session, scene.picture, scene.seen, message.slots)
    _follow_up(scene, changes, orders)
    judge(scene, orders.values(), message, asked_at)
    claims.judge(scene, claimed, message, asked_at)
    if asked_at is None and fact.numbered:
        _ask_if_undecided(scene, orders.values(), claimed)
    conflicts.review(scene, told)
    if message.complete:
        reconcile.answered(session, [fact.station_id], now, policy.reconcile_every)


def _ask_if_undecided(scene: Scene, orders: Iterable[DeviceCommand], claimed: Collection[UUID]) -> None:
    """What a cabinet shows by itself may be too old to decide: what it is asked for is not."""
    doubts = any(order.state is CommandState.UNKNOWN for order in orders)
    if doubts or any(claims.pending(scene.session, rental_id) is not None for rental_id in claimed):
        ask_inventory(scene.session, scene.fact.station_id, scene.policy, scene.now, not_before=scene.now)


def _asked_at(session: Session, message: Inventory) -> datetime | None:
    """When we asked for this inventory, if we did: the picture is no older than the question."""
    command = None if message.command_id is None else find_command(session, message.command_id)
    return None if command is None else command.sent_at or command.created_at


def _follow_up(scene: Scene, changes: Sequence[Change], orders: dict[UUID, DeviceCommand]) -> None:
    """Departures before arrivals: a bank that changed its slot was out for a moment."""
    for change in changes:
        if change.kind is MovementKind.VANISHED and not _arrived_too(change, changes):
            bank_vanished(scene, change, orders)
    came = [change for change in changes if change.came]
    if came:
        since = min(change.since or scene.seen.at for change in came)
        scene.loose_ends = loose_ends(scene.session, [change.bank.id for change in came], since)
    for change in came:
        bank_came(scene, change)
    for change in changes:
        if change.kind is MovementKind.VANISHED and _arrived_too(change, changes):
            bank_vanished(scene, change, orders)


def _arrived_too(change: Change, changes: Sequence[Change]) -> bool:
    """The same event brought the bank, and tells that it is gone again."""
    return any(other.came and other.bank is change.bank for other in changes)
