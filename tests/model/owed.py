"""Debts after every step: no card is asked for more than is owed, nor twice at once, nor before its time."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.payments.debts.models import Debt, DebtCollection
from fleet.rentals.models import Rental
from tests.model.town import Town

#: After how long a card is tried by itself: since it was owed, then since the try before.
SCHEDULE: Final = tuple(timedelta(minutes=each) for each in (10, 1440, 4320, 10_080, 20_160))


class Owed:
    def __init__(self, town: Town) -> None:
        self._town = town
        #: What was owed for each rental when that was looked at last.
        self._before: dict[UUID, int] = {}
        self._known: set[UUID] = set()

    def check(self, session: Session, rentals: Sequence[Rental]) -> None:
        debts = session.scalars(select(Debt).where(Debt.user_id.in_(self._town.riders))).all()
        tries: dict[UUID, list[DebtCollection]] = defaultdict(list)
        query = select(DebtCollection).where(DebtCollection.debt_id.in_([each.id for each in debts]))
        for each in session.scalars(query.order_by(DebtCollection.number)):
            tries[each.debt_id].append(each)
        for debt in debts:
            self._amounts(debt, tries[debt.id])
            _times(debt, tries[debt.id])
        self._before = {each.id: each.due_minor for each in rentals}
        self._known = {each.intent_id for found in tries.values() for each in found}

    def _amounts(self, debt: Debt, tries: list[DebtCollection]) -> None:
        new = [each for each in tries if each.intent_id not in self._known]
        assert len(new) <= 1, "two cards for one debt"
        owed = self._before.get(debt.rental_id, 0)
        assert all(each.amount_minor <= owed for each in new), f"a card was asked for more than the {owed} owed"

    def nothing_runs(self, session: Session) -> None:
        """In the end."""
        query = select(DebtCollection).join(Debt, Debt.id == DebtCollection.debt_id)
        running = query.where(Debt.user_id.in_(self._town.riders), DebtCollection.ended_at.is_(None))
        assert session.scalars(running).all() == [], "a try of which nobody heard"


def _times(debt: Debt, tries: list[DebtCollection]) -> None:
    since = debt.incurred_at
    own = 0
    for each in tries:
        if not each.by_rider:
            assert each.started_at >= since + SCHEDULE[own], "tried too early"
            own += 1
        since = each.ended_at or since
    assert own <= len(SCHEDULE)
    assert own == debt.tries
