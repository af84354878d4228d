"""Riders: they rent, reserve, exchange, extend, complain, and bring banks back or do not."""

from datetime import timedelta
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from fleet.common.errors import FleetError
from fleet.rentals.models import PayMode, RentalState, SwapReason
from fleet.rentals.starts.payment_plans import BY_WALLET, PaymentPlan, plan_of
from tests.model import requests
from tests.model.deals import Kept
from tests.model.machine import ENDED, RIDING, Machine, dies, moods, numbers, places, riders
from tests.model.town import OFFERS, RIDERS

NO_START = {
    "insufficient_funds", "money_owed", "no_bank_available", "station_offline", "too_many_open_rentals",
}  # fmt: skip
#: A rental that is not out yet, or was over at once.
CANCELLABLE = (RentalState.EJECTING, RentalState.COMPLETED)
_GRACE = timedelta(minutes=30)
_PROBLEMS = 2
offers = st.one_of(st.none(), st.integers(0, len(OFFERS) - 1))
pays = st.sampled_from(
    [BY_WALLET, BY_WALLET, plan_of(PayMode.POINTS), plan_of(PayMode.SPLIT), plan_of(PayMode.SPLIT, 70)]
)
#: For each rider: from where, with which package, and what pays.
Trips = list[tuple[int, int | None, PaymentPlan]]
trips = st.lists(st.tuples(places, offers, pays), min_size=RIDERS, max_size=RIDERS)


def check_refusal(answer: object, *codes: str) -> bool:
    """Whether it was refused; only for one of these reasons."""
    if isinstance(answer, FleetError):
        assert answer.code in codes, repr(answer)
        return True
    return False


