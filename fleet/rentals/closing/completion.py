"""How a rental ends: its bank is back, and what better word of either end changes.

The wallet, the rental and its command are locked by the caller.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from fleet.rentals.agreement import is_kept, price_at, set_start, terms_of
from fleet.rentals.closing.charges import charge, cheaper, rewrite
from fleet.rentals.closing.discharge import count_use
from fleet.rentals.models import Rental, RentalState, StartEvidence
from fleet.rentals.pricing.price import LineKind, Price, free_of_charge
from fleet.rentals.states import Evidence, move, note
from fleet.stations.models import StationSlot

NOT_TAKEN = "not_taken"
_WAS_NOT_TAKEN = "The bank was not taken: free of charge"
_COUNTED_AS_NOT_TAKEN = "It had counted as not taken: free of charge"
#: Why a rental that was over says otherwise: its bank came after it had counted as bought or lost, or before the end.
BROUGHT_BACK = "brought_back"
END_CORRECTED = "end_corrected"


@dataclass(frozen=True, slots=True)
class Return:
    """A bank back in a slot: since when, and what that is for the rider (`why`; NOT_TAKEN is free).

    `slot` None: nobody knows where, but an operator says that the rider has it no more.
    """

    at: datetime
    slot: StationSlot | None
    charge_pct: int | None
    why: str


def complete(session: Session, rental: Rental, back: Return, *, evidence: Evidence, now: datetime) -> None:
    """The bank is back: charge for the time until then, which is brought between the start and now."""
    ended_at = _ended(rental, back, now)
    result = _price_of(rental, back, ended_at)
    charge(session, rental, result, now)
    _note_return(session, rental, back, ended_at)
    move(session, rental, RentalState.COMPLETED, why=back.why, evidence=evidence, at=ended_at, now=now)


def correct_end(session: Session, rental: Rental, back: Return, *, evidence: Evidence, now: datetime) -> None:
    """Word came of an earlier return than the one that closed the rental: what was overcharged is given back.

    What counted as not taken stays free, and is called that no more if the bank had been elsewhere.
    """
    assert rental.ended_at is not None
    evidence = {**evidence, "before": rental.ended_at.isoformat()}
    ended_at = _ended(rental, back, now)
    if is_free_as_not_taken(rental):
        evidence["counted_as"] = NOT_TAKEN
        if back.slot is not None:
            elsewhere = back.why != NOT_TAKEN
            rental.failure_code = None if elsewhere else NOT_TAKEN
            rewrite(rental, _not_taken(rental, _COUNTED_AS_NOT_TAKEN if elsewhere else _WAS_NOT_TAKEN))
    else:
        cheaper(session, rental, _price_of(rental, back, ended_at), END_CORRECTED, now)
    _note_return(session, rental, back, ended_at)
    if rental.state is RentalState.BOUGHT_OUT:
        move(session, rental, RentalState.COMPLETED, why=END_CORRECTED, evidence=evidence, at=ended_at, now=now)
    else:
        note(session, rental, rental.state, why=END_CORRECTED, evidence=evidence, at=ended_at, now=now)


def _ended(rental: Rental, back: Return, now: datetime) -> datetime:
    assert rental.started_at is not None
    return max(rental.started_at, min(back.at, now))


def _price_of(rental: Rental, back: Return, ended_at: datetime) -> Price:
    if back.why == NOT_TAKEN:
        return _not_taken(rental, _WAS_NOT_TAKEN)
    return price_at(rental, ended_at, bought=False)


def _not_taken(rental: Rental, text: str) -> Price:
    return free_of_charge(terms_of(rental), LineKind.NOT_TAKEN, text)


def is_free_as_not_taken(rental: Rental) -> bool:
    """It counts as not taken, or did when it was closed: the price that its rider was told then does not rise."""
    return any(line["kind"] == LineKind.NOT_TAKEN for line in rental.price_lines or ())


def _note_return(session: Session, rental: Rental, back: Return, ended_at: datetime) -> None:
    rental.ended_at, rental.charge_in_pct = ended_at, back.charge_pct
    if back.slot is not None:
        rental.station_in_id, rental.slot_in = back.slot.station_id, back.slot.number
    if back.why == NOT_TAKEN:
        rental.failure_code = NOT_TAKEN
    count_use(session, rental)


def bring_back(session: Session, rental: Rental, back: Return, *, evidence: Evidence, now: datetime) -> None:
    """A bank that counted as bought or lost is back: its price is given back, the time until then stays paid for.

    A rental that is disputed stays so: the operator decides about what it costs by then.
    """
    assert rental.ended_at is not None
    result = price_at(rental, rental.ended_at, bought=False)
    cheaper(session, rental, result, BROUGHT_BACK, now, reason="the power bank was brought back")
    _note_return(session, rental, back, rental.ended_at)
    if rental.state is RentalState.DISPUTED:
        note(session, rental, rental.state, why=BROUGHT_BACK, evidence=evidence, at=back.at, now=now)
    else:
        move(session, rental, RentalState.COMPLETED, why=BROUGHT_BACK, evidence=evidence, at=back.at, now=now)


def correct_start(
    session: Session, rental: Rental, at: datetime, told: StartEvidence, *, evidence: Evidence, now: datetime
) -> None:
    """Better word came of when the bank left. What was overcharged is given back."""
    before = rental.started_at
    assert before is not None
    at = max(at, rental.requested_at) if rental.ended_at is None else min(max(at, rental.requested_at), rental.ended_at)
    kept = is_kept(rental)
    set_start(rental, at, told)
    if kept and rental.buyout_at is not None:
        rental.ended_at = rental.buyout_at
    if rental.ended_at is not None and not is_free_as_not_taken(rental):
        cheaper(session, rental, price_at(rental, rental.ended_at), "start_corrected", now)
    note(
        session,
        rental,
        rental.state,
        why="start_corrected",
        evidence={**evidence, "before": before.isoformat()},
        at=at,
        now=now,
    )
