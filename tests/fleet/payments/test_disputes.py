"""Chargebacks: a loss that is pending until the bank decides, booked once."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import Engine, select

from fleet.common.errors import IllegalTransition, NotFound
from fleet.common.models import OutboxEvent
from fleet.db import session_scope
from fleet.payments import ledger, proof
from fleet.payments.disputes import service
from fleet.payments.disputes.models import CardDispute
from fleet.payments.errors import ChargeMismatch, RefundTooLarge
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.models import AccountKind
from fleet.payments.providers.base import DisputeStatus, ProviderDispute
from fleet.payments.providers.sandbox import SLOW, Card, SandboxProvider
from tests.fleet.parallel import together
from tests.fleet.payments.conftest import NOW, THREADS
from tests.fleet.payments.test_cards import deliver
from tests.fleet.payments.test_refunds import Desk
from tests.fleet.payments.test_webhooks import deliveries, process, receive


@pytest.fixture
def desk(books: Engine, committed_rider: UUID) -> Iterator[Desk]:
    yield Desk(books, committed_rider)
    with session_scope(books) as session:
        assert proof.prove(session, NOW).problems == ()


def disputed_top_up(desk: Desk) -> UUID:
    intent = desk.pay(Card.DISPUTED).id
    desk.clock.now += SLOW
    return intent


def the_dispute(desk: Desk) -> CardDispute:
    with desk.transactions() as session:
        return session.scalars(select(CardDispute)).one()


def decide(desk: Desk, *, won: bool) -> None:
    assert isinstance(desk.provider, SandboxProvider)
    desk.provider.decide_dispute(the_dispute(desk).provider_reference, won=won)


def loss(desk: Desk) -> int:
    with desk.transactions() as session:
        account = ledger.house_accounts(session, "EUR", NOW)[AccountKind.WRITE_OFF]
        return ledger.totals(session, account).balance_minor


def told(desk: Desk) -> list[str]:
    with desk.transactions() as session:
        names = select(OutboxEvent.name).where(OutboxEvent.name.contains("Disput")).order_by(OutboxEvent.id)
        return list(session.scalars(names))


def test_a_disputed_top_up_cannot_be_spent(desk: Desk) -> None:
    disputed_top_up(desk)
    desk.charge(2500)  # of 3000
    deliver(desk, times=3)
    assert (desk.wallet(), loss(desk), the_dispute(desk).state) == (0, 0, DisputeStatus.OPEN)
    assert told(desk) == ["payments.PaymentDisputed"]


def test_a_lost_dispute_costs_the_house_what_was_spent(desk: Desk) -> None:
    disputed_top_up(desk)
    desk.charge(2500)
    deliver(desk)
    decide(desk, won=False)
    deliver(desk, times=10, seed=1)
    assert (desk.wallet(), loss(desk), the_dispute(desk).state) == (0, 1500, DisputeStatus.LOST)
    assert told(desk) == ["payments.PaymentDisputed", "payments.PaymentDisputeClosed"]


def test_a_won_dispute_leaves_no_trace_in_the_books(desk: Desk) -> None:
    disputed_top_up(desk)
    deliver(desk)
    assert desk.wallet() == 1000
    decide(desk, won=True)
    deliver(desk, times=10, seed=2)
    assert (desk.wallet(), loss(desk), the_dispute(desk).state) == (3000, 0, DisputeStatus.WON)


def test_what_is_disputed_is_not_refunded_to_the_card_as_well(desk: Desk) -> None:
    intent = disputed_top_up(desk)
    deliver(desk)
    with pytest.raises(RefundTooLarge):
        desk.ask_top_up(intent)
    decide(desk, won=True)
    deliver(desk)
    desk.approve(desk.ask_top_up(intent))
    assert desk.wallet() == 1000


def test_money_that_paid_for_a_rental_is_not_taken_from_the_wallet(desk: Desk) -> None:
    rental = desk.by_card(320, Card.DISPUTED)
    desk.clock.now += SLOW
    deliver(desk)
    assert desk.wallet() == 1000
    with desk.transactions() as session:
        event = session.scalars(select(OutboxEvent).where(OutboxEvent.name == "payments.PaymentDisputed")).one()
    assert event.payload["rental_id"] == str(rental)
    decide(desk, won=False)
    deliver(desk)
    assert (desk.wallet(), loss(desk)) == (1000, 320)


def claim(desk: Desk, intent: UUID, *, minor: int = 2000, currency: str = "EUR", status: str = "open") -> CardDispute:
    with desk.transactions() as session:
        reference = session.get_one(PaymentIntent, intent).provider_reference
        assert reference is not None
        found = ProviderDispute("dp_1", reference, DisputeStatus(status), minor, currency, "fraudulent")
        return service.apply_dispute(session, "sandbox", found, NOW)


def test_a_dispute_of_something_else_is_not_booked(desk: Desk) -> None:
    intent = desk.pay(Card.SUCCEEDS).id
    for wrong in ({"minor": 2001}, {"minor": 0}, {"currency": "USD"}):
        with pytest.raises(ChargeMismatch):
            claim(desk, intent, **wrong)
    claim(desk, intent)
    with pytest.raises(ChargeMismatch):
        claim(desk, intent, minor=1999)
    foreign = ProviderDispute("dp_2", "ch_nothing", DisputeStatus.OPEN, 1, "EUR", "fraudulent")
    with pytest.raises(NotFound), desk.transactions() as session:
        service.apply_dispute(session, "sandbox", foreign, NOW)


def test_what_is_decided_is_not_decided_again_and_old_news_changes_nothing(desk: Desk) -> None:
    intent = desk.pay(Card.SUCCEEDS).id
    claim(desk, intent, status="lost")  # the first word of it that came
    assert claim(desk, intent).state is DisputeStatus.LOST
    with pytest.raises(IllegalTransition):
        claim(desk, intent, status="won")


def test_fifty_words_of_one_dispute_are_one(desk: Desk) -> None:
    intent = desk.pay(Card.SUCCEEDS).id
    outcomes = together(50, lambda number: claim(desk, intent, status="lost" if number % 2 else "open"))
    assert all(isinstance(outcome, CardDispute) for outcome in outcomes)
    assert the_dispute(desk).state is DisputeStatus.LOST
    assert (desk.wallet(), loss(desk)) == (1000, 0)


def test_fifty_webhooks_of_a_chargeback_are_booked_once(desk: Desk) -> None:
    """Received and applied by fifty at once, while the bank decides."""
    disputed_top_up(desk)
    desk.charge(2500)  # of 3000
    calls = deliveries(desk)
    opened = [number for call in calls if (number := receive(desk, call.body, call.headers)) is not None]
    assert len(opened) == 2  # the charge and its dispute
    assert together(THREADS, lambda n: process(desk, opened[n % 2])).count(True) == 2
    assert (desk.wallet(), loss(desk), the_dispute(desk).state) == (0, 0, DisputeStatus.OPEN)
    decide(desk, won=False)
    (closed,) = deliveries(desk)

    def hear(_: int) -> bool:
        number = receive(desk, closed.body, closed.headers)
        return number is not None and process(desk, number)

    assert together(THREADS, hear).count(True) == 1
    assert (desk.wallet(), loss(desk), the_dispute(desk).state) == (0, 1500, DisputeStatus.LOST)
    assert told(desk) == ["payments.PaymentDisputed", "payments.PaymentDisputeClosed"]
