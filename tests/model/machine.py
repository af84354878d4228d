"""What all rooms of the state machine share: the town, the clock, and what is looked at after every step."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.rentals.models import Rental, RentalState
from fleet.stations.models import PowerBank, Station
from tests.model import counter
from tests.model.backend import Backend
from tests.model.books import Books
from tests.model.cabinets import Cabinet
from tests.model.deals import Deal
from tests.model.judge import Judge
from tests.model.till import Till
from tests.model.town import RIDERS, STATIONS, Town, build, deliver

riders = st.integers(0, RIDERS - 1)
places = st.integers(0, STATIONS - 1)
numbers = st.integers(0, 1000)
moods = st.sampled_from(["obey", "obey", "obey", "jam", "wrong", "mute", "deaf"])
#: Points until the process dies; most of the time it lives.
dies = st.one_of(st.none(), st.none(), st.integers(0, 40))


_S = RentalState
RIDING = (_S.ACTIVE, _S.OVERDUE)
ENDED = (_S.COMPLETED, _S.BOUGHT_OUT)
DISPUTED = (_S.DISPUTED,)


class _Every:
    @staticmethod
    def is_enabled(_: str) -> bool:
        return True


class Machine(RuleBasedStateMachine):
    def __init__(self, backend: Backend, till: Till) -> None:
        super().__init__()
        # Left alone, hypothesis switches some rules off in each example. With a few examples in all that leaves most
        # of what belongs together (a fee and the sweep that charges it) apart.
        self._rules_strategy.enabled_rules_strategy = st.just(_Every())  # type: ignore[arg-type]  # all it is asked
        self.backend = backend
        self.till = till
        self.town: Town
        self.books: Books

    @initialize()
    def found(self) -> None:
        self.backend.now += timedelta(days=1)
        self.town = build(self.backend, self.backend.now)
        self.books = Books(self.backend, self.town)

    @invariant()
    def holds(self) -> None:
        self.books.check()
        self.backend.steps += 1

    def teardown(self) -> None:
        if hasattr(self, "town"):
            self._let_everything_be_told()
            self.books.check()
            Judge(self.backend.engine, self.town, self.backend.now).judge()

    # For the rooms

    def moment(self) -> datetime:
        """No two things happen at one instant."""
        self.backend.now += timedelta(milliseconds=700)
        return self.backend.now

    def cabinet(self, place: int) -> Cabinet:
        return list(self.town.cabinets.values())[place]

    def code(self, place: int) -> str:
        return list(self.town.cabinets)[place]

    def pick(self, which: int, states: Collection[RentalState]) -> tuple[UUID, Deal]:
        """One of the latest rentals, mostly one of these states: what is asked of others is refused."""
        latest = list(self.town.rentals)[-5:]
        with Session(self.backend.engine) as session:
            query = select(Rental.id).where(Rental.id.in_(latest), Rental.state.in_(states))
            fitting = set(session.scalars(query))
        if which % 5 and fitting:
            latest = [each for each in latest if each in fitting]
        chosen = latest[which % len(latest)]
        return chosen, self.town.rentals[chosen]

    def serial_of(self, rental_id: UUID) -> str:
        """The bank that it is about, by the books."""
        with Session(self.backend.engine) as session:
            query = select(PowerBank.serial).join(Rental, Rental.power_bank_id == PowerBank.id)
            return session.scalars(query.where(Rental.id == rental_id)).one()

    def publish_orders(self, dies: int | None) -> None:
        for order in self.backend.claim(dies):
            code = order.message.topic.split("/")[2]
            if code in self.town.cabinets:
                self.town.cabinets[code].take(order.message)

    def tell(self, cabinet: Cabinet) -> None:
        deliver(self.backend, cabinet, self.backend.now)

    def obey(self, cabinet: Cabinet) -> None:
        """Orders go out, are carried out, and are answered."""
        self.publish_orders(None)
        while cabinet.orders:
            self.watch_hands(lambda: cabinet.act(self.moment(), "obey"))
        self.tell(cabinet)

    def watch_hands(self, act: Callable[[], Any]) -> None:
        before = {serial for c in self.town.cabinets.values() for serial in c.slots.values()}
        act()
        after = {serial for c in self.town.cabinets.values() for serial in c.slots.values()}
        gone = sorted(serial for serial in before - after if serial is not None)
        self.town.hands += gone
        self.town.went += [(serial, self.backend.now) for serial in gone]

    def began(self, rental_id: UUID, deal: Deal) -> None:
        """A rental is under way: nobody is given what is kept for another one, and what was kept for its rider is."""
        with Session(self.backend.engine) as session:
            query = (
                select(Station.code, PowerBank.serial)
                .join(Rental, Rental.station_out_id == Station.id)
                .join(PowerBank, PowerBank.id == Rental.power_bank_id)
                .where(Rental.id == rental_id)
            )
            code, serial = session.execute(query).one()
        for kept in self.town.kept.values():
            if kept.over or kept.settled:
                continue
            if kept.rider == deal.rider:
                kept.over = kept.code == code
            elif kept.serial == serial and kept.until > self.backend.now:
                assert self.town.place_of(serial) != (kept.code, kept.slot), "kept for somebody else"
        self.town.rentals[rental_id] = deal

    def _let_everything_be_told(self) -> None:
        """Orders run out, cabinets tell all they know and what is in their slots, the provider is asked."""
        backend, cabinets = self.backend, list(self.town.cabinets.values())
        for left in reversed(range(4)):
            backend.now += timedelta(minutes=16)
            backend.sweep()
            if left > 1:  # what no provider answers is settled by then
                self.collect(None)
            self.publish_orders(None)
            for cabinet in cabinets:
                while cabinet.orders:
                    order = cabinet
                    self.watch_hands(lambda order=order: order.act(backend.now, "obey"))  # type: ignore[misc]
                cabinet.inventory(backend.now)
                self.tell(cabinet)
            self.workers(0, None)
            self.till.webhooks(1, 0, None)
            self.till.janitor(None)
            self.workers(0, None)
        backend.sweep()

    def collect(self, dies: int | None) -> None:
        """The schedule's tries, looked at before and after."""
        self.books.check()
        counter.collect(self.backend, self.till.provider, dies)
        self.books.check()

    def workers(self, seed: int, dies: int | None) -> None:
        """What waits in the outbox is done; rentals that a card stands for may begin by it."""
        self.till.work(seed, dies)
        with Session(self.backend.engine) as session:
            begun = session.execute(
                select(Rental.id, Rental.intent_id).where(Rental.intent_id.in_(self.town.card_starts))
            ).all()
        for rental_id, intent_id in begun:
            if rental_id not in self.town.rentals:
                assert intent_id is not None
                self.began(rental_id, self.town.card_starts[intent_id])
        assert len({intent for _, intent in begun}) == len(begun), "one payment has begun two rentals"
