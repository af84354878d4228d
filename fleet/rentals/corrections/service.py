"""What operators put right: rental, bank, slot and money together, noted with what they were before and after.

Whoever clicks twice, or after somebody else, finds the rental as it is by then: nothing is done again, nothing is
charged or given back twice. Decision 0145.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.devices.commands import cancel_command
from fleet.rentals.agreement import is_kept
from fleet.rentals.cases.banks import target_of
from fleet.rentals.cases.places import Place, look_around, settle_bank
from fleet.rentals.cases.service import settle_case
from fleet.rentals.closing.annulment import annul, give_up
from fleet.rentals.closing.completion import Return, complete, correct_end
from fleet.rentals.errors import BankIsHere, BankTaken, ClaimNotFound, RentalNotClosed, RentalNotFound, RentalNotOpen
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import OPEN_STATES, Rental, RentalState
from fleet.rentals.rules import RIDING, WAITING
from fleet.rentals.starts.ejects import last_eject
from fleet.rentals.states import Evidence, note
from fleet.rentals.underway import claims
from fleet.rentals.underway.models import ClaimState
from fleet.stations.errors import BankNotFound
from fleet.stations.models import PowerBank, PowerBankState, Station, StationSlot
from fleet.stations.queries import bank_by_serial
from fleet.users import audit
from fleet.users.audit import Actor

FORCE_COMPLETED: Final = "force_completed"
FORCE_CANCELLED: Final = "force_cancelled"
REASSIGNED: Final = "bank_reassigned"
BACK_DATED: Final = "back_dated"
#: States of a rental that ended with a bank given back, or paid for.
ENDED: Final = (RentalState.COMPLETED, RentalState.BOUGHT_OUT, RentalState.DISPUTED)


@dataclass(frozen=True, slots=True)
class Act:
    """One operator's act on one rental: why, who, when."""

    session: Session
    rental_id: UUID
    reason: str
    actor: Actor
    now: datetime

    @property
    def evidence(self) -> Evidence:
        return {
            "operator": None if self.actor.user_id is None else str(self.actor.user_id),
            "console": self.actor.console,
            "request": self.actor.request_id,
            "reason": self.reason,
        }


def target(rental_id: UUID) -> str:
    """A rental's name in the audit log."""
    return f"rental:{rental_id}"


def locked(session: Session, rental_id: UUID, *others: UUID) -> Rental:
    """The rental as it is now, locked with its wallet and commands (and `others`). Raises RentalNotFound."""
    rental = lock_rentals(session, {rental_id, *others}).get(rental_id)
    if rental is None:
        raise RentalNotFound("no such rental", rental_id=rental_id)
    return rental


def force_complete(act: Act, *, at: datetime | None = None, place: Place | None = None) -> Rental:
    """The rider has given the bank back at `at` (now): charge until then. It is in `place`, or a case asks for it.

    Raises RentalNotFound, RentalNotOpen, InvalidInput (`at` before the start or to come), StationNotFound, NoSuchSlot,
    SlotTaken.
    """
    rental = locked(act.session, act.rental_id)
    _must_be(rental, RIDING)
    at = _checked(rental, at or act.now, act.now)
    before = snapshot(act.session, rental)
    _close(act, rental, Return(at, None, None, FORCE_COMPLETED), place)
    return noted(act, rental, "rental.force_complete", before)


def _close(act: Act, rental: Rental, back: Return, place: Place | None) -> None:
    """Money first, then the metal; a rental that was over already only ever becomes cheaper."""
    bank = act.session.get_one(PowerBank, rental.power_bank_id)
    around = look_around(act.session, rental, bank.serial, place, act.now)
    back = Return(back.at, around.slot, None, back.why)
    if rental.state in RIDING:
        _settle_claim(act, rental, place)
        complete(act.session, rental, back, evidence=act.evidence, now=act.now)
    else:
        correct_end(act.session, rental, back, evidence=act.evidence, now=act.now)
    settle_bank(act.session, around, bank, rental, why=back.why, evidence=act.evidence, now=act.now)


def _settle_claim(act: Act, rental: Rental, place: Place | None) -> None:
    """What the rider had said of the return is true, unless the bank is in another station."""
    claim = claims.pending(act.session, rental.id) if rental.paused else None
    if claim is not None:
        true = place is None or place.station == claim.station.code
        state = ClaimState.CONFIRMED if true else ClaimState.REFUTED
        claims.decide(act.session, rental, claim, state, by=f"operator: {act.reason}", now=act.now)


