"""What becomes of an eject that was ordered for a rental: the bank left, it did not, nobody knows."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from firmware_protocol.commands import EjectPowerBank, QueryInventory
from firmware_protocol.types import CommandOutcome
from fleet.devices import rules as command_rules
from fleet.devices.commands import EJECT, cancel_command, give_verdict, inventory_is_coming, order, queue_command
from fleet.devices.models import CommandPurpose, CommandState, DeviceCommand
from fleet.rentals.agreement import set_start
from fleet.rentals.closing.annulment import give_up
from fleet.rentals.locking import slot_out
from fleet.rentals.models import Rental, RentalState, RentalSwap, StartEvidence, SwapState
from fleet.rentals.queries import Shown
from fleet.rentals.rules import WAITING, RentalPolicy
from fleet.rentals.states import Evidence, move, note, unreserve
from fleet.stations.availability import Offer, best_bank, keep_for
from fleet.stations.health import note_incident
from fleet.stations.models import PowerBank, PowerBankState, Station, StationSlot, StationStatus
from fleet.stations.rules import Incident, after_success

#: The cabinet or its network was in the way, not the slot: another rider may try it at once.
NOT_THE_SLOTS_FAULT = frozenset(
    {
        "bank_gone",
        "bank_not_here",
        "deadline_passed",
        "eject_in_flight",
        "interrupted",
        "no_clock",
        "no_power",
        "not_parsed",
        "not_queued",
        "not_sent",
        "still_there",
    }
)
IN_FLIGHT = (CommandState.SENT, CommandState.UNKNOWN)


def order_eject(session: Session, rental: Rental | Shown, offer: Offer, *, policy: RentalPolicy, now: datetime) -> None:
    """Reserve the slot and send the order, by slot and serial: both must agree, or nothing moves. The rows go with the
    session's next statement.
    """
    keep_for(session, offer, rental.id)
    order(
        session,
        station_id=offer.station_id,
        command=EjectPowerBank(slot=offer.number, serial=offer.serial),
        deadline=now + policy.eject_deadline,
        now=now,
        rental_id=rental.id,
        requested_by=rental.user_id,
        request_id=rental.request_id,
    )


def last_eject(session: Session, rental_id: UUID) -> DeviceCommand | None:
    """The newest eject ordered for the rental."""
    query = (
        select(DeviceCommand)
        .where(DeviceCommand.rental_id == rental_id, DeviceCommand.kind == EJECT)
        .order_by(DeviceCommand.created_at.desc(), DeviceCommand.id.desc())
        .limit(1)
    )
    return session.scalars(query).one_or_none()


def is_latest(session: Session, command: DeviceCommand) -> bool:
    """Whether the rental waits for this eject still: another slot may be under way already."""
    latest = None if command.rental_id is None else last_eject(session, command.rental_id)
    return latest is not None and latest.id == command.id


def confirm(session: Session, command: DeviceCommand, slot: int, serial: str, now: datetime) -> None:
    """The metal itself answered: the command moved this bank, whatever was thought of it."""
    if command.state is CommandState.QUEUED:
        # The claim was lost with the database's last moments: the bank proves that the order was sent.
        command.state = CommandState.SENT
    if command_rules.may(command.state, CommandState.SUCCEEDED):
        command.outcome, command.result_slot, command.result_serial = CommandOutcome.SUCCEEDED, slot, serial
        give_verdict(session, command, CommandState.SUCCEEDED, now)


def activate(
    session: Session,
    rental: Rental,
    bank: PowerBank,
    slot: StationSlot,
    *,
    charge_pct: int | None,
    at: datetime,
    told: StartEvidence,
    why: str,
    evidence: Evidence,
    now: datetime,
    place: int | None = None,
) -> None:
    """The rider has the bank since `at`, which is brought between the request and now. `place`: see `move`."""
    if (rental.station_out_id, rental.slot_out) != (slot.station_id, slot.number):
        unreserve(session, rental)
        rental.station_out_id, rental.slot_out = slot.station_id, slot.number
    if slot.reserved_for == rental.id:
        slot.reserved_for = None
    at = max(rental.swapped_at or rental.requested_at, min(at, now))
    if rental.swapped_at is None:
        set_start(rental, at, told)
    if charge_pct is not None:
        rental.charge_out_pct = charge_pct
    if bank.state is PowerBankState.MISSING:
        bank.state = PowerBankState.RENTED
    slot.health_score = after_success(slot.health_score)
    move(session, rental, RentalState.ACTIVE, why=why, evidence=evidence, at=at, now=now, place=place)
    if rental.swapped_at is not None:
        _swapped(session, rental, now)


def _swapped(session: Session, rental: Rental, now: datetime) -> None:
    """The other bank is with the rider: the rental goes on as it began."""
    swap = session.get_one(RentalSwap, rental.swap_id)
    swap.state, swap.ended_at = SwapState.DONE, now
    rental.swap_id = rental.swapped_at = None
    rental.swaps += 1


def fail_or_retry(
    session: Session,
    rental: Rental,
    *,
    code: str,
    evidence: Evidence,
    at: datetime,
    policy: RentalPolicy,
    now: datetime,
) -> None:
    """The bank did not leave. While the rider still waits, the next best slot is tried once; then it is over."""
    _blame(session, rental, code, at=at, policy=policy, now=now)
    if rental.state in WAITING and _retry(session, rental, code, evidence, at, policy=policy, now=now):
        return
    give_up(
        session,
        rental,
        to=RentalState.EJECT_FAILED,
        why="eject_failed",
        code=code,
        evidence=evidence,
        at=at,
        now=now,
    )


def _blame(session: Session, rental: Rental, code: str, *, at: datetime, policy: RentalPolicy, now: datetime) -> None:
    """A slot that could not give its bank is watched for a while, and loses health; too often, and it is disabled."""
    unreserve(session, rental)
    if code in NOT_THE_SLOTS_FAULT:
        return
    slot = slot_out(session, rental, lock=True)
    slot.watched_until = now + policy.slot_watch
    command = last_eject(session, rental.id)
    source = str(rental.id if command is None else command.id)
    note_incident(session, slot, Incident.FAILED_EJECT, source=source, at=at, policy=policy.health, now=now)


def _retry(
    session: Session,
    rental: Rental,
    code: str,
    evidence: Evidence,
    at: datetime,
    *,
    policy: RentalPolicy,
    now: datetime,
) -> bool:
    waiting_since = rental.swapped_at or rental.requested_at
    if rental.eject_attempts >= policy.max_eject_attempts or now >= waiting_since + policy.eject_deadline:
        return False
    station = session.get_one(Station, rental.station_out_id, populate_existing=True)
    if station.status is not StationStatus.ACTIVE or not station.online:
        return False
    offer = best_bank(session, station.id, policy.min_charge_pct, now, not_slots=_of_no_use(session, rental))
    if offer is None:
        return False
    tried = {"code": code, "slot": rental.slot_out}
    rental.power_bank_id, rental.slot_out = offer.bank_id, offer.number
    rental.charge_out_pct = offer.charge_pct
    rental.eject_attempts += 1
    order_eject(session, rental, offer, policy=policy, now=now)
    evidence = {**evidence, "tried": tried}
    if rental.state is RentalState.EJECT_UNKNOWN:
        # The bank was seen in its slot: nothing is unknown any more.
        move(session, rental, RentalState.EJECTING, why="next_slot", evidence=evidence, at=at, now=now)
    else:
        note(session, rental, rental.state, why="next_slot", evidence=evidence, at=at, now=now)
    return True


def _of_no_use(session: Session, rental: Rental) -> set[int]:
    """Slots of the station that are not tried next: the one that failed, and the one with the bank that was given back
    for another one.
    """
    tried = {rental.slot_out}
    if rental.swap_id is not None:
        given_back = session.get_one(RentalSwap, rental.swap_id).returned_slot
        tried |= set() if given_back is None else {given_back}
    return tried


def lose_bank(
    session: Session, rental: Rental, *, evidence: Evidence, at: datetime, policy: RentalPolicy, now: datetime
) -> None:
    """The bank that a rental waits for has gone otherwise. An order that is not out yet is taken back; one that is
    out names the bank and will move nothing.
    """
    command = last_eject(session, rental.id)
    if command is not None and cancel_command(session, command.id, now):
        session.refresh(command)
    fail_or_retry(session, rental, code="bank_gone", evidence=evidence, at=at, policy=policy, now=now)
    session.flush()  # the bank's place in the index of open rentals is free before somebody else takes it


def become_unknown(session: Session, rental: Rental, command: DeviceCommand, now: datetime) -> None:
    """No answer in time: the money stays held, and the cabinet is asked what is in its slots."""
    evidence = {"command": str(command.id)}
    move(session, rental, RentalState.EJECT_UNKNOWN, why="no_answer", evidence=evidence, at=command.deadline, now=now)


def ask_inventory(
    session: Session, station_id: int, policy: RentalPolicy, now: datetime, not_before: datetime | None = None
) -> None:
    """`not_before`: sooner the answer proves nothing; whoever is going to ask then or later anyway asks for all."""
    if not_before is not None and inventory_is_coming(session, station_id, not_before, now):
        return
    queue_command(
        session,
        station_id=station_id,
        command=QueryInventory(),
        deadline=max(now, not_before or now) + policy.inventory_deadline,
        now=now,
        purpose=CommandPurpose.DOUBT,
        not_before=not_before,
    )


def take_over(session: Session, rental: Rental, bank: PowerBank) -> None:
    """The rental follows the bank that really left; the one that was meant is free again."""
    unreserve(session, rental)
    rental.power_bank_id = bank.id
    session.flush()  # see lose_bank
