"""A bank is in a slot again: what that means for the rental it was out for."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import Session

from fleet.rentals.agreement import is_kept
from fleet.rentals.cases.models import CaseState, OrphanBankCase
from fleet.rentals.cases.service import settle_case
from fleet.rentals.closing.completion import BROUGHT_BACK, NOT_TAKEN, Return, bring_back, complete, correct_end
from fleet.rentals.locking import kept_without_bank, lock_rentals, slot_out
from fleet.rentals.models import Rental, RentalState, StartEvidence
from fleet.rentals.rules import RIDING
from fleet.rentals.scene import Scene
from fleet.rentals.starts import ejects
from fleet.rentals.starts.ejects import IN_FLIGHT
from fleet.rentals.underway import swaps
from fleet.rentals.underway.claims import bank_is_back
from fleet.stations.health import judge_bank, note_incident, suspect_bank
from fleet.stations.inventory import Change
from fleet.stations.models import MovementKind, PowerBankMovement, Station, StationSlot
from fleet.stations.rules import Incident


def loose_ends(session: Session, bank_ids: Collection[int], since: datetime) -> set[int]:
    """Banks that a case asks for, that were paid for, or whose rental was closed without them, later than `since`:
    what most banks that come in are not.
    """
    asked_for = select(OrphanBankCase.power_bank_id).where(
        OrphanBankCase.power_bank_id.in_(bank_ids), OrphanBankCase.state == CaseState.OPEN
    )
    paid_for = select(Rental.power_bank_id).where(Rental.power_bank_id.in_(bank_ids), kept_without_bank())
    closed_later = select(Rental.power_bank_id).where(
        Rental.power_bank_id.in_(bank_ids),
        Rental.state.in_((RentalState.COMPLETED, RentalState.DISPUTED)),
        Rental.ended_at > since,
    )
    return set(session.scalars(asked_for.union(paid_for, closed_later)))


def bank_came(scene: Scene, change: Change) -> None:
    """An insertion, or an inventory that shows a bank where none was known to be; recorded with its rental."""
    if not change.current:
        scene.record(change, _back_earlier(scene, change))
        return
    if change.bank.id in scene.loose_ends:
        resolution = f"back in {scene.fact.station_code}, slot {change.slot.number}"
        settle_case(scene.session, change.bank, resolution, scene.now)
    rental = scene.open_rental(change.bank)
    if rental is None:
        scene.record(change, _of_closed(scene, change))
    elif rental.state in RIDING and swaps.given_back(scene, rental, change):
        scene.record(change, rental.id)
    elif rental.state in RIDING:
        finish(scene, rental, change)
        scene.record(change, rental.id)
        judge_bank(scene.session, change.bank, change.slot, scene.policy.health, scene.now)
    else:
        # Waited for by its next rider: what is told now may be how it came here from the one before.
        proves = _back_before_proof(scene, rental, change)
        scene.record(change, rental.id if proves else _of_closed(scene, change))


def finish(scene: Scene, rental: Rental, change: Change) -> None:
    """Close a rental whose bank is in `change.slot` since `change.since` at the earliest."""
    told = change.since if change.kind is MovementKind.INSERTED else None
    bank_is_back(scene.session, rental, change.slot.station_id, told, by=scene.fact.ref, now=scene.now)
    complete(scene.session, rental, _return(scene, rental, change), evidence=scene.evidence, now=scene.now)
    _suspect(scene, rental, change)


def _suspect(scene: Scene, rental: Rental, change: Change) -> None:
    """Riders bring back at once what does not work."""
    assert rental.started_at is not None
    assert rental.ended_at is not None
    if rental.failure_code != NOT_TAKEN and rental.ended_at - rental.started_at < scene.policy.quick_return:
        source = str(rental.id)
        suspect_bank(scene.session, change.bank, change.slot, source=source, at=rental.ended_at)


def was_back(scene: Scene, change: Change, riding: Rental | None) -> bool:
    """A bank left a slot by no order for a rental, and so had been put into it, whatever became of that word: then its
    rental was over, since the slot was last known without it at the earliest. `riding`: its open rental, if it has one.

    False: nothing follows. What left the slot that the rental began in may be its beginning, told twice.
    """
    since = None if change.since is None else min(change.since, scene.seen.at)
    seen = replace(change, since=since)
    if riding is None:
        return _was_back_earlier(scene, seen)
    began = riding.started_at
    if not change.current or began is None or began >= scene.seen.at or _same_place(riding, change.slot):
        return False
    finish(scene, riding, seen)
    scene.session.flush()  # the bank's place in the index of open rentals is free
    return True


def _was_back_earlier(scene: Scene, change: Change) -> bool:
    """Of a rental that is closed by now, but was not when the bank left that slot."""
    left_at = scene.seen.at
    known = or_(Rental.swaps == 0, _left_before(left_at))
    rental = _closed_after(scene, change, left_at, Rental.started_at < left_at, known)
    if rental is None or not _ends_after(rental, left_at) or _same_place(rental, change.slot):
        return False
    _end_earlier(scene, rental, change)
    return True


def _left_before(at: datetime) -> ColumnElement[bool]:
    """The rental's bank is one that it was given in an exchange, and had left for it by then."""
    return exists().where(
        PowerBankMovement.rental_id == Rental.id,
        PowerBankMovement.power_bank_id == Rental.power_bank_id,
        PowerBankMovement.kind.in_([MovementKind.EJECTED, MovementKind.VANISHED]),
        PowerBankMovement.at < at,
    )


