"""What a rider gets in the hand: the same figures as the books, in JSON and on a page."""

from io import BytesIO

import pytest
from pypdf import PdfReader

from fleet.payments.outgoing import refunds
from fleet.rentals.corrections.disputes import decide, open_dispute
from fleet.rentals.corrections.models import DisputeReason
from fleet.rentals.corrections.service import Act, force_complete
from fleet.rentals.errors import RentalNotClosed, RentalNotFound
from fleet.rentals.models import Rental
from fleet.rentals.records import receipts
from fleet.rentals.records.receipt_pdf import render
from fleet.rentals.records.receipts import Receipt
from fleet.rentals.underway.problems import ProblemKind, report_return_problem
from fleet.users.audit import Actor
from tests.factories import add_rider
from tests.fleet.rentals.world import HOUR, MINUTE, World

BOSS = Actor(console="root")


def receipt(world: World, rental: Rental) -> Receipt:
    return receipts.receipt(world.session, rental.user_id, rental.id, issuer="Voltbay AG\n8001 Zürich", now=world.now)


def text_of(page: bytes) -> str:
    return " ".join(PdfReader(BytesIO(page)).pages[0].extract_text().split())


def test_what_it_cost_and_why(world: World) -> None:
    world.stations["B"].name = "Café <Odeon> & Söhne"
    rental = world.rent()
    world.later(10 * MINUTE)
    report_return_problem(
        world.session, user_id=rental.user_id, rental_id=rental.id, station_code="B", kind=ProblemKind.OFFLINE,
        note=None, policy=world.policy, now=world.now,
    )  # fmt: skip
    world.later(50 * MINUTE)
    world.inserted("B", 1, "A1")
    found = receipt(world, rental)
    assert (found.total_minor, found.paid_minor, found.due_minor) == (150, 150, 0)
    assert sum(line.amount_minor for line in found.lines) == 150
    assert (found.duration, found.paused) == (HOUR, world.policy.return_grace)
    assert (found.taken.code, found.returned and found.returned.code, found.power_bank) == ("A", "B", "A1")
    page = render(found)
    assert page == render(found), "the same receipt is the same file"
    shown = text_of(page)
    for part in ("Voltbay AG", "8001 Zürich", "Café <Odeon> & Söhne (B)", "Of which paused 30 min", "Total 1.50 EUR"):
        assert part in shown


def test_it_follows_what_was_given_back(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    before = receipt(world, rental)
    open_dispute(
        world.session, user_id=rental.user_id, rental_id=rental.id, reason=DisputeReason.BROKEN, note=None,
        policy=world.policy, now=world.now,
    )  # fmt: skip
    decide(Act(world.session, rental.id, "it was broken", BOSS, world.now), 120)
    found = receipt(world, rental)
    assert (found.total_minor, found.paid_minor, found.refunded_minor) == (80, 80, 120)
    assert sum(line.amount_minor for line in found.lines) == 80
    assert len(found.invoice_numbers) == len(before.invoice_numbers) + 1
    shown = text_of(render(found))
    assert "Refund after a dispute: it was broken -1.20 EUR" in shown
    assert "Given back before, and not contained in it 1.20 EUR" in shown


def test_a_refund_beside_the_price_is_no_longer_paid(world: World) -> None:
    """Total, what came back although the price is right, and what is left of the payment: they add up."""
    rental = world.rent()
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    asked = refunds.request_for_rental(
        world.session, rental_id=rental.id, user_id=rental.user_id, requested_by=rental.user_id, amount_minor=50,
        reason="broken cable", now=world.now,
    )  # fmt: skip
    boss = add_rider(world.session, world.now, 0)
    refunds.approve(world.session, asked.id, approver_id=boss, now=world.now)
    world.session.flush()
    found = receipt(world, rental)
    assert (found.total_minor, found.credited_minor, found.paid_minor) == (200, 50, 150)
    assert (found.refunded_minor, found.credit_reasons) == (50, ("Refund: broken cable",))
    shown = text_of(render(found))
    assert "Total 2.00 EUR Refund: broken cable -0.50 EUR Paid 1.50 EUR" in shown
    # The price falls below what was credited: the correction tells of it, and there is less to credit.
    open_dispute(
        world.session, user_id=rental.user_id, rental_id=rental.id, reason=DisputeReason.BROKEN, note=None,
        policy=world.policy, now=world.now,
    )  # fmt: skip
    decide(Act(world.session, rental.id, "it was broken", BOSS, world.now), None)
    found = receipt(world, rental)
    assert (found.total_minor, found.credited_minor, found.paid_minor, found.refunded_minor) == (0, 0, 0, 200)


def test_what_is_owed_is_said(world: World) -> None:
    poor = add_rider(world.session, world.now, 500)
    rental = world.rent(rider=poor)
    world.later(10 * HOUR)
    force_complete(Act(world.session, rental.id, "given to staff", BOSS, world.now))
    found = receipt(world, rental)
    assert (found.total_minor, found.paid_minor, found.due_minor, found.returned) == (1100, 500, 600, None)
    shown = text_of(render(found))
    assert "Returned not brought back" in shown
    assert "Still to pay 6.00 EUR" in shown


def test_there_is_none_before_the_end_nor_for_others(world: World) -> None:
    rental = world.rent()
    with pytest.raises(RentalNotClosed):
        receipt(world, rental)
    with pytest.raises(RentalNotFound):
        receipts.receipt(world.session, add_rider(world.session, world.now), rental.id, issuer="Voltbay", now=world.now)
