"""Operators work off orphan-bank cases: whose the bank is, that it was found, that it is lost, that it is not ours.

Each closes the case and puts bank, slot and rental right in the same transaction; a case that is closed is closed for
whoever clicks second. Locks: rentals, slots, banks, then the case (decision 0033).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from fleet.rentals.cases import banks
from fleet.rentals.cases.banks import target_of
from fleet.rentals.cases.models import CaseState, OrphanBankCase
from fleet.rentals.cases.places import Place, put_into
from fleet.rentals.cases.service import resolve_case
from fleet.rentals.corrections import service as corrections
from fleet.rentals.corrections.service import Act, locked, noted, snapshot
from fleet.rentals.errors import CaseClosed, CaseNotFound, RentalNotAssignable, SlotTaken
from fleet.rentals.models import Rental, StartEvidence
from fleet.rentals.rules import FAILED, RIDING, RentalPolicy
from fleet.rentals.starts import checks, ejects
from fleet.rentals.starts.queries import standing_of
from fleet.stations.models import MovementKind, PowerBank, PowerBankMovement, PowerBankState
from fleet.stations.picture import look
from fleet.stations.queries import find_station
from fleet.users import audit
from fleet.users.audit import Actor

ASSIGNED: Final = "case_assigned"


@dataclass(frozen=True, slots=True)
class CaseAct:
    """One operator's act on one case: why, who, when."""

    session: Session
    case_id: UUID
    reason: str
    actor: Actor
    now: datetime


def lost(act: CaseAct) -> OrphanBankCase:
    """Nobody looks for it any more. It is welcome when it comes back. Raises CaseNotFound, CaseClosed, BankIsHere."""
    bank = _bank(act)
    banks.hold(act.session, bank.serial, PowerBankState.LOST, reason=act.reason, actor=act.actor, now=act.now)
    return _close(act, "lost", bank)


def foreign(act: CaseAct) -> OrphanBankCase:
    """It is not one of the fleet's: no cabinet gives it to anybody. Raises CaseNotFound, CaseClosed."""
    bank = _bank(act)
    _locked_bank(act, bank)
    bank.known, bank.updated_at = False, act.now
    return _close(act, "foreign", bank)


def found(act: CaseAct, place: Place | None = None) -> OrphanBankCase:
    """It is in `place`; without one somebody has it in their hands: held back (MAINTENANCE) until it is released.

    Raises CaseNotFound, CaseClosed, StationNotFound, NoSuchSlot, SlotTaken.
    """
    bank = _bank(act)
    if place is None:
        banks.hold(
            act.session, bank.serial, PowerBankState.MAINTENANCE, reason=act.reason, actor=act.actor, now=act.now
        )
        return _close(act, "found", bank)
    picture = look(act.session, find_station(act.session, place.station).id, {place.slot}, {bank.serial}, act.now)
    held = picture.bank_in(picture.slot(place.slot))
    if held is not None and held is not bank:
        raise SlotTaken(f"{place} holds {held.serial}", place=str(place), serial=held.serial)
    put_into(act.session, picture, bank, picture.slot(place.slot))
    return _close(act, "found", bank, where=str(place))


def assign(act: CaseAct, rental_id: UUID, policy: RentalPolicy) -> OrphanBankCase:
    """The rider of this rental has the bank: one that was thought to have failed is open again since the bank left, one
    that is open follows it.

    Raises CaseNotFound, CaseClosed, RentalNotFound, RentalNotAssignable (it was charged already), TooManyOpenRentals,
    BankIsHere, BankTaken.
    """
    bank = _bank(act)
    rental = locked(act.session, rental_id)
    ours = Act(act.session, rental_id, act.reason, act.actor, act.now)
    if rental.state in RIDING:
        corrections.reassign_bank(ours, bank.serial)
    elif rental.state in FAILED:
        _reopen(act, ours, rental, bank, policy)
    else:
        raise RentalNotAssignable(f"the rental is {rental.state}", rental_id=rental_id, state=rental.state)
    return _close(act, "assign", bank, rental=rental_id)


def _reopen(act: CaseAct, ours: Act, rental: Rental, bank: PowerBank, policy: RentalPolicy) -> None:
    case = _case(act)
    picture = look(act.session, case.station_id, {case.slot_number}, {bank.serial}, act.now)
    corrections.must_be_out(act.session, bank)
    place = checks.free_place(standing_of(act.session, rental.user_id), policy)
    before = snapshot(act.session, rental)
    rental.power_bank_id = bank.id
    ejects.activate(
        act.session,
        rental,
        bank,
        picture.slot(case.slot_number),
        charge_pct=None,
        at=_left_at(act.session, case),
        told=StartEvidence.ORDER,
        why=ASSIGNED,
        evidence={**ours.evidence, "case": str(act.case_id)},
        now=act.now,
        place=place,
    )
    noted(ours, rental, "rental.assign_case", before)


def _left_at(session: Session, case: OrphanBankCase) -> datetime:
    """When the bank of the case left, as far as is told."""
    query = (
        select(PowerBankMovement.at)
        .where(
            PowerBankMovement.power_bank_id == case.power_bank_id,
            PowerBankMovement.kind.in_([MovementKind.EJECTED, MovementKind.VANISHED]),
            PowerBankMovement.at <= case.opened_at,
        )
        .order_by(PowerBankMovement.at.desc())
        .limit(1)
    )
    return session.scalar(query) or case.opened_at


def _case(act: CaseAct) -> OrphanBankCase:
    query = select(OrphanBankCase).where(OrphanBankCase.id == act.case_id)
    case = act.session.scalars(query.options(joinedload(OrphanBankCase.power_bank))).one_or_none()
    if case is None:
        raise CaseNotFound("no such case", case_id=act.case_id)
    if case.state is not CaseState.OPEN:
        raise CaseClosed("the case is resolved already", case_id=act.case_id, resolution=case.resolution)
    return case


def _bank(act: CaseAct) -> PowerBank:
    return _case(act).power_bank


def _locked_bank(act: CaseAct, bank: PowerBank) -> None:
    act.session.refresh(bank, with_for_update={"key_share": True})


def _close(act: CaseAct, how: str, bank: PowerBank, **detail: object) -> OrphanBankCase:
    """Under the case's own lock: of two who got so far one closes it, and the refusal undoes what the other did."""
    act.session.flush()  # bank and rental are right before the case says so
    case = _told(act) or resolve_case(act.session, act.case_id, f"{how}: {act.reason}", act.now)
    told: dict[str, Any] = {name: str(value) for name, value in detail.items()}
    for about in (str(act.case_id), target_of(bank.serial)):
        audit.act(act.session, act.actor, f"orphan_case.{how}", about, act.now, reason=act.reason, **told)
    return case


def _told(act: CaseAct) -> OrphanBankCase | None:
    """The case, when a rental that follows the bank has explained it in this very transaction."""
    query = select(OrphanBankCase).where(
        OrphanBankCase.id == act.case_id,
        OrphanBankCase.state == CaseState.RESOLVED,
        OrphanBankCase.resolved_at == act.now,
    )
    loaded = query.options(joinedload(OrphanBankCase.power_bank), joinedload(OrphanBankCase.station))
    return act.session.scalars(loaded.execution_options(populate_existing=True)).one_or_none()
