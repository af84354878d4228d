"""Everything that may happen to one rental, one bank and one wallet, at the same moment: fifty threads, no deadlock."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select

from firmware_protocol.messages import PowerBankEjected, PowerBankInserted
from fleet.common.errors import FleetError
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.payments import holds, intents, topups, webhooks
from fleet.payments.outgoing import refunds
from fleet.payments.outgoing.models import Refund
from fleet.payments.providers import sandbox
from fleet.payments.providers.sandbox import Card, SandboxProvider
from fleet.rentals.models import OPEN_STATES, Rental, RentalEvent, RentalState
from fleet.rentals.starts.ejects import last_eject
from fleet.rentals.underway import cancels, claims, deadlines
from fleet.stations.models import PowerBank, Station, StationSlot
from tests.databases import Database
from tests.fleet.parallel import together, wide_engine
from tests.fleet.rentals.test_races import Town
from tests.fleet.rentals.world import POLICY
from tests.system.waiting import until

MANY = 50
SECRET = "whsec_mixed"


@pytest.fixture
def town(clean_database: Database, now: datetime) -> Iterator[Town]:
    with wide_engine(clean_database.url, MANY) as engine:
        yield Town(engine, now)


@dataclass
class Ride:
    """A rental of an hour whose bank A-1 is about to come back to station B; its rider tops up meanwhile by a card that
    the provider answers for by webhooks alone. Others wait at B for that bank.
    """

    town: Town
    others: list[UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        town = self.town
        a, b = town.station("A", 4, banks=1), town.station("B", 4, banks=0)
        self.rider, self.operator, *self.others = town.riders(6)
        self.rental_id = town.start(self.rider, "A")
        assert town.send(self.rental_id)
        with session_scope(town.engine) as session:
            command = last_eject(session, self.rental_id)
            assert command is not None
            ejected = PowerBankEjected(slot=1, serial="A-1", command_id=str(command.id))
        self.left = town.fact(a, "A", ejected)
        town.apply(self.left)
        town.now += timedelta(hours=1)
        with session_scope(town.engine) as session:
            session.get_one(Station, b).last_heard_at = town.now
        self.back = town.fact(b, "B", PowerBankInserted(slot=1, serial="A-1", charge_pct=80))
        self.provider = SandboxProvider(town.engine, SECRET, lambda: town.now)
        self.webhooks = self._top_up()

    def _top_up(self) -> list[int]:
        town = self.town
        with session_scope(town.engine) as session:
            money = Money(2000, "EUR")
            intent = topups.create_intent(
                session, user_id=self.rider, money=money, now=town.now, provider=self.provider
            ).id
        intents.confirm(
            lambda: session_scope(town.engine), intent_id=intent, user_id=self.rider, card=Card.TIMEOUT_CHARGED,
            provider=self.provider, now=town.now,
        )  # fmt: skip
        with session_scope(town.engine) as session:
            told = [
                webhooks.receive(session, self.provider, delivery.headers, delivery.body, town.now)
                for delivery in sandbox.due_deliveries(session, SECRET, town.now)
            ]
            return [each.id for each in told if each is not None]

    # What everybody does

    def returned(self) -> None:
        self.town.apply(self.back)

    def departed_again(self) -> None:
        self.town.apply(self.left)

    def claimed(self) -> None:
        with session_scope(self.town.engine) as session:
            claims.claim_return(
                session, user_id=self.rider, rental_id=self.rental_id, station_code="B", slot=1, policy=POLICY,
                now=self.town.now,
            )  # fmt: skip

    def cancelled(self) -> None:
        with session_scope(self.town.engine) as session:
            cancels.cancel(session, user_id=self.rider, rental_id=self.rental_id, now=self.town.now, policy=POLICY)

    def refunded(self) -> None:
        """As soon as there is something to give back; others tell of the same return then, or want the same bank."""
        until(self.is_over, "the rental is over", 120)
        with session_scope(self.town.engine) as session:
            refund = refunds.request_for_rental(
                session, rental_id=self.rental_id, user_id=self.rider, requested_by=self.rider, amount_minor=60,
                reason="broken cable", now=self.town.now,
            ).id  # fmt: skip
        with session_scope(self.town.engine) as session:
            refunds.approve(session, refund, approver_id=self.operator, now=self.town.now)

    def is_over(self) -> bool:
        with session_scope(self.town.engine) as session:
            return session.get_one(Rental, self.rental_id).state is RentalState.COMPLETED

    def told_by_the_provider(self) -> None:
        for webhook in self.webhooks:
            webhooks.process(lambda: session_scope(self.town.engine), webhook, self.provider, self.town.now)

    def swept(self) -> None:
        with session_scope(self.town.engine) as session:
            deadlines.sweep_rentals(session, self.town.now, POLICY)

    def started(self, rider: UUID) -> Callable[[], None]:
        def start() -> None:
            self.town.start(rider, "B")

        return start

    def everything(self) -> list[Callable[[], None]]:
        """Fifty, in any order."""
        starts = [self.started(rider) for rider in (*self.others, self.rider)]
        acts = [
            *[self.returned] * 10, *[self.departed_again] * 4, *[self.claimed] * 6, *[self.cancelled] * 5,
            *[self.refunded] * 6, *[self.told_by_the_provider] * 6, *[self.swept] * 3, *(starts * 2),
        ]  # fmt: skip
        random.shuffle(acts)
        return acts


def test_starts_returns_cancels_refunds_claims_and_webhooks_at_once(town: Town) -> None:
    ride = Ride(town)
    acts = ride.everything()
    assert len(acts) == MANY
    results = together(MANY, lambda n: acts[n]())
    unforeseen = [each for each in results if each is not None and not isinstance(each, FleetError)]
    assert unforeseen == []
    ride.swept()
    with session_scope(town.engine) as session:
        rental = session.get_one(Rental, ride.rental_id)
        back = holds.refunded_for(session, ride.rental_id)
        assert (rental.state, holds.charged_for(session, ride.rental_id)) == (RentalState.COMPLETED, 200)
        closings = select(func.count()).where(
            RentalEvent.rental_id == rental.id, RentalEvent.from_state == RentalState.ACTIVE,
            RentalEvent.to_state == RentalState.COMPLETED,
        )  # fmt: skip
        assert session.scalar(closings) == 1
        made = session.scalar(select(func.count()).select_from(Refund)) or 0
        assert made >= 1
        assert back == 60 * made
        bank = session.scalars(select(PowerBank).where(PowerBank.serial == "A-1")).one()
        slot = session.scalars(select(StationSlot).where(StationSlot.power_bank_id == bank.id)).one()
        new = session.scalars(select(Rental).where(Rental.state.in_(OPEN_STATES))).all()
        assert len(new) <= 1
        assert slot.reserved_for == (new[0].id if new else None)
    held = 500 if new and new[0].user_id == ride.rider else 0
    assert town.balance(ride.rider) == (5000 - 200 + back + 2000 - held, held)
    for other in ride.others:
        assert sum(town.balance(other)) == 5000
    town.check_books()
