"""What cabinets say of orders, and of banks that left: which order it is about, and whether it is news."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Uuid, bindparam, select
from sqlalchemy.orm import Session

from firmware_protocol.messages import CommandResult, PowerBankEjected
from firmware_protocol.types import CommandOutcome
from fleet.common.notify import Channel, notify
from fleet.common.prepared import ByKey, Prepared
from fleet.devices.commands import EJECT, find_command, id_of, settle_command
from fleet.devices.facts import DeviceFact
from fleet.devices.models import CommandState, DeviceCommand
from fleet.rentals.evidence.contradictions import never_left
from fleet.rentals.evidence.departures import bank_left, bank_vanished
from fleet.rentals.locking import Around, lock_rentals, rentals_around
from fleet.rentals.models import Rental, RentalState, StartEvidence
from fleet.rentals.rules import WAITING, RentalPolicy
from fleet.rentals.scene import Scene, open_scene
from fleet.rentals.starts import ejects
from fleet.rentals.starts.ejects import IN_FLIGHT
from fleet.stations import inventory
from fleet.stations.models import MovementKind, PowerBank

#: The cabinet saw something else in its slots than we thought: ask what is there.
_OUR_PICTURE_IS_WRONG = frozenset({"bank_not_here", "serial_mismatch", "slot_empty", "slot_locked"})
#: How far a cabinet's corrected clock may be off.
_CLOCKS_DIFFER = timedelta(seconds=5)
_RENTAL: Final = ByKey(Rental)
_HEARD: Final = Prepared(
    select(DeviceCommand.id)
    .outerjoin(Rental, Rental.id == DeviceCommand.rental_id)
    .where(
        DeviceCommand.id == bindparam("id", type_=Uuid()),
        DeviceCommand.station_id == bindparam("station_id"),
        DeviceCommand.kind == EJECT,
        DeviceCommand.state == CommandState.SUCCEEDED,
        # Taken for a success by an inventory: its own word says better when (`_is_news`).
        Rental.start_evidence.is_distinct_from(StartEvidence.ORDER),
    ),
    planned=True,
)


def ejected(session: Session, fact: DeviceFact, message: PowerBankEjected, policy: RentalPolicy, now: datetime) -> None:
    """The movement itself, with or without the order that it answers."""
    command_id = _eject_in_flight(session, fact, message) if message.command_id is None else id_of(message.command_id)
    left = _Left(command_id, message.slot, message.serial, message.charge_pct, StartEvidence.MOVEMENT)
    _departed(session, fact, left, policy, now)


def heard_before(session: Session, fact: DeviceFact, result: CommandResult) -> bool:
    """The second word of a cabinet that its eject moved a bank, after the movement itself: nothing is left to do."""
    command_id = id_of(result.command_id)
    if result.outcome is not CommandOutcome.SUCCEEDED or command_id is None:
        return False
    return bool(_HEARD.all(session, id=command_id, station_id=fact.station_id))


def answered(session: Session, fact: DeviceFact, result: CommandResult, policy: RentalPolicy, now: datetime) -> None:
    """The end of a command. For an eject the bank counts more than the outcome, and either may come alone."""
    named = command_named(session, fact, result.command_id)
    if named is None:
        return
    known = named.state is CommandState.SUCCEEDED and result.outcome is CommandOutcome.SUCCEEDED
    # What a station tells is applied in its order, so a success that is known already needs no lock to stay one.
    command = None if known else settle_command(session, result.command_id, result, now)
    if named.kind != EJECT:
        return
    if result.outcome is not CommandOutcome.SUCCEEDED:
        if command is not None:
            _refused(session, fact, result, command, policy=policy, now=now)
        else:
            never_left(session, fact, result, named, now)
    elif command is not None or _is_news(session, named):
        slot, serial = result.slot or named.args.get("slot"), result.serial or named.args.get("serial")
        _departed(session, fact, _Left(named.id, slot, serial, None, StartEvidence.RESULT), policy, now)


def _is_news(session: Session, command: DeviceCommand) -> bool:
    """The command was known to have succeeded, but not by the cabinet's own word on when."""
    rental = None if command.rental_id is None else _RENTAL.get(session, command.rental_id)
    return rental is not None and rental.start_evidence is StartEvidence.ORDER


