"""Cards, the company behind them, its webhooks, and the workers that hear of it all."""

from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from fleet.common.errors import FleetError
from fleet.payments.providers.sandbox import Card
from fleet.rentals.models import PayMode
from fleet.rentals.starts.payment_plans import PaymentPlan
from tests.model.machine import Machine, dies, numbers, places, riders
from tests.model.people import NO_START, check_refusal, offers
from tests.model.town import RIDERS

cards = st.sampled_from(Card)


class Payments(Machine):
    @rule(rider=riders, card=cards, amount=st.integers(100, 3000), dies=dies)
    def top_up(self, rider: int, card: Card, amount: int, dies: int | None) -> None:
        who = self.town.riders[rider]
        intent = self.till.top_up(who, amount)
        self.town.top_ups[intent] = who
        self.till.confirm(who, intent, card, None, dies)

    @rule(rider=riders, place=places, offer=offers, dies=dies, points=st.sampled_from([0, 0, 90]))
    def rent_by_card(self, rider: int, place: int, offer: int | None, dies: int | None, points: int) -> None:
        """The start answers with a payment, of what points do not cover; nothing is kept meanwhile."""
        who, code = self.town.riders[rider], self.code(place)
        self.moment()
        self.backend.heard(self.town.station_ids)
        package = None if offer is None else self.town.offers[offer]
        asked = self.till.ask_payment(who, code, package, dies, PaymentPlan(PayMode.CARD, points))
        if not check_refusal(asked, *NO_START):
            assert isinstance(asked, UUID)
            self.town.card_starts[asked] = self.town.deal(who, code, offer, points)

    @precondition(lambda self: self.town.card_starts)
    @rule(which=numbers, card=cards, saved=st.booleans(), dies=dies)
    def confirm(self, which: int, card: Card, saved: bool, dies: int | None) -> None:  # hypothesis names it
        """One of the latest payments, perhaps for the second time."""
        intent, deal = list(self.town.card_starts.items())[-1 - which % min(3, len(self.town.card_starts))]
        method = self.town.methods.get(deal.rider) if saved else None
        self.till.confirm(deal.rider, intent, card, method, dies)
        self.backend.heard(self.town.station_ids)
        self.workers(which, dies)

    @rule(rider=riders, place=places, card=cards, dies=dies)
    def ride_by_card(self, rider: int, place: int, card: Card, dies: int | None) -> None:
        """Confirmed at once, with most cards it begins."""
        known = len(self.town.card_starts)
        self.rent_by_card(rider, place, None, dies, 0)
        if len(self.town.card_starts) > known:
            self.confirm(0, card, saved=False, dies=dies)
            self.obey(self.cabinet(place))

    @rule(chosen=st.lists(st.tuples(places, cards), min_size=RIDERS, max_size=RIDERS))
    def morning_by_card(self, chosen: list[tuple[int, Card]]) -> None:
        for rider, (place, card) in enumerate(chosen):
            self.ride_by_card(rider, place, card, None)

    @rule(rider=riders, card=cards)
    def save_card(self, rider: int, card: Card) -> None:
        who = self.town.riders[rider]
        saved = self.till.save_card(who, card)
        if not isinstance(saved, FleetError):
            self.town.methods[who] = saved
        else:
            check_refusal(saved, "payment_method_refused", "too_many_payment_methods")

    @rule(which=numbers, approved=st.booleans())
    def answer_bank(self, which: int, *, approved: bool) -> None:
        self.till.answer_bank(which, approved=approved)

    @rule(won=st.booleans())
    def chargebacks_end(self, *, won: bool) -> None:
        self.till.decide_disputes(won=won)

    @rule(times=st.integers(1, 3), seed=numbers, dies=dies)
    def webhooks(self, times: int, seed: int, dies: int | None) -> None:
        self.till.webhooks(times, seed, dies)
        self.workers(seed, dies)

    @rule(seed=numbers, dies=dies)
    def work_off(self, seed: int, dies: int | None) -> None:
        self.workers(seed, dies)

    @rule(dies=dies)
    def ask_provider(self, dies: int | None) -> None:
        self.till.janitor(dies)
