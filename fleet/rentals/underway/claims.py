"""A rider says that the bank is in a slot of a station that has not told of it (decision 0146).

The clock stands still from then on. What the station tells next decides: the bank, and the rental is over since it was
put in; every slot without it, and the time was not paused at all.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from firmware_protocol.messages import Inventory
from firmware_protocol.types import SlotState
from fleet.common.outbox import publish
from fleet.rentals.errors import ClaimNotFound, ClaimPending, RentalNotOpen, TooManyClaims
from fleet.rentals.events import ReturnClaimDecided
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import Rental
from fleet.rentals.queries import rental_of
from fleet.rentals.rules import RIDING, RentalPolicy
from fleet.rentals.scene import Scene
from fleet.rentals.starts.ejects import ask_inventory
from fleet.rentals.states import note
from fleet.rentals.underway import pauses
from fleet.rentals.underway.models import ClaimState, PauseKind, RentalPause, ReturnClaim
from fleet.stations.errors import SlotNotFound
from fleet.stations.models import StationSlot
from fleet.stations.queries import find_station

CLAIMED: Final = "return_claimed"
#: A rider who speaks while the bank goes in, and a cabinet's clock, may be so far apart.
SLACK: Final = timedelta(minutes=5)


def claim_return(
    session: Session,
    *,
    user_id: UUID,
    rental_id: UUID,
    station_code: str,
    slot: int,
    policy: RentalPolicy,
    now: datetime,
) -> ReturnClaim:
    """Pause billing until it is found out. The same claim again changes nothing.

    Raises RentalNotFound, StationNotFound, SlotNotFound, RentalNotOpen, ClaimPending, TooManyClaims.
    """
    rental_of(session, user_id, rental_id)
    station = find_station(session, station_code)
    known = select(StationSlot.id).where(StationSlot.station_id == station.id, StationSlot.number == slot)
    if session.scalar(known) is None:
        raise SlotNotFound(f"station {station_code} has no slot {slot}", station=station_code, slot=slot)
    rental = lock_rentals(session, [rental_id])[rental_id]
    if rental.state not in RIDING:
        raise RentalNotOpen(f"the rental is {rental.state}", rental_id=rental_id, state=rental.state)
    before = pending(session, rental_id)
    if before is not None:
        if (before.station_id, before.slot_number) == (station.id, slot):
            return before
        raise ClaimPending("an earlier claim is looked at", station=before.station.code, slot=before.slot_number)
    made = session.scalar(select(func.count()).where(ReturnClaim.rental_id == rental_id)) or 0
    if made >= policy.return_claims_max:
        raise TooManyClaims("an operator has to look at this rental", limit=policy.return_claims_max)
    pause = pauses.begin(
        session, rental, PauseKind.RETURN_CLAIM, at=now, until=None, by=user_id, now=now,
        reason=f"in {station.code}/{slot}",
    )  # fmt: skip
    claim = ReturnClaim(
        rental_id=rental_id, station_id=station.id, slot_number=slot, state=ClaimState.PENDING, pause_id=pause.id,
        claimed_at=now,
    )  # fmt: skip
    session.add(claim)
    evidence = {"user": str(user_id), "station": station.code, "slot": slot}
    note(session, rental, rental.state, why=CLAIMED, evidence=evidence, at=now, now=now)
    if station.online:
        ask_inventory(session, station.id, policy, now)
    session.flush()  # the answer is read back
    return of_rental(session, user_id, rental_id)


def pending(session: Session, rental_id: UUID) -> ReturnClaim | None:
    """The claim of the rental that nobody has decided yet."""
    query = select(ReturnClaim).where(ReturnClaim.rental_id == rental_id, ReturnClaim.state == ClaimState.PENDING)
    return session.scalars(query.options(joinedload(ReturnClaim.station))).one_or_none()


def of_rental(session: Session, user_id: UUID, rental_id: UUID) -> ReturnClaim:
    """The rider's newest claim. Raises RentalNotFound, ClaimNotFound."""
    rental_of(session, user_id, rental_id)
    query = select(ReturnClaim).where(ReturnClaim.rental_id == rental_id).order_by(ReturnClaim.id.desc()).limit(1)
    claim = session.scalars(query.options(joinedload(ReturnClaim.station))).one_or_none()
    if claim is None:
        raise ClaimNotFound("nothing was said of a return of this rental", rental_id=rental_id)
    return claim


