"""What rentals left unpaid: cards are asked by a schedule or by their riders, operators give debts up."""

from datetime import timedelta
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.payments.approval_models import AdjustmentState
from fleet.payments.debts.models import Debt
from fleet.payments.providers.sandbox.cards import Card
from fleet.rentals.models import Rental
from tests.model import counter
from tests.model.deals import GivenUp
from tests.model.machine import dies, numbers, places
from tests.model.metal import Metal
from tests.model.payments import Payments, cards
from tests.model.people import Riders, check_refusal
from tests.model.town import RIDERS


class Debts(Riders, Payments, Metal):
    def _one_of(self, which: int) -> Debt | None:
        """Mostly one that is open."""
        with Session(self.backend.engine) as session:
            query = select(Debt).where(Debt.rental_id.in_(self.town.rentals)).order_by(Debt.id)
            known = session.scalars(query).all()
        open_ = [each for each in known if each.open_minor]
        chosen = open_ if which % 5 and open_ else known
        return chosen[which % len(chosen)] if chosen else None

    @precondition(lambda self: self.town.hands)
    @rule(place=places, card=cards, seconds=st.sampled_from([660, 90_000]), dies=dies)
    def owe(self, place: int, card: Card, seconds: int, dies: int | None) -> None:
        """A day with a bank costs more than some have; a saved card is asked for the rest when it is time."""
        for rider in range(RIDERS):
            if self.town.riders[rider] not in self.town.methods:
                self.save_card(rider, card)
        self.backend.now += timedelta(days=1)
        self.evening(place, told=True)
        self.wait(seconds, heard=True, dies=dies)

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, card=cards, saved=st.booleans(), dies=dies)
    def pay_debt(self, which: int, card: Card, saved: bool, dies: int | None) -> None:  # hypothesis names it
        debt = self._one_of(which)
        if debt is None:
            return
        method = self.town.methods.get(debt.user_id) if saved else None
        provider = self.till.provider
        paid = counter.pay_debt(self.backend, provider, debt.user_id, debt.id, card, method, dies)
        if not check_refusal(paid, "debt_not_open", "debt_being_collected"):
            assert debt.open_minor, "a card was asked for what nobody owed"

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, agreed=st.booleans(), dies=dies)
    def give_debt_up(self, which: int, agreed: bool, dies: int | None) -> None:  # hypothesis names it
        debt = self._one_of(which)
        if debt is None:
            return
        asked = counter.give_up(self.backend, self.town.operator, debt.id, dies)
        if check_refusal(asked, "debt_not_open", "debt_write_off_pending"):
            return
        assert isinstance(asked, UUID)
        given_up = counter.write_off_state(self.backend, asked) is AdjustmentState.APPLIED
        assert debt.open_minor <= counter.ALONE or not given_up, "one person gave up too much"
        if not given_up:
            refused = counter.agree(self.backend, self.town.second, asked, dies, agreed=agreed)
            assert refused is None, repr(refused)
            given_up = agreed
        if given_up:
            self.town.rentals[debt.rental_id].given_up = GivenUp(debt.open_minor, self._price(debt.rental_id))

    def _price(self, rental_id: UUID) -> int:
        with Session(self.backend.engine) as session:
            return session.get_one(Rental, rental_id).price_minor or 0
