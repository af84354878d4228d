"""Points money, after every step: it pays as much as its rider said, comes back last, and never becomes cash."""

from collections import Counter
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.payments.models import AccountKind, LedgerAccount, LedgerTransfer, TransferState
from fleet.rentals.models import Rental
from tests.model.town import POINTS, Town

#: More than all that a town's riders could spend.
PLENTY: Final = 10_000
_OUT: Final = ("rental_hold", "rental_charge")


def points_of(session: Session, ids: Sequence[UUID]) -> Counter[UUID]:
    """What points paid for each rental, less what came back as points."""
    paid: Counter[UUID] = Counter()
    for side, kinds, sign in (
        (LedgerTransfer.debit_account_id, _OUT, 1),
        (LedgerTransfer.credit_account_id, ("rental_refund",), -1),
    ):
        query = (
            select(LedgerTransfer.rental_id, func.sum(LedgerTransfer.posted_minor))
            .join(LedgerAccount, LedgerAccount.id == side)
            .where(
                LedgerAccount.kind == AccountKind.BONUS,
                LedgerTransfer.rental_id.in_(ids),
                LedgerTransfer.kind.in_(kinds),
                LedgerTransfer.state == TransferState.POSTED,
            )
            .group_by(LedgerTransfer.rental_id)
        )
        for rental_id, minor in session.execute(query):
            assert rental_id is not None
            paid[rental_id] += sign * int(minor or 0)
    return paid


def check_points(session: Session, town: Town, rentals: Sequence[Rental], paid: Counter[UUID]) -> None:
    """`paid`: what each rental was paid with, points and money together."""
    by_points = points_of(session, [each.id for each in rentals])
    for rental in rentals:
        most = town.rentals[rental.id].points
        most = paid[rental.id] if most is None else min(most, paid[rental.id])
        # They pay first and come back last: what is left of a payment is theirs as far as they may pay.
        assert by_points[rental.id] <= most
        if POINTS[town.riders.index(rental.user_id)] >= PLENTY:
            assert by_points[rental.id] == most, f"{rental.id} was not paid with points"
    for rider, had in zip(town.riders, POINTS, strict=True):
        spent = sum(by_points[each.id] for each in rentals if each.user_id == rider)
        found = _account(session, rider)
        assert (0 if found is None else found.credits_posted - found.debits_posted) == had - spent
        if found is not None and not any(each.open_place for each in rentals if each.user_id == rider):
            assert found.debits_pending == 0, "points are held for nothing"


def _account(session: Session, rider: UUID) -> LedgerAccount | None:
    query = select(LedgerAccount).where(LedgerAccount.owner_id == rider, LedgerAccount.kind == AccountKind.BONUS)
    return session.scalars(query).one_or_none()
