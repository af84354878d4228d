"""What happens when nothing happens. Safe to run twice, at once, and late: each row is judged again under its lock."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from firmware_protocol.commands import QueryInventory
from fleet.devices.commands import EJECT, give_verdict, kind_of, mark_expired, mark_unknown, overdue_commands
from fleet.devices.models import CommandState, DeviceCommand
from fleet.rentals.closing.annulment import give_up
from fleet.rentals.closing.buyout import buy_out
from fleet.rentals.closing.dues import collect_some
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.rules import RIDING, WAITING, RentalPolicy
from fleet.rentals.starts import ejects
from fleet.rentals.states import move
from fleet.stations.models import Station

#: Rows of one kind per sweep: transactions stay short, the next tick takes the rest.
BATCH = 50


def sweep_commands(session: Session, now: datetime, policy: RentalPolicy, limit: int = 100) -> int:
    """Commands whose time is over: never sent → EXPIRED and the rental fails; no answer → UNKNOWN, ask the cabinet.

    Returns how many commands changed. Commands that another sweep holds are passed over.
    """
    overdue = overdue_commands(session, now, policy.eject_grace, limit)
    rentals = lock_rentals(session, {each.rental_id for each in overdue if each.rental_id is not None})
    asked: set[int] = set()
    for command in overdue:
        rental = None if command.rental_id is None else rentals.get(command.rental_id)
        if command.state is CommandState.QUEUED:
            mark_expired(session, command, now)
            _expired(session, command, rental, policy, now)
            continue
        mark_unknown(session, command, now)
        if command.kind != EJECT:
            continue
        if rental is not None and rental.state is RentalState.EJECTING and ejects.is_latest(session, command):
            ejects.become_unknown(session, rental, command, now)
        if command.station_id not in asked:
            asked.add(command.station_id)
            ejects.ask_inventory(session, command.station_id, policy, now, not_before=command.check_after)
    session.flush()  # what the database refuses must fail here
    return len(overdue)


def _expired(
    session: Session, command: DeviceCommand, rental: Rental | None, policy: RentalPolicy, now: datetime
) -> None:
    """It certainly moved nothing."""
    if rental is None or rental.state not in WAITING or not ejects.is_latest(session, command):
        return
    evidence = {"command": str(command.id), "sweep": "commands"}
    ejects.fail_or_retry(
        session, rental, code="not_sent", evidence=evidence, at=command.deadline, policy=policy, now=now
    )


def sweep_rentals(session: Session, now: datetime, policy: RentalPolicy) -> int:
    """Unknown past the limit → released; overdue; bought out at the cap; debts collected; cabinets asked again.

    Returns how many rentals changed.
    """
    changed = 0
    for due, apply in (
        (_unknown_too_long(now, policy), _release),
        (_overdue(now), _become_overdue),
        (_bought_out(now), _buy_out),
    ):
        changed += _each(session, due, apply, now)
    _abandon_strays(session, now, policy)
    changed += collect_some(session, now, BATCH)
    _ask_again(session, policy, now)
    session.flush()  # what the database refuses must fail here
    return changed


def _each(
    session: Session, due: Select[UUID], apply: Callable[[Session, Rental, datetime], None], now: datetime
) -> int:
    """Found without locks, judged again under them: whoever came first has changed it already."""
    ids = list(session.scalars(due.order_by(Rental.id).limit(BATCH)))
    rentals = lock_rentals(session, ids)
    still = set(session.scalars(due.where(Rental.id.in_(rentals)))) if rentals else set()
    for rental_id in sorted(still):
        apply(session, rentals[rental_id], now)
        session.flush()  # see sweep_rentals
    return len(still)


def _unknown_too_long(now: datetime, policy: RentalPolicy) -> Select[UUID]:
    return select(Rental.id).where(
        Rental.state == RentalState.EJECT_UNKNOWN,
        func.coalesce(Rental.swapped_at, Rental.requested_at) <= now - policy.eject_unknown_limit,
    )


def _release(session: Session, rental: Rental, now: datetime) -> None:
    """Nobody will ever know: the rider gets the benefit. What comes late still counts."""
    command = ejects.last_eject(session, rental.id)
    if command is not None and command.state is CommandState.UNKNOWN:
        give_verdict(session, command, CommandState.ABANDONED, now, code="eject_unknown_limit")
    give_up(
        session,
        rental,
        to=RentalState.EJECT_FAILED,
        why="eject_unknown_limit",
        code="eject_unknown_limit",
        evidence={"sweep": "rentals"},
        at=now,
        now=now,
    )


def _abandon_strays(session: Session, now: datetime, policy: RentalPolicy) -> None:
    """Commands in doubt that no rental waits for (operators', or of a rental that has its bank): they must not keep
    the station's next eject waiting for ever.
    """
    query = (
        select(DeviceCommand)
        .where(
            DeviceCommand.state == CommandState.UNKNOWN,
            DeviceCommand.created_at <= now - policy.eject_unknown_limit,
        )
        .order_by(DeviceCommand.id)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    for command in session.scalars(query.execution_options(populate_existing=True)):
        give_verdict(session, command, CommandState.ABANDONED, now, code="unknown_limit")


def _overdue(now: datetime) -> Select[UUID]:
    return select(Rental.id).where(Rental.state == RentalState.ACTIVE, Rental.overdue_at <= now)


def _become_overdue(session: Session, rental: Rental, now: datetime) -> None:
    evidence = {"sweep": "rentals"}
    at = rental.overdue_at or now
    move(session, rental, RentalState.OVERDUE, why="overdue", evidence=evidence, at=at, now=now)


def _bought_out(now: datetime) -> Select[UUID]:
    return select(Rental.id).where(Rental.state.in_(RIDING), Rental.buyout_at <= now)


def _buy_out(session: Session, rental: Rental, now: datetime) -> None:
    buy_out(session, rental, evidence={"sweep": "rentals"}, now=now)


def _ask_again(session: Session, policy: RentalPolicy, now: datetime) -> None:
    """A cabinet that is there and has an eject in doubt is asked until it tells what is in its slots."""
    inventory = kind_of(QueryInventory())
    asked = exists().where(
        DeviceCommand.station_id == Station.id,
        DeviceCommand.kind == inventory,
        DeviceCommand.created_at > now - policy.inventory_again,
    )
    doubt = exists().where(
        DeviceCommand.station_id == Station.id,
        DeviceCommand.kind == EJECT,
        DeviceCommand.state == CommandState.UNKNOWN,
    )
    query = select(Station.id).where(Station.online, doubt, ~asked).order_by(Station.id).limit(BATCH)
    for station_id in session.scalars(query):
        ejects.ask_inventory(session, station_id, policy, now)