def refute_claim(act: Act) -> Rental:
    """The bank is not where its rider says: the time since costs what it would have cost, and the rental goes on.

    Raises RentalNotFound, RentalNotOpen, ClaimNotFound (nothing is claimed, or it is decided).
    """
    rental = locked(act.session, act.rental_id)
    _must_be(rental, RIDING)
    claim = claims.pending(act.session, rental.id)
    if claim is None:
        raise ClaimNotFound("no claim of this rental waits for a decision", rental_id=rental.id)
    before = snapshot(act.session, rental)
    claims.decide(act.session, rental, claim, ClaimState.REFUTED, by=f"operator: {act.reason}", now=act.now)
    return noted(act, rental, "rental.refute_claim", before)


def confirm_claim(act: Act, *, place: Place | None = None) -> Rental:
    """The bank is where its rider says, or in `place`: the rental was over when it was claimed.

    Raises as `force_complete`, and ClaimNotFound.
    """
    rental = locked(act.session, act.rental_id)
    _must_be(rental, RIDING)
    claim = claims.pending(act.session, rental.id)
    if claim is None:
        raise ClaimNotFound("no claim of this rental waits for a decision", rental_id=rental.id)
    assert rental.started_at is not None
    at = max(claim.claimed_at, rental.started_at)
    return force_complete(act, at=at, place=place or Place(claim.station.code, claim.slot_number))


def force_cancel(act: Act, *, place: Place | None = None) -> Rental:
    """The rider never had the bank: nothing is charged, what was held is free. It is in `place`, or a case asks for it.

    An order that is out cannot be called back: a bank that leaves by it after all opens the rental again (decision
    0032). Raises RentalNotFound, RentalNotOpen, StationNotFound, NoSuchSlot, SlotTaken.
    """
    rental = locked(act.session, act.rental_id)
    _must_be(rental, OPEN_STATES)
    before = snapshot(act.session, rental)
    if rental.state in WAITING:
        _call_off(act, rental)
    else:
        _never_had(act, rental, place)
    return noted(act, rental, "rental.force_cancel", before)


def _call_off(act: Act, rental: Rental) -> None:
    command = last_eject(act.session, rental.id)
    if command is not None:
        cancel_command(act.session, command.id, act.now)
    give_up(
        act.session,
        rental,
        to=RentalState.CANCELLED,
        why=FORCE_CANCELLED,
        code=FORCE_CANCELLED,
        evidence=act.evidence,
        at=act.now,
        now=act.now,
    )


def _never_had(act: Act, rental: Rental, place: Place | None) -> None:
    bank = act.session.get_one(PowerBank, rental.power_bank_id)
    around = look_around(act.session, rental, bank.serial, place, act.now)
    claim = claims.pending(act.session, rental.id)
    if claim is not None:
        by = f"operator: {act.reason}"
        claims.decide(act.session, rental, claim, ClaimState.OVERTAKEN, by=by, now=act.now)
    annul(
        act.session,
        rental,
        why=FORCE_CANCELLED,
        code=FORCE_CANCELLED,
        evidence=act.evidence,
        at=act.now,
        now=act.now,
        to=RentalState.CANCELLED,
    )
    settle_bank(act.session, around, bank, rental, why=FORCE_CANCELLED, evidence=act.evidence, now=act.now)


def reassign_bank(act: Act, serial: str, *, place: Place | None = None) -> Rental:
    """The rider has the bank `serial`, not the one in the books, which is in `place`, or a case asks for it.

    The same bank again changes nothing. Raises RentalNotFound, RentalNotOpen, BankNotFound, BankTaken, BankIsHere,
    StationNotFound, NoSuchSlot, SlotTaken.
    """
    wanted = bank_by_serial(act.session, serial)
    if wanted is None:
        raise BankNotFound(f"no bank {serial}", serial=serial)
    rental = locked(act.session, act.rental_id)
    _must_be(rental, RIDING)
    if rental.power_bank_id == wanted.id:
        return rental
    old = act.session.get_one(PowerBank, rental.power_bank_id)
    around = look_around(act.session, rental, old.serial, place, act.now, also=(serial,))
    new = around.picture.banks[serial]
    must_be_out(act.session, new)
    before = snapshot(act.session, rental)
    rental.power_bank_id, rental.charge_out_pct = new.id, new.charge_pct
    if new.state in {PowerBankState.AVAILABLE, PowerBankState.MISSING}:
        new.state = PowerBankState.RENTED
    act.session.flush()  # the bank is the rental's before the other one is nobody's
    settle_case(act.session, new, f"with rental {rental.id}, as an operator says", act.now)
    evidence = {**act.evidence, "before": old.serial, "after": new.serial}
    note(act.session, rental, rental.state, why=REASSIGNED, evidence=evidence, at=act.now, now=act.now)
    settle_bank(act.session, around, old, rental, why=REASSIGNED, evidence=act.evidence, now=act.now)
    return noted(act, rental, "rental.reassign_bank", before)


