"""Claims of riders: what became of each, by the books, and whether that can be."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.rentals.models import Rental
from fleet.rentals.underway.models import ClaimState, ReturnClaim
from tests.model.deals import Claimed, Deal
from tests.model.town import Town

#: A rider may speak so long before the bank is in.
SPEAKS_BEFORE: Final = timedelta(minutes=5)


def follow(session: Session, town: Town, rental_ids: Sequence[UUID]) -> None:
    """After every step: no claim that nobody made; what was decided stays so."""
    rows = {row.id: row for row in session.scalars(select(ReturnClaim).where(ReturnClaim.rental_id.in_(rental_ids)))}
    known = {claim.id: claim for deal in town.rentals.values() for claim in deal.claims}
    assert rows.keys() == known.keys(), "a claim that nobody made"
    for id_, claim in known.items():
        row = rows[id_]
        assert row.claimed_at == claim.at
        assert claim.state in {ClaimState.PENDING, row.state}, f"{claim} is {row.state} now"
        claim.state, claim.decided_at, claim.decided_by = row.state, row.decided_at, row.decided_by


def judge(town: Town, rentals: Iterable[Rental]) -> None:
    """In the end, when every cabinet has told what is in it."""
    for rental in rentals:
        deal = town.rentals[rental.id]
        for claim in deal.claims:
            assert claim.state is not ClaimState.PENDING, f"nobody has decided about {claim}"
            if not (claim.decided_by or "").startswith("operator") and not _moved(deal):
                _judge(town, claim)


def _moved(deal: Deal) -> bool:
    """It may have become about another bank meanwhile."""
    return deal.swap_asked or deal.reassigned is not None


def _judge(town: Town, claim: Claimed) -> None:
    assert claim.decided_at is not None
    if any(claim.serial in cabinet.forgotten for cabinet in town.cabinets.values()):
        return  # then nobody knows when
    if claim.state is ClaimState.CONFIRMED:
        arrivals = [a for c in town.cabinets.values() for a in c.arrivals if a.serial == claim.serial]
        there = [a for a in arrivals if a.code == claim.code and a.at <= claim.at + SPEAKS_BEFORE]
        assert there, f"{claim}: the bank was never there"
    elif claim.state is ClaimState.REFUTED and claim.true:
        left = any(serial == claim.serial and at >= claim.at for serial, at in town.went)
        assert left, f"{claim} was true"
