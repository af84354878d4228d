"""Operators: they close, cancel, back-date, stop clocks, decide disputes and give money back."""

from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from sqlalchemy.orm import Session

from fleet.rentals.models import OPEN_STATES, Rental
from tests.model import operators
from tests.model.machine import DISPUTED, ENDED, RIDING, Machine, dies, numbers
from tests.model.people import check_refusal

_NEVER = {"slot_taken"}


class Operators(Machine):
    def _row(self, rental_id: UUID) -> tuple[Rental, tuple[str, int] | None]:
        """The rental, and where its bank really is."""
        with Session(self.backend.engine) as session:
            rental = session.get_one(Rental, rental_id)
        return rental, self.town.place_of(self.serial_of(rental_id))

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, dies=dies)
    def force_complete(self, which: int, dies: int | None) -> None:
        rental_id, deal = self.pick(which, RIDING)
        _, place = self._row(rental_id)
        now = self.moment()
        refused = operators.force_complete(self.backend, self.town.operator, rental_id, place, dies)
        if not check_refusal(refused, "rental_not_open", *_NEVER):
            deal.corrected, deal.over_by = True, now

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, dies=dies)
    def force_cancel(self, which: int, dies: int | None) -> None:
        rental_id, deal = self.pick(which, OPEN_STATES)
        _, place = self._row(rental_id)
        self.moment()
        refused = operators.force_cancel(self.backend, self.town.operator, rental_id, place, dies)
        if not check_refusal(refused, "rental_not_open", *_NEVER):
            deal.corrected = True

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, share=st.integers(0, 10), dies=dies)
    def back_date(self, which: int, share: int, dies: int | None) -> None:
        rental_id, deal = self.pick(which, ENDED)
        rental, place = self._row(rental_id)
        self.moment()
        at = self.backend.now
        if rental.started_at is not None and rental.ended_at is not None:
            at = rental.started_at + (rental.ended_at - rental.started_at) * share / 10
        refused = operators.back_date(self.backend, self.town.operator, rental_id, at, place, dies)
        if not check_refusal(refused, "rental_not_closed", *_NEVER):
            deal.corrected, deal.over_by = True, min(at, deal.over_by or at)

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, dies=dies)
    def pause(self, which: int, dies: int | None) -> None:
        rental_id, deal = self.pick(which, RIDING)
        now = self.moment()
        refused = operators.pause(self.backend, self.town.operator, rental_id, dies)
        if not check_refusal(refused, "rental_not_open") and (not deal.stops or deal.stops[-1][1] is not None):
            deal.stops.append((now, None))

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, dies=dies)
    def resume(self, which: int, dies: int | None) -> None:
        rental_id, deal = self.pick(which, RIDING)
        now = self.moment()
        refused = operators.resume(self.backend, self.town.operator, rental_id, dies)
        if not check_refusal(refused, "rental_not_open") and deal.stops and deal.stops[-1][1] is None:
            deal.stops[-1] = (deal.stops[-1][0], now)

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, share=st.integers(0, 3), dies=dies)
    def decide(self, which: int, share: int, dies: int | None) -> None:
        rental_id, deal = self.pick(which, DISPUTED)
        rental, _ = self._row(rental_id)
        price = rental.price_minor or 0
        back = price * share // 3
        refused = operators.decide(self.backend, self.town.operator, rental_id, back, dies)
        if not check_refusal(refused, "dispute_not_found", "dispute_decided"):
            deal.at_most.append(price - back)
            deal.disputed = False

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, amount=st.integers(1, 300), dies=dies)
    def refund(self, which: int, amount: int, dies: int | None) -> None:
        rental_id, deal = self.pick(which, ENDED)
        operator = self.town.operator
        made = operators.refund_rental(self.backend, operator, deal.rider, rental_id, amount, dies)
        if not check_refusal(made, "not_found", "refund_too_large"):
            deal.refunded += amount

    @precondition(lambda self: self.town.top_ups)
    @rule(which=numbers, amount=st.integers(1, 1500), dies=dies)
    def refund_top_up(self, which: int, amount: int, dies: int | None) -> None:
        intent, rider = list(self.town.top_ups.items())[which % len(self.town.top_ups)]
        made = operators.refund_top_up(self.backend, self.town.operator, rider, intent, amount, dies)
        check_refusal(made, "not_found", "refund_too_large", "insufficient_funds")
