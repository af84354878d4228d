"""Banks that left a cabinet and that no rental explains: somebody must look, until the bank itself comes back."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

from fleet.common.outbox import publish
from fleet.db import new_id
from fleet.rentals.cases.models import CaseState, OrphanBankCase
from fleet.rentals.errors import CaseClosed, CaseNotFound
from fleet.rentals.events import OrphanCaseOpened
from fleet.rentals.states import Evidence
from fleet.stations.models import PowerBank, StationSlot

QUARANTINE = "a bank left this slot without a command"
#: Reason of a case that no arrival settles: arrivals are what it is about.
TWO_PLACES = "two_places"


def open_case(
    session: Session,
    bank: PowerBank,
    slot: StationSlot,
    *,
    reason: str,
    evidence: Evidence,
    now: datetime,
    rental_id: UUID | None = None,
) -> None:
    """At most one open case per bank: a second reason adds none."""
    case_id = session.scalar(
        insert(OrphanBankCase)
        .values(
            id=new_id(),
            power_bank_id=bank.id,
            station_id=slot.station_id,
            slot_number=slot.number,
            reason=reason,
            rental_id=rental_id,
            evidence=evidence,
            state=CaseState.OPEN,
            opened_at=now,
        )
        .on_conflict_do_nothing()
        .returning(OrphanBankCase.id)
    )
    if case_id is not None:
        publish(session, OrphanCaseOpened(case_id, bank.id, slot.station_id, reason), now)


def settle_case(session: Session, bank: PowerBank, resolution: str, now: datetime) -> None:
    """The bank explains itself (it came back, or a rental was found for it); without an open case nothing changes."""
    _settle(session, bank, OrphanBankCase.reason != TWO_PLACES, resolution, now)


def settle_conflict(session: Session, bank: PowerBank, resolution: str, now: datetime) -> None:
    """One place only tells of the bank."""
    _settle(session, bank, OrphanBankCase.reason == TWO_PLACES, resolution, now)


def _settle(session: Session, bank: PowerBank, which: ColumnElement[bool], resolution: str, now: datetime) -> None:
    query = select(OrphanBankCase).where(
        OrphanBankCase.power_bank_id == bank.id, OrphanBankCase.state == CaseState.OPEN, which
    )
    case = session.scalars(query.with_for_update().execution_options(populate_existing=True)).one_or_none()
    if case is not None:
        case.state, case.resolved_at, case.resolution = CaseState.RESOLVED, now, resolution[:300]


def list_cases(
    session: Session, state: CaseState | None, limit: int, before: UUID | None = None
) -> list[OrphanBankCase]:
    """Newest first, bank and station loaded."""
    query = (
        select(OrphanBankCase)
        .options(joinedload(OrphanBankCase.power_bank), joinedload(OrphanBankCase.station))
        .order_by(OrphanBankCase.id.desc())
        .limit(limit)
    )
    if state is not None:
        query = query.where(OrphanBankCase.state == state)
    if before is not None:
        query = query.where(OrphanBankCase.id < before)
    return list(session.scalars(query))


def resolve_case(session: Session, case_id: UUID, resolution: str, now: datetime) -> OrphanBankCase:
    """An operator has looked. Raises CaseNotFound, CaseClosed."""
    query = (
        select(OrphanBankCase)
        .options(joinedload(OrphanBankCase.power_bank), joinedload(OrphanBankCase.station))
        .where(OrphanBankCase.id == case_id)
        .with_for_update(of=OrphanBankCase)
    )
    case = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if case is None:
        raise CaseNotFound("no such case", case_id=case_id)
    if case.state is not CaseState.OPEN:
        raise CaseClosed("the case is resolved already", case_id=case_id, resolution=case.resolution)
    case.state, case.resolved_at, case.resolution = CaseState.RESOLVED, now, resolution[:300]
    return case
