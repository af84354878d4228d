"""A bank has left a slot: which rental has it, or which case asks for it."""

from uuid import UUID

from sqlalchemy import select

from fleet.devices.commands import EJECT
from fleet.devices.models import CommandState, DeviceCommand
from fleet.rentals.cases.service import QUARANTINE, open_case, settle_case
from fleet.rentals.closing.completion import correct_start
from fleet.rentals.closing.discharge import count_use
from fleet.rentals.errors import TooManyOpenRentals
from fleet.rentals.evidence.returns import finish, finish_where_seen, was_back
from fleet.rentals.models import OPEN_STATES, Rental, RentalState, StartEvidence
from fleet.rentals.rules import FAILED, RIDING, WAITING, better
from fleet.rentals.scene import Scene
from fleet.rentals.starts import checks, ejects
from fleet.rentals.starts.ejects import IN_FLIGHT
from fleet.rentals.starts.queries import standing_of
from fleet.stations.inventory import Change
from fleet.stations.models import MovementKind, PowerBankMovement


def bank_left(scene: Scene, change: Change, command: DeviceCommand | None, *, told: StartEvidence) -> None:
    """By the cabinet's own word. `command`: the eject that moved it; `told`: what kind of word it is."""
    rental = scene.rental_of(command)
    if rental is None:
        _without_rental(scene, change, command)
    elif rental.state in WAITING:
        _for_waiting(scene, rental, change, told=told)
    elif rental.power_bank_id == change.bank.id and _had_bank(rental):
        _again(scene, rental, change, told=told)
    elif change.current and not _had_bank(rental) and _reopen(scene, rental, change, told=told):
        scene.record(change, rental.id)
    else:
        if change.current:
            _case(scene, change, "late_eject" if rental.state in FAILED else "second_bank", rental.id)
        scene.record(change, None)


def _had_bank(rental: Rental) -> bool:
    """It moved a bank; one that was cancelled because the bank was of no use did too."""
    return rental.state not in FAILED or rental.ended_at is not None


def bank_vanished(scene: Scene, change: Change, orders: dict[UUID, DeviceCommand]) -> None:
    """A bank is not where it was, and no event told so. `orders`: ejects of this station that wait for a verdict."""
    rental = scene.open_rental(change.bank)
    if rental is not None and rental.state in WAITING and rental.station_out_id == change.slot.station_id:
        if _gone_by_order(scene, rental, change):
            scene.record(change, rental.id)
            return
        ejects.lose_bank(
            scene.session,
            rental,
            evidence=scene.evidence,
            at=scene.seen.at,
            policy=scene.policy,
            now=scene.now,
        )
    order = _operators_order(orders, change)
    if order is not None:
        ejects.confirm(scene.session, order, change.slot.number, change.bank.serial, scene.now)
        _case(scene, change, "operator_eject", None, {"command": str(order.id)})
    elif rental is None or rental.state not in RIDING:
        _case(scene, change, "vanished", _last_failed(scene, change))
    scene.record(change, None)


def _gone_by_order(scene: Scene, rental: Rental, change: Change) -> bool:
    """True when the order was out: then the bank left by it, and is the rider's from the time of the order."""
    command = ejects.last_eject(scene.session, rental.id)
    if command is None or command.state not in IN_FLIGHT:
        return False
    ejects.confirm(scene.session, command, change.slot.number, change.bank.serial, scene.now)
    ejects.activate(
        scene.session,
        rental,
        change.bank,
        change.slot,
        charge_pct=None,
        at=command.sent_at or command.created_at,
        told=StartEvidence.ORDER,
        why="bank_gone",
        evidence=scene.evidence,
        now=scene.now,
    )
    return True


def _for_waiting(scene: Scene, rental: Rental, change: Change, *, told: StartEvidence) -> None:
    """The answer that the rider waits for. The rental follows whatever bank left."""
    if rental.power_bank_id != change.bank.id:
        _make_way(scene, rental, change)
        ejects.take_over(scene.session, rental, change.bank)
    if not change.expected:
        settle_case(scene.session, change.bank, f"left for rental {rental.id}", scene.now)
    _activate(scene, rental, change, told=told, why="bank_left")
    scene.record(change, rental.id)
    if not change.current:
        finish_where_seen(scene, rental, change)


def _activate(
    scene: Scene, rental: Rental, change: Change, *, told: StartEvidence, why: str, place: int | None = None
) -> None:
    """The rider has the bank that left."""
    ejects.activate(
        scene.session,
        rental,
        change.bank,
        change.slot,
        charge_pct=change.charge_pct,
        at=scene.seen.at,
        told=told,
        why=why,
        evidence=scene.evidence,
        now=scene.now,
        place=place,
    )


