"""What a rider was told to owe, and why."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from api.auth import CurrentUser
from api.deps import RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Instant, Limit, MoneyOut, Page, Schema
from api.v1 import area
from fleet.payments import invoices
from fleet.payments.models import Invoice, InvoiceKind

router = area("payment", "payments")


class InvoiceLineOut(Schema):
    kind: Annotated[str, Field(examples=["usage"])]
    text: Annotated[str, Field(examples=["2026-11-23: 2 x 30 min at 1.00 EUR"])]
    amount: MoneyOut


class InvoiceOut(Schema):
    """The lines add up to the total. Never changed: a correction says by how much those before it were wrong, a credit
    what was given back although the price is right.
    """

    id: UUID
    number: int
    kind: InvoiceKind
    rental_id: UUID | None
    corrects_id: UUID | None
    total: Annotated[MoneyOut, Field(description="negative when money comes back")]
    tax: Annotated[MoneyOut, Field(description="contained in the total")]
    tax_name: str
    tax_basis_points: int
    reason: str | None
    issued_at: Instant
    lines: list[InvoiceLineOut]

    @classmethod
    def of(cls, invoice: Invoice) -> "InvoiceOut":
        def money(amount_minor: int) -> MoneyOut:
            return MoneyOut.of(amount_minor, invoice.currency)

        return cls(
            id=invoice.id,
            number=invoice.number,
            kind=invoice.kind,
            rental_id=invoice.rental_id,
            corrects_id=invoice.corrects_id,
            total=money(invoice.total_minor),
            tax=money(invoice.tax_minor),
            tax_name=invoice.tax_name,
            tax_basis_points=invoice.tax_bp,
            reason=invoice.reason,
            issued_at=invoice.issued_at,
            lines=[
                InvoiceLineOut(kind=line.kind, text=line.text, amount=money(line.amount_minor))
                for line in invoice.lines
            ],
        )


@router.get("/invoice", operation_id="list_invoices", summary="My invoices, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_invoices(
    session: SessionDep,
    runtime: RuntimeDep,
    user: CurrentUser,
    rental_id: UUID | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[InvoiceOut]:
    """`rental_id`: the invoice of one rental, its corrections and credits, in order; without credits its price."""
    if rental_id is not None:
        return Page(items=[InvoiceOut.of(row) for row in invoices.invoices_of_rental(session, rental_id, user.id)])
    before = runtime.cursors.read("invoices", cursor)
    rows = invoices.invoices_of(session, user.id, limit + 1, UUID(before) if before else None)
    more = runtime.cursors.make("invoices", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[InvoiceOut.of(row) for row in rows[:limit]], next=more)


@router.get("/invoice/{invoice_id}", operation_id="get_invoice", summary="One of my invoices",
            responses=problems(401, 403, 404))  # fmt: skip
def get_invoice(invoice_id: UUID, session: SessionDep, user: CurrentUser) -> InvoiceOut:
    return InvoiceOut.of(invoices.invoice_of(session, user.id, invoice_id))
