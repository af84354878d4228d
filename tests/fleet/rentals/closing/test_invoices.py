"""Every charge has an invoice whose lines add up to it; what turns out cheaper is corrected by another one."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from fleet.common.models import Country
from fleet.payments.errors import InvoiceNotFound
from fleet.payments.invoices import Bill, Line, invoice_of, invoices_of, invoices_of_rental, issue
from fleet.payments.models import AccountKind, Invoice, InvoiceKind, LedgerAccount, LedgerTransfer
from fleet.payments.taxes import set_rate
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.tariffs.edits import revise_tariff
from fleet.rentals.tariffs.models import Tariff
from fleet.rentals.tariffs.queries import terms
from fleet.rentals.underway import deadlines
from tests.fleet.rentals.world import HOUR, SECOND, World


def check_sums(world: World) -> None:
    """The lines and the total of every invoice, as a commit would."""
    world.session.flush()
    world.session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    world.session.execute(text("SET CONSTRAINTS ALL DEFERRED"))


def told(world: World, rental: Rental) -> list[tuple[InvoiceKind, int, int]]:
    check_sums(world)
    found = invoices_of_rental(world.session, rental.id, world.rider)
    assert [each.sequence for each in found] == list(range(len(found)))
    return [(each.kind, each.total_minor, each.tax_minor) for each in found]


def tax_switzerland(world: World, *, inclusive: bool) -> None:
    world.session.add(
        Country(iso_code="CH", name="Switzerland", dial_code="+41", currency="CHF", locale="de", time_zone="x")
    )
    world.session.flush()
    set_rate(world.session, "CH", name="VAT", basis_points=2_000, now=world.now)
    for station in world.stations.values():
        station.country = "CH"
    tariff = world.session.scalars(select(Tariff)).one()
    found = terms(tariff)
    revise_tariff(world.session, tariff.id, replace(found, tax=replace(found.tax, inclusive=inclusive)), world.now)


def booked(world: World, rental: Rental) -> dict[AccountKind, int]:
    query = (
        select(LedgerAccount.kind, LedgerTransfer.posted_minor)
        .join(LedgerAccount, LedgerAccount.id == LedgerTransfer.credit_account_id)
        .where(LedgerTransfer.rental_id == rental.id)
    )
    return {kind: posted or 0 for kind, posted in world.session.execute(query)}


def test_a_charge_is_invoiced_with_its_lines(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    world.inserted("B", 1, world.serial(rental))
    assert told(world, rental) == [(InvoiceKind.INVOICE, 200, 0)]
    (invoice,) = invoices_of(world.session, world.rider, 10)
    assert [(line.position, line.kind, line.amount_minor) for line in invoice.lines] == [
        (1, "unlock", 100),
        (2, "usage", 100),
    ]
    assert invoice_of(world.session, world.rider, invoice.id) is invoice
    with pytest.raises(InvoiceNotFound):
        invoice_of(world.session, uuid4(), invoice.id)
    world.check_everything()


@pytest.mark.parametrize(
    ("inclusive", "total", "books"),
    [
        (True, 200, {AccountKind.UNLOCK_FEES: 83, AccountKind.REVENUE: 84, AccountKind.TAX: 33}),
        (False, 240, {AccountKind.UNLOCK_FEES: 100, AccountKind.REVENUE: 100, AccountKind.TAX: 40}),
    ],
)
def test_tax_is_told_and_booked_apart(world: World, inclusive: bool, total: int, books: dict[AccountKind, int]) -> None:
    tax_switzerland(world, inclusive=inclusive)
    rental = world.rent()
    world.later(HOUR)
    world.inserted("B", 1, world.serial(rental))
    assert rental.charged_minor == rental.price_minor == total
    assert told(world, rental) == [(InvoiceKind.INVOICE, total, books[AccountKind.TAX])]
    assert booked(world, rental) == books
    world.check_everything()


def test_nothing_charged_is_nothing_told(world: World) -> None:
    rental = world.rent()
    world.later(SECOND)
    world.inserted("A", rental.slot_out, world.serial(rental))
    assert (rental.state, rental.price_minor) == (RentalState.COMPLETED, 0)
    assert told(world, rental) == []


def test_an_earlier_return_is_a_correction(world: World) -> None:
    tax_switzerland(world, inclusive=True)
    rental = world.rent()
    serial = world.serial(rental)
    world.later(HOUR)
    early = world.skip("B")
    back = world.now
    world.later(3 * HOUR)
    world.inserted("A", 5, serial)
    assert told(world, rental) == [(InvoiceKind.INVOICE, 500, 83)]
    for _ in range(2):  # told twice, corrected once
        world.inserted("B", 1, serial, at=back, seq=early)
        assert (rental.price_minor, rental.charged_minor) == (200, 200)
        assert told(world, rental) == [(InvoiceKind.INVOICE, 500, 83), (InvoiceKind.CORRECTION, -300, -50)]
    first, second = invoices_of_rental(world.session, rental.id, world.rider)
    assert second.corrects_id == first.id
    assert [(line.kind, line.amount_minor) for line in second.lines] == [
        ("correction", -500),
        ("unlock", 100),
        ("usage", 100),
        ("tax", 0),
    ]
    world.check_everything()


def test_a_bank_that_is_bought_is_invoiced(world: World) -> None:
    rental = world.rent()
    world.later(timedelta(days=30))
    deadlines.sweep_rentals(world.session, world.now, world.policy)
    deadlines.sweep_rentals(world.session, world.now, world.policy)
    assert rental.state is RentalState.BOUGHT_OUT
    assert told(world, rental) == [(InvoiceKind.INVOICE, 3000, 0)]


def test_the_database_keeps_invoices_as_they_are(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    world.inserted("B", 1, world.serial(rental))
    check_sums(world)
    for statement in (
        "UPDATE invoice SET total_minor = 1",
        "UPDATE invoice_line SET amount_minor = 1",
        "DELETE FROM invoice_line",
        "TRUNCATE invoice CASCADE",
    ):
        with pytest.raises(IntegrityError, match="append-only"), world.session.begin_nested():
            world.session.execute(text(statement))
    (invoice,) = invoices_of(world.session, world.rider, 1)
    another = f"INSERT INTO invoice_line VALUES ('{invoice.id}', 9, 'usage', 'more', 100)"
    savepoint = world.session.begin_nested()
    world.session.execute(text(another))
    with pytest.raises(IntegrityError, match="sum of its lines"):
        check_sums(world)
    savepoint.rollback()


def test_the_same_twice_is_told_once(world: World) -> None:
    bill = Bill(
        user_id=world.rider, rental_id=uuid4(), currency="KWD", total_minor=1_500, tax_minor=0, tax_name="Tax",
        tax_bp=0, lines=[Line("usage", "an hour", 1_500)],
    )  # fmt: skip
    assert issue(world.session, bill, world.now) is not None
    assert issue(world.session, bill, world.now) is None
    nothing = replace(bill, total_minor=0, lines=[])
    back = issue(world.session, nothing, world.now, "never taken")
    assert back is not None
    assert (back.total_minor, back.kind, back.reason) == (-1_500, InvoiceKind.CORRECTION, "never taken")
    check_sums(world)
    assert len(list(world.session.scalars(select(Invoice)))) == 2
