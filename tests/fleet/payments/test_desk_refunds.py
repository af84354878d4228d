"""Refunds that somebody made at the provider's own desk, and credit notes of refunds that we agreed to."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, select

from fleet.common.errors import NotFound
from fleet.db import session_scope
from fleet.payments import invoices, proof, webhooks
from fleet.payments.errors import ChargeMismatch, RefundTooLarge
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.invoices import Bill, Line
from fleet.payments.models import Invoice, InvoiceKind
from fleet.payments.outgoing import desk_refunds
from fleet.payments.outgoing.models import MoneyOutState, Refund, RefundState
from fleet.payments.providers.base import MoveStatus, ObjectKind, ProviderMove
from fleet.payments.providers.sandbox import SLOW, Card, SandboxProvider
from fleet.payments.reconciliation import service as reconciliation
from fleet.payments.reconciliation.models import Proposal
from tests.fleet.parallel import together
from tests.fleet.payments.conftest import NOW
from tests.fleet.payments.test_cards import deliver
from tests.fleet.payments.test_disputes import loss
from tests.fleet.payments.test_refunds import Desk


@pytest.fixture
def desk(books: Engine, committed_rider: UUID) -> Iterator[Desk]:
    yield Desk(books, committed_rider)
    with session_scope(books) as session:
        assert proof.prove(session, NOW).problems == ()


def invoiced(desk: Desk, rental: UUID, minor: int, tax: int = 0) -> None:
    """What the end of a rental, or a correction of its price, tells its rider."""
    with desk.transactions() as session:
        bill = Bill(desk.rider, rental, "EUR", minor, tax, "VAT", 2000, [Line("usage", "a ride", minor)])
        invoices.issue(session, bill, desk.clock.now)


def bills(desk: Desk, rental: UUID) -> list[tuple[InvoiceKind, int, int]]:
    with desk.transactions() as session:
        rows = session.scalars(select(Invoice).where(Invoice.rental_id == rental).order_by(Invoice.sequence))
        return [(row.kind, row.total_minor, row.tax_minor) for row in rows]


def charge_of(desk: Desk) -> str:
    """The one payment's reference at the provider."""
    with desk.transactions() as session:
        reference = session.scalars(select(PaymentIntent.provider_reference)).one()
    assert reference is not None
    return reference


def at_the_desk(desk: Desk, minor: int) -> str:
    assert isinstance(desk.provider, SandboxProvider)
    return desk.provider.refund_at_desk(charge_of(desk), minor)


def word_of(desk: Desk, reference: str) -> ProviderMove:
    found = desk.provider.fetch(ObjectKind.REFUND, reference)
    assert isinstance(found, ProviderMove)
    return found


def adopt(desk: Desk, move: ProviderMove) -> bool:
    with desk.transactions() as session:
        return desk_refunds.adopt(session, "sandbox", move, desk.clock.now)


CREDIT, INVOICE, CORRECTION = InvoiceKind.CREDIT, InvoiceKind.INVOICE, InvoiceKind.CORRECTION


def test_a_refund_that_we_agreed_to_writes_a_credit_note(desk: Desk) -> None:
    rental = desk.charge(400)
    invoiced(desk, rental, 400, tax=67)
    desk.approve(desk.ask(rental, 150))
    assert bills(desk, rental) == [(INVOICE, 400, 67), (CREDIT, -150, -25)]
    desk.approve(desk.ask(rental))
    assert bills(desk, rental)[2:] == [(CREDIT, -250, -42)]  # to the cent what was told


def test_a_price_that_falls_takes_credits_with_it(desk: Desk) -> None:
    rental = desk.charge(400)
    invoiced(desk, rental, 400, tax=67)
    desk.approve(desk.ask(rental, 300))
    invoiced(desk, rental, 350, tax=58)
    assert bills(desk, rental)[2:] == [(CORRECTION, -50, -9)]
    invoiced(desk, rental, 100, tax=17)  # less than was given back beside it
    assert bills(desk, rental)[3:] == [(CORRECTION, -250, -41), (CREDIT, 200, 33)]
    invoiced(desk, rental, 0)
    told = bills(desk, rental)
    assert (sum(total for _, total, _ in told), sum(tax for _, _, tax in told)) == (0, 0)
    invoiced(desk, rental, 200, tax=33)  # the bank left after all: all of it is to pay
    assert bills(desk, rental)[len(told) :] == [(CORRECTION, 200, 33)]