def _refused(
    session: Session,
    fact: DeviceFact,
    result: CommandResult,
    command: DeviceCommand,
    *,
    policy: RentalPolicy,
    now: datetime,
) -> None:
    code = result.code or result.outcome.value
    if code in _OUR_PICTURE_IS_WRONG:
        ejects.ask_inventory(session, fact.station_id, policy, now)
    if command.rental_id is None:
        return
    rental = lock_rentals(session, [command.rental_id])[command.rental_id]
    latest = ejects.last_eject(session, rental.id)
    if rental.state not in WAITING or latest is None or latest.id != command.id:
        return  # the bank has spoken already, or another slot is being tried
    evidence = {"device_event": fact.ref, "command": str(command.id)}
    ejects.fail_or_retry(session, rental, code=code, evidence=evidence, at=fact.occurred_at, policy=policy, now=now)
    notify(session, Channel.STATION, str(fact.station_id))


@dataclass(frozen=True, slots=True)
class _Left:
    """What an event tells of a departure, and what kind of word it is."""

    #: The eject that it was by, if one is known; not looked at yet.
    command_id: UUID | None
    slot: int | None
    serial: str | None
    charge_pct: int | None
    told: StartEvidence


def _departed(session: Session, fact: DeviceFact, left: _Left, policy: RentalPolicy, now: datetime) -> None:
    """A bank left. What the event leaves out is taken from the order, then from what the slot was known to hold."""
    numbers = set() if left.slot is None else {left.slot}
    serials = set() if left.serial is None else {left.serial}
    around = rentals_around(session, fact.station_id, numbers, serials, left.command_id)
    meant = next((each for each in around if each.ordered), None)
    slot = left.slot if left.slot is not None or meant is None else meant.slot_out
    if slot is None:
        return
    scene = open_scene(
        session,
        fact,
        policy,
        now,
        numbers={slot},
        serials=serials if meant is None else serials | {meant.serial},
        rental_ids=() if meant is None else {meant.rental_id},
        # Another slot than the one told of is looked up with whatever rental has to do with it.
        around=None if left.slot is None else {each.rental_id for each in around},
        command_ids=() if left.command_id is None else {left.command_id},
    )
    command = scene.command(left.command_id)
    bank = _bank_that_left(scene, slot, left.serial, meant)
    if bank is None:
        return  # an unknown thing left a slot that was thought to be empty: there is nothing to account for
    if command is not None:
        ejects.confirm(session, command, slot, bank.serial, now)
    overtaken = _is_back_elsewhere(scene.rental_of(command), bank, fact.station_id)
    changes = inventory.eject_bank(
        scene.picture,
        scene.seen,
        slot,
        bank,
        left.charge_pct,
        ordered=command is not None,
        overtaken=overtaken,
    )
    for change in changes:
        if change.kind is MovementKind.VANISHED:
            bank_vanished(scene, change, {})
        else:
            bank_left(scene, change, command, told=left.told)


def _bank_that_left(scene: Scene, slot: int, serial: str | None, meant: Around | None) -> PowerBank | None:
    if serial is not None:
        return scene.picture.banks[serial]
    held = scene.picture.bank_in(scene.picture.slot(slot))
    return held if held is not None or meant is None else scene.picture.banks.get(meant.serial)


def _is_back_elsewhere(rental: Rental | None, bank: PowerBank, station_id: int) -> bool:
    """The rental is over because the bank came back at another station: that was after it left, whatever the clocks."""
    return (
        rental is not None
        and rental.state in {RentalState.COMPLETED, RentalState.DISPUTED}
        and rental.power_bank_id == bank.id
        and rental.station_in_id not in {None, station_id}
    )


def command_named(session: Session, fact: DeviceFact, command_id: str | None) -> DeviceCommand | None:
    """The command that the event names, if it is one of this station's."""
    command = None if command_id is None else find_command(session, command_id)
    return command if command is not None and command.station_id == fact.station_id else None


def _eject_in_flight(session: Session, fact: DeviceFact, message: PowerBankEjected) -> UUID | None:
    """Cabinets without command ids: at most one eject is in flight per station, and slot or serial must be its own.

    What happened before the order went out is not its doing, whenever it is told.
    """
    query = select(DeviceCommand).where(
        DeviceCommand.station_id == fact.station_id,
        DeviceCommand.kind == EJECT,
        DeviceCommand.state.in_(IN_FLIGHT),
    )
    command = session.scalars(query).one_or_none()
    if command is None or (command.sent_at is not None and fact.occurred_at < command.sent_at - _CLOCKS_DIFFER):
        return None
    by_serial = message.serial is not None and "serial" in command.args
    its_own = command.args["serial"] == message.serial if by_serial else command.args.get("slot") == message.slot
    return command.id if its_own else None
