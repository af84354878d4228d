"""What the provider's desk gives back of a period is given back for the period, and its rider does not pay it."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import select

from fleet.common.models import Country
from fleet.db import session_scope
from fleet.payments import proof, taxes
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.invoices import Part
from fleet.payments.models import AccountKind, Invoice, InvoiceKind, LedgerAccount
from fleet.payments.outgoing import desk_refunds
from fleet.payments.providers.base import MoveStatus, ObjectKind, ProviderMove
from fleet.payments.providers.sandbox import SandboxProvider
from fleet.registry import CHECKS
from fleet.subscriptions import changes
from fleet.subscriptions.changes import Giveback
from fleet.subscriptions.models import SubscriptionState
from tests.fleet.parallel import together
from tests.fleet.subscriptions.club import PRICE, Club, add_plan
from tests.fleet.subscriptions.conftest import THREADS
from tests.fleet.subscriptions.test_changes import end

TAX = 180
SAVED = 500


@pytest.fixture
def paid(club: Club) -> Club:
    """A card has paid 9.00, of which a fifth is tax; the wallet has not enough for that."""
    with club.transactions() as session:
        session.add(Country(iso_code="XX", name="Xanadu", dial_code="+9", currency="EUR", locale="en", time_zone="UTC"))
        session.flush()
        taxes.set_rate(session, "XX", name="VAT", basis_points=2500, now=club.now)
        add_plan(session, code="taxed", tax_country="XX")
    club.give(SAVED)
    club.save()
    club.subscribe("taxed")
    return club


def at_the_desk(club: Club, minor: int) -> ProviderMove:
    assert isinstance(club.provider, SandboxProvider)
    with club.transactions() as session:
        reference = session.scalars(select(PaymentIntent.provider_reference)).one()
    assert reference is not None
    found = club.provider.fetch(ObjectKind.REFUND, club.provider.refund_at_desk(reference, minor))
    assert isinstance(found, ProviderMove)
    return found


def adopt(club: Club, move: ProviderMove) -> bool:
    with club.transactions() as session:
        return desk_refunds.adopt(session, "sandbox", move, club.now)


def hear(club: Club) -> None:
    """What the worker does with each such event, once."""
    for payload in club.told("payments.SubscriptionPaymentRefunded"):
        with club.transactions() as session:
            part = Part(payload["amount_minor"], payload["tax_minor"])
            changes.note_refund(session, UUID(payload["intent_id"]), part, payload["reason"], club.now)


def bills(club: Club) -> Sequence[tuple[InvoiceKind, int, int]]:
    with club.transactions() as session:
        rows = session.scalars(select(Invoice).order_by(Invoice.number))
        return [(row.kind, row.total_minor, row.tax_minor) for row in rows]


def owed_in_tax(club: Club) -> int:
    with club.transactions() as session:
        query = select(LedgerAccount.credits_posted - LedgerAccount.debits_posted)
        return session.scalars(query.where(LedgerAccount.kind == AccountKind.TAX)).one()


INVOICE, CREDIT, CORRECTION = InvoiceKind.INVOICE, InvoiceKind.CREDIT, InvoiceKind.CORRECTION


def test_the_house_gives_it_back_and_the_invoice_says_so(paid: Club) -> None:
    assert adopt(paid, at_the_desk(paid, 301))
    assert paid.money() == (SAVED, SAVED)  # the card has it; not out of the rider's wallet
    with session_scope(paid.engine) as session:
        assert proof.prove(session, paid.now, CHECKS).problems == ()  # the period has not heard of it yet
    hear(paid)
    assert bills(paid) == [(INVOICE, PRICE, TAX), (CREDIT, -301, -60)]
    assert (paid.periods()[0].refunded_minor, paid.state) == (301, SubscriptionState.ACTIVE)
    assert owed_in_tax(paid) == TAX - 60
    assert [each["amount_minor"] for each in paid.told("subscriptions.SubscriptionRefunded.v1")] == [301]


def test_all_parts_together_are_what_was_paid(paid: Club) -> None:
    adopt(paid, at_the_desk(paid, 301))
    adopt(paid, at_the_desk(paid, 1))
    hear(paid)
    assert end(paid, Giveback.ALL) == PRICE - 302
    assert bills(paid)[1:] == [(CREDIT, -301, -60), (CREDIT, -1, 0), (CORRECTION, -598, -120)]
    assert owed_in_tax(paid) == 0
    assert paid.money() == (SAVED + 598, SAVED)  # on its way to the card


def test_what_comes_back_from_the_card_is_the_riders_and_comes_once(paid: Club) -> None:
    given = at_the_desk(paid, PRICE)
    adopt(paid, given)
    hear(paid)
    assert adopt(paid, replace(given, status=MoveStatus.FAILED, failure_code="account_closed"))
    assert paid.money() == (SAVED + PRICE, SAVED + PRICE)
    assert end(paid, Giveback.ALL) == 0
    assert bills(paid) == [(INVOICE, PRICE, TAX), (CREDIT, -PRICE, -TAX)]


def test_fifty_words_of_it_and_its_end_at_once(paid: Club) -> None:
    given = at_the_desk(paid, 400)

    def act(number: int) -> bool | int:
        return end(paid, Giveback.ALL) if number == THREADS // 2 else adopt(paid, given)

    outcomes = together(THREADS, act)
    assert [each for each in outcomes if isinstance(each, Exception)] == []
    hear(paid)
    # Whoever was first: all of it is back, and nothing twice.
    assert (paid.periods()[0].refunded_minor, owed_in_tax(paid)) == (PRICE, 0)
    assert sum(total for _, total, _ in bills(paid)) == 0
