"""A bank is in a slot again: what that means for the rental it was out for."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from fleet.rentals import ejects
from fleet.rentals.cases import settle_case
from fleet.rentals.closing import NOT_TAKEN, complete
from fleet.rentals.ejects import IN_FLIGHT
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.rules import RIDING
from fleet.rentals.scene import Scene
from fleet.rentals.states import note
from fleet.stations.inventory import Change
from fleet.stations.models import MovementKind, StationSlot


def bank_came(scene: Scene, change: Change) -> None:
    """An insertion, or an inventory that shows a bank where none was known to be; recorded with its rental."""
    if not change.current:
        scene.record(change, None)
        return
    slot = change.slot
    settle_case(scene.session, change.bank, f"back in {scene.fact.station_code}, slot {slot.number}", scene.now)
    rental = scene.open_rental(change.bank)
    if rental is None:
        scene.record(change, _back_after_buyout(scene, change))
    elif rental.state in RIDING:
        finish(scene, rental, change)
        scene.record(change, rental.id)
    else:
        scene.record(change, rental.id if _back_before_proof(scene, rental, change) else None)


def finish(scene: Scene, rental: Rental, change: Change) -> None:
    """Close a rental whose bank is in `change.slot` since `change.since` at the earliest."""
    assert rental.started_at is not None
    ended_at = max(rental.started_at, change.since or rental.started_at)
    not_taken = _same_place(rental, change.slot) and ended_at - rental.started_at <= scene.policy.not_taken_window
    if not_taken:
        change.slot.watched_until = scene.now + scene.policy.slot_watch
    complete(
        scene.session,
        rental,
        ended_at=min(ended_at, scene.fact.received_at),
        slot=change.slot,
        charge_pct=change.charge_pct,
        why=NOT_TAKEN if not_taken else ("returned" if change.kind is MovementKind.INSERTED else "found_in_slot"),
        evidence=scene.evidence,
        now=scene.now,
    )


def _back_before_proof(scene: Scene, rental: Rental, change: Change) -> bool:
    """The bank is back although nothing proved yet that it had left. True: it did leave for this rental.

    Only what happened after the order went out is proof; an older event that is told late is none.
    """
    command = ejects.last_eject(scene.session, rental.id)
    sent_at = None if command is None or command.state not in IN_FLIGHT else command.sent_at
    if command is None or sent_at is None or change.since is None or change.since < sent_at:
        return False
    if _same_place(rental, change.slot) and change.kind is MovementKind.FOUND:
        return False  # it never left the slot: the inventory gives its own verdict
    out = _slot_out(scene, rental)
    ejects.confirm(scene.session, command, out.number, change.bank.serial, scene.now)
    _went_out(scene, rental, change, out, sent_at)
    finish(scene, rental, change)
    return True


def _went_out(scene: Scene, rental: Rental, change: Change, out: StationSlot, sent_at: datetime) -> None:
    ejects.activate(
        scene.session,
        rental,
        change.bank,
        out,
        at=sent_at,
        certain=False,
        why="bank_came_back",
        evidence=scene.evidence,
        now=scene.now,
    )


def _slot_out(scene: Scene, rental: Rental) -> StationSlot:
    query = select(StationSlot).where(
        StationSlot.station_id == rental.station_out_id, StationSlot.number == rental.slot_out
    )
    return scene.session.scalars(query).one()


def _same_place(rental: Rental, slot: StationSlot) -> bool:
    return (rental.station_out_id, rental.slot_out) == (slot.station_id, slot.number)


def _back_after_buyout(scene: Scene, change: Change) -> UUID | None:
    """A bank that was paid for comes back: recorded and charged no more."""
    query = (
        select(Rental)
        .where(
            Rental.power_bank_id == change.bank.id,
            Rental.state == RentalState.BOUGHT_OUT,
            Rental.station_in_id.is_(None),
        )
        .order_by(Rental.id.desc())
        .limit(1)
        .with_for_update(key_share=True)
    )
    rental = scene.session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if rental is None:
        return None
    rental.station_in_id, rental.slot_in = change.slot.station_id, change.slot.number
    rental.charge_in_pct = change.charge_pct
    note(
        scene.session,
        rental,
        rental.state,
        why="returned_after_buyout",
        evidence=scene.evidence,
        at=change.since or scene.now,
        now=scene.now,
    )
    return rental.id