def test_what_was_not_invoiced_is_not_credited(desk: Desk) -> None:
    rental = desk.charge(400)
    desk.approve(desk.ask(rental, 150))
    assert bills(desk, rental) == []


@pytest.mark.parametrize("times", [1, 10])
def test_a_rentals_card_has_it_back_the_rider_pays_less_and_is_told(desk: Desk, times: int) -> None:
    rental = desk.by_card(320)
    invoiced(desk, rental, 320, tax=53)
    at_the_desk(desk, 120)
    deliver(desk, times=times, seed=times)
    assert (desk.wallet(), loss(desk)) == (1000, 0)
    [out] = desk.outs()
    assert (out.state, out.amount_minor, desk.refund_state(out.refund_id or out.id)) == (
        MoneyOutState.SUCCEEDED, 120, RefundState.COMPLETED,
    )  # fmt: skip
    assert bills(desk, rental) == [(INVOICE, 320, 53), (CREDIT, -120, -20)]
    with pytest.raises(RefundTooLarge):
        desk.ask(rental, 201)
    desk.approve(desk.ask(rental))
    assert desk.send() == 1
    assert desk.on_cards() == 320


def test_of_a_top_up_the_house_loses_what_is_spent(desk: Desk) -> None:
    desk.pay(Card.SUCCEEDS)
    desk.charge(2500)  # of 3000
    at_the_desk(desk, 2000)
    deliver(desk)
    assert (desk.wallet(), loss(desk)) == (0, 1500)
    [out] = desk.outs()
    assert out.loss_id is not None


def test_one_that_the_card_did_not_take_changes_nothing(desk: Desk) -> None:
    desk.pay(Card.REFUND_FAILS)
    reference = at_the_desk(desk, 2000)
    assert not adopt(desk, word_of(desk, reference))
    desk.clock.now += SLOW
    deliver(desk)
    assert (desk.wallet(), desk.outs()) == (3000, [])


def test_one_that_comes_back_is_the_riders_and_the_houses_again(desk: Desk) -> None:
    desk.pay(Card.SUCCEEDS)
    desk.charge(2500)
    given = word_of(desk, at_the_desk(desk, 2000))
    assert adopt(desk, given)
    back = replace(given, status=MoveStatus.FAILED, failure_code="account_closed")
    assert [adopt(desk, back) for _ in range(2)] == [True, False]
    assert (desk.wallet(), loss(desk)) == (500, 0)


def test_what_cannot_be_is_not_booked(desk: Desk) -> None:
    desk.pay(Card.SUCCEEDS)
    given = word_of(desk, at_the_desk(desk, 2000))
    for wrong in (replace(given, amount_minor=2001), replace(given, currency="USD"), replace(given, amount_minor=0)):
        with pytest.raises(ChargeMismatch):
            adopt(desk, wrong)
    for foreign in (replace(given, charge="ch_nothing"), replace(given, charge=None)):
        with pytest.raises(NotFound):
            adopt(desk, foreign)
    assert adopt(desk, given)
    with pytest.raises(ChargeMismatch):
        adopt(desk, replace(given, amount_minor=1999))


def test_fifty_words_of_one_are_one(desk: Desk) -> None:
    desk.pay(Card.SUCCEEDS)
    given = word_of(desk, at_the_desk(desk, 700))
    outcomes = together(50, lambda _: adopt(desk, given))
    assert sorted(outcomes, key=repr) == [False] * 49 + [True]
    assert desk.wallet() == 2300
    with desk.transactions() as session:
        assert len(session.scalars(select(Refund)).all()) == 1


def test_the_nightly_comparison_finds_and_repairs_it(desk: Desk) -> None:
    desk.pay(Card.SUCCEEDS)
    at_the_desk(desk, 700)
    later = desk.clock.now + timedelta(hours=3)
    run = reconciliation.run(desk.transactions, desk.provider, later)
    with desk.transactions() as session:
        [difference] = reconciliation.differences_of(session, run.id)
    assert difference.proposal is Proposal.APPLY
    reconciliation.repair(desk.transactions, difference.id, desk.provider, later)
    assert desk.wallet() == 2300
    assert reconciliation.run(desk.transactions, desk.provider, later).differences == 0


def test_its_webhook_is_applied_by_what_the_provider_says(desk: Desk) -> None:
    """The object is read; nothing of the call itself counts."""
    desk.pay(Card.SUCCEEDS)
    given = word_of(desk, at_the_desk(desk, 700))
    with desk.transactions() as session:
        webhooks.apply_object(session, "sandbox", given, NOW)
    assert desk.wallet() == 2300