def finish_where_seen(scene: Scene, rental: Rental, change: Change) -> None:
    """Close a rental whose bank (`change`: how it left) was seen again before it was known whose it was.

    In its own slot: nobody took it. In another one: it was returned there.
    """
    arrival = _arrival(scene, rental, change)
    if arrival is None:
        finish(scene, rental, change)
        return
    slot, code, movement = arrival
    evidence = {"device_event": f"{code}:{movement.boot}:{movement.seq}"}
    # An inventory tells that it is there and not since when: the doubt is not the rider's.
    since = movement.at if movement.kind is MovementKind.INSERTED else None
    seen = replace(change, kind=movement.kind, slot=slot, charge_pct=movement.charge_pct, since=since)
    bank_is_back(scene.session, rental, slot.station_id, since, by=evidence["device_event"], now=scene.now)
    # Its time was already brought before its own receipt; the departure may have been received earlier.
    complete(scene.session, rental, _return(scene, rental, seen, latest=scene.now), evidence=evidence, now=scene.now)
    _suspect(scene, rental, seen)


def _never_seen_since() -> ColumnElement[bool]:
    """Of a rental that was closed without its bank: no cabinet has shown that since it began. So one that an inventory
    finds now may have been there ever since, however long before the start that slot was looked at last.
    """
    seen = exists().where(
        PowerBankMovement.power_bank_id == Rental.power_bank_id,
        PowerBankMovement.kind.in_([MovementKind.INSERTED, MovementKind.FOUND]),
        PowerBankMovement.at > Rental.started_at,
    )
    return and_(Rental.station_in_id.is_(None), ~seen)


def _arrival(scene: Scene, rental: Rental, change: Change) -> tuple[StationSlot, str, PowerBankMovement] | None:
    """The first time that the bank came somewhere after it had left; clocks of two stations may differ a little."""
    query = (
        select(StationSlot, Station.code, PowerBankMovement)
        .join(
            PowerBankMovement,
            and_(
                PowerBankMovement.station_id == StationSlot.station_id,
                PowerBankMovement.slot_number == StationSlot.number,
            ),
        )
        .join(Station, Station.id == StationSlot.station_id)
        .where(
            PowerBankMovement.power_bank_id == change.bank.id,
            PowerBankMovement.kind.in_([MovementKind.INSERTED, MovementKind.FOUND]),
            PowerBankMovement.rental_id.is_(None),
            PowerBankMovement.at >= rental.requested_at,
        )
        .order_by(PowerBankMovement.at < scene.seen.at, PowerBankMovement.at, PowerBankMovement.id)
        .limit(1)
    )
    row = scene.session.execute(query).one_or_none()
    return None if row is None else (row[0], row[1], row[2])