class Riders(Machine):
    @rule(rider=riders, place=places, offer=offers, dies=dies, pay=pays)
    def rent(self, rider: int, place: int, offer: int | None, dies: int | None, pay: PaymentPlan) -> None:
        who, code = self.town.riders[rider], self.code(place)
        self.moment()
        self.backend.heard(self.town.station_ids)
        package = None if offer is None else self.town.offers[offer]
        begun = requests.start(self.backend, who, code, package, dies, pay=pay)
        if not check_refusal(begun, *NO_START):
            assert isinstance(begun, UUID)
            self.began(begun, self.town.deal(who, code, offer, pay.points_minor))

    # Most of the time all goes well.

    @rule(chosen=trips)
    def morning(self, chosen: Trips) -> None:
        """Whoever has no bank takes one."""
        for rider, (place, offer, pay) in enumerate(chosen):
            self.rent(rider, place, offer, None, pay)
            self.obey(self.cabinet(place))

    @rule(place=places, told=st.booleans())
    def evening(self, place: int, *, told: bool) -> None:
        """Whoever has a bank brings it back."""
        for at, _ in enumerate(list(self.town.hands)):
            self.bring_back(0, place + at, told=told)

    @rule(chosen=trips, minutes=st.integers(1, 600), place=places, told=st.booleans())
    def outing(self, chosen: Trips, minutes: int, place: int, *, told: bool) -> None:
        self.morning(chosen)
        self.backend.now += timedelta(minutes=minutes)
        self.evening(place, told=told)

    @rule(chosen=trips, place=places, told=st.booleans())
    def noon(self, chosen: Trips, place: int, *, told: bool) -> None:
        self.evening(place, told=told)
        self.morning(chosen)

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, dies=dies)
    def cancel(self, which: int, dies: int | None) -> None:
        rental_id, deal = self.pick(which, CANCELLABLE)
        refused = requests.cancel(self.backend, deal.rider, rental_id, dies)
        if not check_refusal(refused, "rental_not_cancellable"):
            deal.called_off = True

    @rule(rider=riders, place=places, dies=dies)
    def reserve(self, rider: int, place: int, dies: int | None) -> None:
        who, code, town = self.town.riders[rider], self.code(place), self.town
        now = self.moment()
        self.backend.heard(town.station_ids)
        made = requests.reserve(self.backend, who, code, dies)
        if check_refusal(made, *NO_START, "already_reserved", "reserved_lately"):
            return
        assert isinstance(made, UUID)
        assert not any(k.rider == who and not k.over and k.until > now for k in town.kept.values())
        row = requests.reservation(self.backend, who, made)
        assert row.expires_at == now + timedelta(minutes=15)
        serial = row.power_bank.serial
        town.kept[made] = Kept(who, code, row.slot_number, serial, now, row.expires_at, town.fare(code).reservation_fee)

    @precondition(lambda self: self.town.kept)
    @rule(which=numbers, dies=dies)
    def give_up(self, which: int, dies: int | None) -> None:
        reservation_id, kept = list(self.town.kept.items())[-1 - which % len(self.town.kept)]
        refused = requests.cancel_reservation(self.backend, kept.rider, reservation_id, dies)
        if not check_refusal(refused, "reservation_over"):
            kept.over = True

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, place=places, reason=st.sampled_from(SwapReason), dies=dies)
    def swap(self, which: int, place: int, reason: SwapReason, dies: int | None) -> None:
        rental_id, deal = self.pick(which, RIDING)
        self.moment()
        refused = requests.swap(self.backend, deal.rider, rental_id, self.code(place), reason, dies)
        if not check_refusal(refused, "rental_not_swappable", "no_bank_available", "station_offline"):
            deal.swap_asked = True

    @precondition(lambda self: self.town.rentals and self.town.hands)
    @rule(which=numbers, slot=numbers, mood=moods, dies=dies)
    def exchange(self, which: int, slot: int, mood: str, dies: int | None) -> None:
        """Asked for, put in, and the other bank comes, or not."""
        rental_id, _ = self.pick(which, RIDING)
        serial = self.serial_of(rental_id)
        place = slot % len(self.town.cabinets)
        cabinet = self.cabinet(place)
        free = [number for number, held in cabinet.slots.items() if held is None]
        if serial not in self.town.hands or not free:
            return
        self.swap(which, place, SwapReason.LOW_BATTERY, dies)
        self.town.hands.remove(serial)
        cabinet.insert(free[slot % len(free)], serial, self.moment())
        self.tell(cabinet)
        self.publish_orders(None)
        while cabinet.orders:
            self.watch_hands(lambda: cabinet.act(self.moment(), mood))
        self.tell(cabinet)

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, offer=st.integers(0, len(OFFERS) - 1), dies=dies)
    def extend(self, which: int, offer: int, dies: int | None) -> None:
        rental_id, deal = self.pick(which, RIDING)
        now = self.moment()
        answer = requests.extend(self.backend, deal.rider, rental_id, self.town.offers[offer], dies)
        if not check_refusal(answer, "rental_not_extendable", "insufficient_funds"):
            _, package = OFFERS[offer]
            deal.packages.append(type(package)(package.duration, package.price, now))

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, place=places, dies=dies)
    def cannot_return(self, which: int, place: int, dies: int | None) -> None:
        rental_id, deal = self.pick(which, RIDING)
        now = self.moment()
        until = requests.problem(self.backend, deal.rider, rental_id, self.code(place), dies)
        if check_refusal(until, "rental_not_open"):
            return
        running = [each for each in deal.problems if each > now]
        if not running and len(deal.problems) < _PROBLEMS:
            running = [now + _GRACE]
            deal.problems += running
            deal.pauses.append((now, running[0]))
        assert until == (running[0] if running else None)

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, dies=dies)
    def dispute(self, which: int, dies: int | None) -> None:
        rental_id, deal = self.pick(which, ENDED)
        refused = requests.dispute(self.backend, deal.rider, rental_id, dies)
        if not check_refusal(refused, "dispute_decided", "rental_not_closed", "nothing_to_dispute", "dispute_too_late"):
            deal.disputed = True

    @precondition(lambda self: self.town.hands)
    @rule(which=numbers, place=numbers, told=st.booleans())
    def bring_back(self, which: int, place: int, *, told: bool) -> None:
        """Any bank into any slot: riders' and stolen ones alike."""
        town = self.town
        free = [(c, n) for c in town.cabinets.values() for n, serial in c.slots.items() if serial is None]
        cabinet, slot = free[place % len(free)]
        serial = town.hands.pop(which % len(town.hands))
        town.stolen.discard(serial)
        cabinet.insert(slot, serial, self.moment())
        if told:
            self.tell(cabinet)

    @rule(place=places, slot=numbers)
    def steal(self, place: int, slot: int) -> None:
        """Not from under an order that is under way: then nobody could tell whose hand it was."""
        cabinet = self.cabinet(place)
        full = [number for number, serial in cabinet.slots.items() if serial is not None]
        busy = self.backend.busy_slots(cabinet.code)
        full = [number for number in full if number not in busy]
        if full:
            # Clocks may differ by seconds: what is to be told apart from an order happens well before it.
            moment = self.moment()
            self.watch_hands(lambda: self.town.stolen.add(cabinet.steal(full[slot % len(full)], moment)))
            self.backend.now += timedelta(seconds=6)