def page(session: Session, state: ClaimState | None, limit: int, before: UUID | None = None) -> list[ReturnClaim]:
    """For operators, newest first."""
    query = select(ReturnClaim).order_by(ReturnClaim.id.desc()).limit(limit)
    if state is not None:
        query = query.where(ReturnClaim.state == state)
    if before is not None:
        query = query.where(ReturnClaim.id < before)
    return list(session.scalars(query.options(joinedload(ReturnClaim.station))))


def claimed_here(session: Session, station_id: int) -> list[UUID]:
    """Rentals whose banks are said to be in this station. Not locked."""
    query = select(ReturnClaim.rental_id).where(
        ReturnClaim.station_id == station_id, ReturnClaim.state == ClaimState.PENDING
    )
    return list(session.scalars(query))


def bank_is_back(
    session: Session, rental: Rental, station_id: int | None, since: datetime | None, *, by: str, now: datetime
) -> None:
    """The bank of a locked rental is in a station; `since`: when it was put in, where that is known.

    Before the rental is priced: a claim that was not true pauses nothing. `by`: what tells of it.
    """
    if not rental.paused:
        return  # no claim without its pause
    claim = pending(session, rental.id)
    if claim is None:
        return
    true = claim.station_id == station_id and (since is None or since <= claim.claimed_at + SLACK)
    decide(session, rental, claim, ClaimState.CONFIRMED if true else ClaimState.REFUTED, by=by, now=now)


def judge(scene: Scene, rental_ids: list[UUID], message: Inventory, asked_at: datetime | None) -> None:
    """An inventory that shows every slot and the claimed bank in none of them, and is younger than the claim."""
    if not rental_ids:
        return
    told = {entry.slot for entry in message.slots}
    readable = all(entry.serial is not None or entry.state is SlotState.EMPTY for entry in message.slots)
    whole = message.complete and told >= scene.picture.slots.keys() and readable
    for rental_id in sorted(rental_ids):
        rental, claim = scene.rentals[rental_id], pending(scene.session, rental_id)
        if claim is None or claim.station_id != scene.picture.station_id:
            continue
        if rental.state not in RIDING:
            decide(scene.session, rental, claim, ClaimState.OVERTAKEN, by=scene.fact.ref, now=scene.now)
        elif whole and _young(scene, claim, asked_at):
            decide(scene.session, rental, claim, ClaimState.REFUTED, by=scene.fact.ref, now=scene.now)


def _young(scene: Scene, claim: ReturnClaim, asked_at: datetime | None) -> bool:
    if asked_at is not None:
        return asked_at >= claim.claimed_at
    return not scene.fact.replayed and scene.seen.at > claim.claimed_at + SLACK


def decide(session: Session, rental: Rental, claim: ReturnClaim, state: ClaimState, *, by: str, now: datetime) -> None:
    """A claim that is still pending; its rental is locked. Refuted, the paused time costs what it would have cost."""
    claim.state, claim.decided_at, claim.decided_by = state, now, by[:300]
    pause = session.get_one(RentalPause, claim.pause_id)
    if state is ClaimState.REFUTED:
        pauses.void(session, rental, pause, why="claim_refuted", now=now)
    else:
        pauses.end(session, rental, pause, at=now, now=now)
    evidence = {"claim": str(claim.id), "by": by}
    note(session, rental, rental.state, why=f"claim_{state}", evidence=evidence, at=now, now=now)
    publish(session, ReturnClaimDecided(claim.id, rental.id, rental.user_id, state), now)