def _return(scene: Scene, rental: Rental, change: Change, *, latest: datetime | None = None) -> Return:
    """When the bank was back, never later than the receipt (or `latest`), and whether it had been taken at all."""
    assert rental.started_at is not None
    at = min(max(rental.started_at, change.since or rental.started_at), latest or scene.fact.received_at)
    why = "returned" if change.kind is MovementKind.INSERTED else "found_in_slot"
    if _same_place(rental, change.slot) and at - rental.started_at <= scene.policy.not_taken_window:
        why = NOT_TAKEN
        change.slot.watched_until = scene.now + scene.policy.slot_watch
        note_incident(
            scene.session,
            change.slot,
            Incident.NOT_TAKEN,
            source=str(rental.id),
            at=at,
            policy=scene.policy.health,
            now=scene.now,
        )
    return Return(at, change.slot, change.charge_pct, why)


def _back_earlier(scene: Scene, change: Change, *, nowhere: bool = False) -> UUID | None:
    """A cabinet that was offline tells of a return before the one that closed the rental, or before it was bought out.

    `nowhere`: only of a rental that was closed without knowing where the bank was.
    """
    if change.since is None:
        return None
    began = _never_seen_since() if nowhere else Rental.started_at <= change.since
    rental = _closed_after(scene, change, change.since, began)
    if rental is None:
        return None
    if _ends_after(rental, change.since):
        _end_earlier(scene, rental, change)
    return rental.id


def _closed_after(scene: Scene, change: Change, at: datetime, *which: ColumnElement[bool]) -> Rental | None:
    """A rental of this bank that is closed by now, but was not `at` that time. Locked: look at its end again.

    What an insertion may be about is locked with the scene. What only an inventory or a departure finds is locked after
    the slots here, against the usual order: a deadlock costs a repetition, and is rare.
    """
    query = select(Rental.id).where(
        Rental.power_bank_id == change.bank.id,
        Rental.state.in_((RentalState.COMPLETED, RentalState.BOUGHT_OUT, RentalState.DISPUTED)),
        Rental.ended_at > at,
        *which,
    )
    rental_id = scene.session.scalar(query.order_by(Rental.id).limit(1))
    return None if rental_id is None else lock_rentals(scene.session, [rental_id])[rental_id]


def _ends_after(rental: Rental, at: datetime) -> bool:
    return rental.ended_at is not None and rental.ended_at > at


def _end_earlier(scene: Scene, rental: Rental, change: Change) -> None:
    correct_end(scene.session, rental, _return(scene, rental, change), evidence=scene.evidence, now=scene.now)
    _suspect(scene, rental, change)


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
    out = slot_out(scene.session, rental)
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
        charge_pct=None,
        at=sent_at,
        told=StartEvidence.ORDER,
        why="bank_came_back",
        evidence=scene.evidence,
        now=scene.now,
    )


def _same_place(rental: Rental, slot: StationSlot) -> bool:
    return (rental.station_out_id, rental.slot_out) == (slot.station_id, slot.number)


def _of_closed(scene: Scene, change: Change) -> UUID | None:
    return _back_to_closed(scene, change) if change.bank.id in scene.loose_ends else None


def _back_to_closed(scene: Scene, change: Change) -> UUID | None:
    """Its rental is over already: it was bought, or an operator said that it was back.

    That an inventory found it somewhere says nothing of a rental whose bank was given back somewhere: it was moved.
    """
    nowhere = change.kind is MovementKind.FOUND
    return _back_earlier(scene, change, nowhere=nowhere) or _back_after_buyout(scene, change)


def _back_after_buyout(scene: Scene, change: Change) -> UUID | None:
    """A bank that counted as bought or lost comes back: what was paid for the bank itself is given back.

    Locked as in `_closed_after`.
    """
    kept = select(Rental.id).where(Rental.power_bank_id == change.bank.id, kept_without_bank())
    rental_id = scene.session.scalar(kept.order_by(Rental.id.desc()).limit(1))
    if rental_id is None:
        return None
    rental = lock_rentals(scene.session, [rental_id])[rental_id]
    if is_kept(rental):
        back = Return(change.since or scene.now, change.slot, change.charge_pct, BROUGHT_BACK)
        bring_back(scene.session, rental, back, evidence=scene.evidence, now=scene.now)
    return rental_id