def _make_way(scene: Scene, rental: Rental, change: Change) -> None:
    """Another rental was to get this bank, or was thought to have it: one open rental per bank."""
    other = scene.open_rental(change.bank)
    if other is None or other is rental:
        return
    if other.state in RIDING:
        finish(scene, other, change)  # it must have come back unseen before it left again
        scene.session.flush()  # closed in the database before this one has the bank: one open rental per bank
        return
    ejects.lose_bank(
        scene.session, other, evidence=scene.evidence, at=scene.seen.at, policy=scene.policy, now=scene.now
    )


def _again(scene: Scene, rental: Rental, change: Change, *, told: StartEvidence) -> None:
    """Another word about the same departure: a better one corrects the time."""
    # What moved the other bank of an exchange says nothing about when the rental began.
    if rental.started_at is not None and not rental.swaps and better(told, rental.start_evidence):
        correct_start(scene.session, rental, scene.seen.at, told, evidence=scene.evidence, now=scene.now)
    if change.charge_pct is not None:
        rental.charge_out_pct = change.charge_pct
        count_use(scene.session, rental)
    if change.current and rental.state not in OPEN_STATES:
        _case(scene, change, "left_again", rental.id)
        scene.record(change, None)
    elif not _departure_recorded(scene, rental):
        scene.record(change, rental.id)


def _departure_recorded(scene: Scene, rental: Rental) -> bool:
    query = (
        select(PowerBankMovement.id)
        .where(
            PowerBankMovement.rental_id == rental.id,
            PowerBankMovement.power_bank_id == rental.power_bank_id,
            PowerBankMovement.kind.in_([MovementKind.EJECTED, MovementKind.VANISHED]),
        )
        .limit(1)
    )
    return scene.session.scalar(query) is not None


def _reopen(scene: Scene, rental: Rental, change: Change, *, told: StartEvidence) -> bool:
    """A late eject: the rider has the bank after all. Not when it was another bank, or they have another one by now."""
    if rental.power_bank_id != change.bank.id or scene.open_rental(change.bank) is not None:
        return False
    try:
        place = checks.free_place(standing_of(scene.session, rental.user_id), scene.policy)
    except TooManyOpenRentals:
        return False
    settle_case(scene.session, change.bank, f"left for rental {rental.id}", scene.now)
    _activate(scene, rental, change, told=told, why="late_eject", place=place)
    return True


def _without_rental(scene: Scene, change: Change, command: DeviceCommand | None) -> None:
    other = scene.open_rental(change.bank)
    first_time = scene.record_first(change, None)
    if other is None or other.state in RIDING:
        back = was_back(scene, change, other)
        if other is not None and not back:
            return  # told twice: the bank is accounted for
        other = None
    if command is None and first_time:
        change.slot.disabled_reason = change.slot.disabled_reason or QUARANTINE
    if not change.current:
        return  # told late: the bank was seen again since
    if command is None:
        _case(scene, change, "no_command", None)
    else:
        _case(scene, change, "operator_eject", None, {"command": str(command.id)})
    if other is not None:
        ejects.lose_bank(
            scene.session, other, evidence=scene.evidence, at=scene.seen.at, policy=scene.policy, now=scene.now
        )


def _case(
    scene: Scene, change: Change, reason: str, rental_id: UUID | None, more: dict[str, str] | None = None
) -> None:
    open_case(
        scene.session,
        change.bank,
        change.slot,
        reason=reason,
        evidence={**scene.evidence, **(more or {})},
        now=scene.now,
        rental_id=rental_id,
    )


def _operators_order(orders: dict[UUID, DeviceCommand], change: Change) -> DeviceCommand | None:
    """An eject without a rental, still without a verdict, that names this slot or this bank."""
    for order in orders.values():
        names = order.args.get("serial") == change.bank.serial or (
            "serial" not in order.args and order.args.get("slot") == change.slot.number
        )
        if order.rental_id is None and order.state is CommandState.UNKNOWN and order.kind == EJECT and names:
            return order
    return None


def _last_failed(scene: Scene, change: Change) -> UUID | None:
    """The rental that may have taken it after all, for the operator to look at."""
    query = (
        select(Rental.id)
        .where(
            Rental.power_bank_id == change.bank.id,
            Rental.state == RentalState.EJECT_FAILED,
            Rental.station_out_id == change.slot.station_id,
        )
        .order_by(Rental.id.desc())
        .limit(1)
    )
    return scene.session.scalar(query)
