"""Riders take money out of their wallets, and think again; operators agree or do not."""

from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import FleetError
from fleet.payments.providers.sandbox import Card
from fleet.rentals.models import Rental
from tests.model import counter
from tests.model.deals import SHARE, Wish
from tests.model.machine import dies, numbers, riders
from tests.model.payments import Payments, cards
from tests.model.people import check_refusal
from tests.model.taken import DAY_MOST, MONTH_MOST, wanted

#: In shares, so that no fee is rounded.
amounts = st.integers(2, 12)


class Purses(Payments):
    @rule(rider=riders, amount=amounts, card=cards, approved=st.sampled_from([True, True, False]), dies=dies)
    def cash_in(self, rider: int, amount: int, card: Card, approved: bool, dies: int | None) -> None:
        """Asked for, decided, and carried out, with a card of one's own."""
        known = len(self.town.wishes)
        self.withdraw(rider, amount, card, None)
        if len(self.town.wishes) > known:
            self.decide_withdrawal(0, approved, dies)
            self.workers(amount, dies)

    @rule(rider=riders, amount=amounts, card=cards, dies=dies)
    def withdraw(self, rider: int, amount: int, card: Card, dies: int | None) -> None:
        who = self.town.riders[rider]
        if who not in self.town.methods:
            self.save_card(rider, card)
        if who not in self.town.methods:
            return
        wish = Wish(who, amount * SHARE, self.moment())
        fits, owes = self._fits(wish), self._owes(who)
        made = counter.withdraw(self.backend, who, self.town.methods[who], wish.minor, dies)
        if check_refusal(made, "insufficient_funds", "withdrawal_limit", "money_owed"):
            assert isinstance(made, FleetError)
            assert not fits or made.code != "withdrawal_limit", "refused for a limit that it is within"
            assert owes or made.code != "money_owed"
            return
        assert isinstance(made, UUID)
        assert fits, "more than a day's or a month's most"
        assert not owes, "paid out to who owes"
        self.town.wishes[made] = wish

    def _owes(self, rider: UUID) -> bool:
        with Session(self.backend.engine) as session:
            query = select(Rental.id).where(Rental.user_id == rider, Rental.due_minor > 0)
            return session.scalars(query).first() is not None

    def _fits(self, wish: Wish) -> bool:
        """Within what one rider may take in a day and in a month of theirs, which is UTC's."""
        midnight = wish.at.replace(hour=0, minute=0, second=0, microsecond=0)
        before = [each for each in wanted(self.backend.engine, self.town) if each.rider == wish.rider]
        day = sum(each.minor for each in before if each.at >= midnight)
        month = sum(each.minor for each in before if each.at >= midnight.replace(day=1))
        return day + wish.minor <= DAY_MOST and month + wish.minor <= MONTH_MOST

    @precondition(lambda self: self.town.wishes)
    @rule(which=numbers, dies=dies)
    def think_again(self, which: int, dies: int | None) -> None:
        withdrawal, wish = self._latest(which)
        refused = counter.cancel_withdrawal(self.backend, wish.rider, withdrawal, dies)
        self._decided(wish, refused, "cancelled")

    @precondition(lambda self: self.town.wishes)
    @rule(which=numbers, approved=st.sampled_from([True, True, False]), dies=dies)
    def decide_withdrawal(self, which: int, approved: bool, dies: int | None) -> None:  # hypothesis names it
        withdrawal, wish = self._latest(which)
        operator = self.town.operator
        refused = counter.decide_withdrawal(self.backend, operator, withdrawal, dies, approved=approved)
        self._decided(wish, refused, "approved" if approved else "rejected")

    def _latest(self, which: int) -> tuple[UUID, Wish]:
        return list(self.town.wishes.items())[-1 - which % min(3, len(self.town.wishes))]

    def _decided(self, wish: Wish, refused: FleetError | None, how: str) -> None:
        """Once: whoever comes second is refused."""
        assert check_refusal(refused, "withdrawal_not_open") == (wish.decided is not None)
        wish.decided = wish.decided or how
