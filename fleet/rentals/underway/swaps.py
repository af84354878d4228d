"""A rider gives a bank back, soon after it left, and gets another one: one rental, one price (decision 0144).

The other bank is kept in its slot (`reserved_for` is the rental) until the first one is back; then it is ordered as at
a start, and whatever may become of an eject may become of it.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from firmware_protocol.commands import EjectPowerBank
from fleet.common.notify import Channel, notify
from fleet.db import new_id
from fleet.devices.commands import queue_command
from fleet.rentals.closing.discharge import count_use
from fleet.rentals.errors import NotSwappable
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import Rental, RentalState, RentalSwap, SwapReason, SwapState
from fleet.rentals.queries import rental_of
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.scene import Scene
from fleet.rentals.starts import checks
from fleet.rentals.starts.choices import choose
from fleet.rentals.states import move, note
from fleet.stations.availability import keep_for
from fleet.stations.inventory import Change
from fleet.stations.models import MovementKind, PowerBank, PowerBankState, StationSlot
from fleet.stations.queries import find_station

#: In `power_bank.state_set_by`.
SET_BY: Final = "swap"
_BATCH: Final = 50


def ask_swap(
    session: Session,
    *,
    user_id: UUID,
    rental_id: UUID,
    station_code: str,
    reason: SwapReason,
    now: datetime,
    policy: RentalPolicy,
) -> Rental:
    """Keep another bank at the station where the rider stands; it comes out when the rider's is put in there, within
    `policy.swap_window`. Asked again while it waits, it changes nothing.

    Raises RentalNotFound, NotSwappable, StationNotFound, StationNotRenting, StationOffline, NoBankAvailable.
    """
    rental_of(session, user_id, rental_id)
    rental = lock_rentals(session, [rental_id])[rental_id]
    if rental.swap_id is not None and rental.state is RentalState.ACTIVE:
        return rental_of(session, user_id, rental_id)
    _must_be_swappable(rental, policy, now)
    station = find_station(session, station_code)
    checks.check_station(station, policy, now)
    offer = choose(session, station, None, policy=policy, now=now)
    swap = RentalSwap(
        id=new_id(), rental_id=rental.id, state=SwapState.WAITING, reason=reason, station_id=station.id,
        old_bank_id=rental.power_bank_id, old_station_id=rental.station_out_id, old_slot=rental.slot_out,
        old_charge_out_pct=rental.charge_out_pct, kept_bank_id=offer.bank_id, kept_slot=offer.number, asked_at=now,
        expires_at=now + policy.swap_window,
    )  # fmt: skip
    session.add(swap)
    keep_for(session, offer, rental.id)
    rental.swap_id = swap.id
    evidence = {"user": str(user_id), "swap": str(swap.id), "station": station.code, "reason": reason}
    note(session, rental, rental.state, why="swap_asked", evidence=evidence, at=now, now=now)
    notify(session, Channel.STATION, str(station.id))
    session.flush()  # the answer is read back
    return rental_of(session, user_id, rental_id)


def _must_be_swappable(rental: Rental, policy: RentalPolicy, now: datetime) -> None:
    reason = None
    if rental.state is not RentalState.ACTIVE or rental.started_at is None:
        reason = f"it is {rental.state}"
    elif rental.swaps:
        reason = "it was exchanged before"
    elif now - rental.started_at > policy.swap_window:
        reason = "the bank is out for too long"
    if reason is not None:
        raise NotSwappable(
            f"the bank cannot be exchanged: {reason}", rental_id=rental.id, reason=reason, state=rental.state
        )


def given_back(scene: Scene, rental: Rental, change: Change) -> bool:
    """The rider's bank came into a slot: True when it was given back for another one, which is ordered now.

    What is told after the other bank is kept no more, or of another station, is a return as any other.
    """
    if rental.swap_id is None or change.kind is not MovementKind.INSERTED or change.since is None:
        return False
    swap = scene.session.get_one(RentalSwap, rental.swap_id, with_for_update=True, populate_existing=True)
    in_time = swap.asked_at <= change.since and scene.now <= swap.expires_at
    if swap.state is not SwapState.WAITING or change.slot.station_id != swap.station_id or not in_time:
        return False
    assert rental.started_at is not None
    swap.state, swap.returned_slot = SwapState.EJECTING, change.slot.number
    swap.returned_at = max(rental.started_at, min(change.since, scene.fact.received_at))
    swap.old_charge_out_pct, swap.old_charge_in_pct = rental.charge_out_pct, change.charge_pct
    rental.charge_in_pct = change.charge_pct
    count_use(scene.session, rental)
    _keep_from_riders(change.bank, swap.reason, scene.now)
    _order_other(scene, rental, swap)
    return True


def _keep_from_riders(bank: PowerBank, reason: SwapReason, now: datetime) -> None:
    """Somebody has to look at a bank that did not work."""
    if reason is not SwapReason.LOW_BATTERY and bank.state is PowerBankState.AVAILABLE:
        bank.state, bank.state_set_by, bank.updated_at = PowerBankState.QUARANTINED, SET_BY, now
        bank.quarantine_reason = f"a rider gave it back: {reason}"


def _order_other(scene: Scene, rental: Rental, swap: RentalSwap) -> None:
    """By slot and serial as they were kept. The slot is not touched: it waits for the rental already, and a second slot
    of a station is never locked after the first.
    """
    bank = scene.session.get_one(PowerBank, swap.kept_bank_id)
    rental.power_bank_id, rental.station_out_id, rental.slot_out = bank.id, swap.station_id, swap.kept_slot
    rental.charge_out_pct, rental.charge_in_pct, rental.discharged_pct = bank.charge_pct, None, 0
    rental.swapped_at, rental.eject_attempts = swap.returned_at, 1
    assert rental.swapped_at is not None
    move(
        scene.session,
        rental,
        RentalState.EJECTING,
        why="swap_returned",
        evidence={**scene.evidence, "swap": str(swap.id)},
        at=rental.swapped_at,
        now=scene.now,
    )
    queue_command(
        scene.session,
        station_id=swap.station_id,
        command=EjectPowerBank(slot=swap.kept_slot, serial=bank.serial),
        deadline=scene.now + scene.policy.eject_deadline,
        now=scene.now,
        rental_id=rental.id,
        requested_by=rental.user_id,
    )
    scene.session.flush()  # the old bank is nobody's before somebody else takes it


def sweep_swaps(session: Session, now: datetime) -> int:
    """Riders who did not put their bank back in time go on with it; the other one is anybody's. Returns how many."""
    due = select(RentalSwap.rental_id).where(RentalSwap.state == SwapState.WAITING, RentalSwap.expires_at < now)
    rentals = lock_rentals(session, list(session.scalars(due.order_by(RentalSwap.expires_at).limit(_BATCH))))
    query = (
        select(RentalSwap)
        .where(RentalSwap.rental_id.in_(rentals), RentalSwap.state == SwapState.WAITING, RentalSwap.expires_at < now)
        .order_by(RentalSwap.station_id, RentalSwap.kept_slot)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    found = session.scalars(query).all()
    for swap in found:
        rental = rentals[swap.rental_id]
        swap.state, swap.ended_at = SwapState.EXPIRED, now
        rental.swap_id = None
        evidence = {"swap": str(swap.id), "sweep": "swaps"}
        note(session, rental, rental.state, why="swap_expired", evidence=evidence, at=swap.expires_at, now=now)
        session.execute(
            update(StationSlot)
            .where(
                StationSlot.station_id == swap.station_id,
                StationSlot.number == swap.kept_slot,
                StationSlot.reserved_for == rental.id,
            )
            .values(reserved_for=None)
        )
        notify(session, Channel.STATION, str(swap.station_id))
    session.flush()  # what the database refuses must fail here
    return len(found)
