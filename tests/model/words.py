"""What riders say of returns that no station tells of, and what operators make of it; and who has which bank."""

from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.rentals.models import OPEN_STATES, Rental
from fleet.stations.models import PowerBank
from tests.model import operators, requests
from tests.model.cabinets import Arrival
from tests.model.deals import Claimed, Reassigned
from tests.model.machine import RIDING, dies, numbers, places
from tests.model.people import Riders, check_refusal
from tests.model.town import SLOTS


class Words(Riders):
    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, place=places, slot=st.integers(1, SLOTS), dies=dies)
    def claim(self, which: int, place: int, slot: int, dies: int | None) -> None:
        """It is where it is, if it is in a slot at all; else a rider says anything."""
        rental_id, deal = self.pick(which, RIDING)
        serial = self.serial_of(rental_id)
        really = self.town.place_of(serial)
        code, slot = really or (self.code(place), slot)
        now = self.moment()
        claimed = requests.claim_return(self.backend, deal.rider, rental_id, code, slot, dies)
        if check_refusal(claimed, "rental_not_open", "return_claim_pending", "too_many_return_claims"):
            return
        assert isinstance(claimed, UUID)
        if claimed not in [each.id for each in deal.claims]:
            deal.claims.append(Claimed(claimed, now, code, slot, serial, true=really is not None))

    @precondition(lambda self: self.town.rentals and self.town.hands)
    @rule(which=numbers, place=places, slot=numbers, dies=dies)
    def return_unheard(self, which: int, place: int, slot: int, dies: int | None) -> None:
        """Into a cabinet that tells nobody, as its rider does."""
        rental_id, _ = self.pick(which, RIDING)
        serial, cabinet = self.serial_of(rental_id), self.cabinet(place)
        free = [number for number, held in cabinet.slots.items() if held is None]
        if serial in self.town.hands and free:
            self.town.hands.remove(serial)
            self.town.stolen.discard(serial)
            cabinet.insert(free[slot % len(free)], serial, self.moment())
            self.claim(which, place, 1, dies)

    @precondition(lambda self: any(deal.claims for deal in self.town.rentals.values()))
    @rule(which=numbers, true=st.booleans(), dies=dies)
    def judge_claim(self, which: int, true: bool, dies: int | None) -> None:  # hypothesis names it
        """By an operator, who may err."""
        claimed = [each for each, deal in self.town.rentals.items() if deal.claims]
        rental_id = claimed[-1 - which % min(3, len(claimed))]
        deal = self.town.rentals[rental_id]
        now = self.moment()
        act = operators.confirm_claim if true else operators.refute_claim
        refused = act(self.backend, self.town.operator, rental_id, dies)
        if not check_refusal(refused, "rental_not_open", "return_claim_not_found", "slot_taken"):
            deal.corrected = True
            if true:
                deal.over_by = min(now, deal.over_by or now)

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, bank=numbers, out=st.booleans(), dies=dies)
    def reassign(self, which: int, bank: int, out: bool, dies: int | None) -> None:  # hypothesis names it
        """Mostly a bank that is out without a rental; who has it, the operator has to believe."""
        rental_id, deal = self.pick(which, RIDING)
        known = self._loose() if out else self.town.banks
        if not known:
            return
        serial, before = known[bank % len(known)], self.serial_of(rental_id)
        now = self.moment()
        place = self.town.place_of(before)
        refused = operators.reassign(self.backend, self.town.operator, rental_id, serial, place, dies)
        if check_refusal(refused, "rental_not_open", "bank_is_here", "bank_taken", "slot_taken") or serial == before:
            return
        back = self._back_unheard(serial)
        deal.corrected, deal.reassigned = True, Reassigned(serial, now if back is None else back.at)

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, place=places, slot=numbers, dies=dies)
    def another_one(self, which: int, place: int, slot: int, dies: int | None) -> None:
        """A bank is pulled out, the cabinet tells of it, and an operator hears that a rider has that one."""
        self.steal(place, slot)
        self.tell(self.cabinet(place))
        self.reassign(which, slot, True, dies)

    def _loose(self) -> list[str]:
        with Session(self.backend.engine) as session:
            query = select(PowerBank.serial).join(Rental, Rental.power_bank_id == PowerBank.id)
            with_riders = set(session.scalars(query.where(Rental.state.in_(OPEN_STATES))))
        return [serial for serial in self.town.hands if serial not in with_riders]

    def _back_unheard(self, serial: str) -> Arrival | None:
        """It is in a slot again, and nobody knows."""
        if self.town.place_of(serial) is None:
            return None
        arrivals = (a for cabinet in self.town.cabinets.values() for a in cabinet.arrivals if a.serial == serial)
        return max(arrivals, key=lambda a: a.at, default=None)