def must_be_out(session: Session, bank: PowerBank) -> None:
    """In no slot and with no other rider. Raises BankIsHere, BankTaken."""
    here = (
        select(Station.code, StationSlot.number)
        .join(Station, Station.id == StationSlot.station_id)
        .where(StationSlot.power_bank_id == bank.id)
    )
    if (found := session.execute(here).one_or_none()) is not None:
        place = str(Place(*found))
        raise BankIsHere(f"{bank.serial} is in {place}", serial=bank.serial, place=place)
    query = select(Rental.id).where(Rental.power_bank_id == bank.id, Rental.state.in_(OPEN_STATES))
    if (other := session.scalar(query)) is not None:
        raise BankTaken(f"{bank.serial} is with another rental", serial=bank.serial, rental_id=other)


def back_date(act: Act, at: datetime, *, place: Place | None = None) -> Rental:
    """The bank of a closed rental was back at `at` already: what was charged beyond that is given back.

    Of a rental that was bought out the bank is in `place`, or a case asks for it. The same time again changes nothing.
    Raises RentalNotFound, RentalNotClosed, InvalidInput (before the start, or later than in the books),
    StationNotFound, NoSuchSlot, SlotTaken.
    """
    rental = locked(act.session, act.rental_id)
    if rental.state not in ENDED or rental.ended_at is None:
        raise RentalNotClosed(f"the rental is {rental.state}", rental_id=rental.id, state=rental.state)
    at = _checked(rental, at, rental.ended_at)
    if at == rental.ended_at and not is_kept(rental):
        return rental
    before = snapshot(act.session, rental)
    back = Return(at, None, rental.charge_in_pct, BACK_DATED)
    if is_kept(rental) and rental.station_in_id is None:
        _close(act, rental, back, place)
    else:
        correct_end(act.session, rental, back, evidence=act.evidence, now=act.now)
    return noted(act, rental, "rental.back_date", before)


def _must_be(rental: Rental, states: tuple[RentalState, ...]) -> None:
    if rental.state not in states:
        raise RentalNotOpen(f"the rental is {rental.state}", rental_id=rental.id, state=rental.state)


def _checked(rental: Rental, at: datetime, latest: datetime) -> datetime:
    assert rental.started_at is not None
    if not rental.started_at <= at <= latest:
        raise InvalidInput(
            f"between {rental.started_at.isoformat()}, when the bank left, and {latest.isoformat()}", field="at"
        )
    return at


def snapshot(session: Session, rental: Rental) -> dict[str, Any]:
    """Rental, bank, slot and money as the audit log keeps them."""
    session.flush()  # what was changed counts
    query = (
        select(PowerBank.serial, PowerBank.state, Station.code, StationSlot.number)
        .outerjoin(StationSlot, StationSlot.power_bank_id == PowerBank.id)
        .outerjoin(Station, Station.id == StationSlot.station_id)
        .where(PowerBank.id == rental.power_bank_id)
    )
    serial, state, code, number = session.execute(query).one()
    return {
        "state": rental.state,
        "started_at": _iso(rental.started_at),
        "ended_at": _iso(rental.ended_at),
        "price_minor": rental.price_minor,
        "charged_minor": rental.charged_minor,
        "due_minor": rental.due_minor,
        "currency": rental.currency,
        "paused": rental.paused,
        "bank": serial,
        "bank_state": state,
        "bank_in": None if code is None else str(Place(code, number)),
    }


def noted(act: Act, rental: Rental, action: str, before: dict[str, Any]) -> Rental:
    """Write the act down in the history of the rental, and of every bank that it was about."""
    after = snapshot(act.session, rental)
    for about in [target(rental.id), *sorted({target_of(before["bank"]), target_of(after["bank"])})]:
        audit.act(
            act.session,
            act.actor,
            action,
            about,
            act.now,
            reason=act.reason,
            before=before,
            after=after,
            rental=str(rental.id),
        )
    return rental


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
