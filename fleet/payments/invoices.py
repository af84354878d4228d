"""What a rental cost, as the rider was told. Never changed; a correction is a new invoice (decision 0123)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, selectinload

from fleet.common.money import rounded
from fleet.payments.errors import InvoiceNotFound
from fleet.payments.models import Invoice, InvoiceKind, InvoiceLine

CORRECTION = "correction"
REFUND = "refund"
#: Characters of invoice_line.text: a charge must not fail for a long name of a coupon.
TEXT_MAX = 300


@dataclass(frozen=True, slots=True)
class Line:
    """`amount_minor` in the invoice's currency."""

    kind: str
    text: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Bill:
    """What is to be told, as a whole: the lines add up to the total, which contains the tax."""

    user_id: UUID
    #: None: of no rental, and never corrected.
    rental_id: UUID | None
    currency: str
    total_minor: int
    tax_minor: int
    tax_name: str
    tax_bp: int
    lines: Sequence[Line]


def issue(session: Session, bill: Bill, now: datetime, reason: str | None = None) -> Invoice | None:
    """An invoice for the rental, or a correction that brings those before it to `bill`; None when they say so already.

    Credits are beside the price, and never more than it: what a price that fell takes with it is credited no more.
    The caller holds the rental's lock: two at once would be refused by the database, not told the same twice.
    """
    before = [] if bill.rental_id is None else list(session.scalars(_of_rental(bill.rental_id)))
    told = _told(before)
    total, tax = bill.total_minor - told.total_minor, bill.tax_minor - told.tax_minor
    made = None
    if total != 0 or tax != 0:
        lines = list(bill.lines)
        if before:
            text = f"As invoiced so far, up to no. {before[-1].number}"
            lines.insert(0, Line(CORRECTION, text, total - bill.total_minor))
        made = _write(session, bill, before, now, total=total, tax=tax, lines=lines, reason=reason)
        before.append(made)
    if told.credited_minor > bill.total_minor:
        too_much, its_tax = told.credited_minor - bill.total_minor, told.credited_tax - bill.tax_minor
        lines = [Line(CORRECTION, "Credited before, and part of the correction now", too_much)]
        _write(session, bill, before, now, InvoiceKind.CREDIT, total=too_much, tax=its_tax, lines=lines, reason=reason)
    return made


@dataclass(frozen=True, slots=True)
class _Told:
    """What a rental's invoices and corrections add up to, and what its credits do; minor units."""

    total_minor: int
    tax_minor: int
    credited_minor: int
    credited_tax: int


def _told(before: Sequence[Invoice]) -> _Told:
    credits_ = [each for each in before if each.kind is InvoiceKind.CREDIT]
    told = [each for each in before if each.kind is not InvoiceKind.CREDIT]
    return _Told(
        total_minor=sum(each.total_minor for each in told),
        tax_minor=sum(each.tax_minor for each in told),
        credited_minor=-sum(each.total_minor for each in credits_),
        credited_tax=-sum(each.tax_minor for each in credits_),
    )


def _write(
    session: Session,
    bill: Bill,
    before: Sequence[Invoice],
    now: datetime,
    kind: InvoiceKind = InvoiceKind.CORRECTION,
    *,
    total: int,
    tax: int,
    lines: Sequence[Line],
    reason: str | None,
) -> Invoice:
    """`kind`: of any but the first."""
    invoice = Invoice(
        user_id=bill.user_id,
        rental_id=bill.rental_id,
        sequence=len(before),
        kind=kind if before else InvoiceKind.INVOICE,
        corrects_id=before[-1].id if before else None,
        currency=bill.currency,
        total_minor=total,
        tax_minor=tax,
        tax_name=bill.tax_name,
        tax_bp=bill.tax_bp,
        reason=reason,
        issued_at=now,
        lines=[
            InvoiceLine(position=position, kind=line.kind, text=line.text[:TEXT_MAX], amount_minor=line.amount_minor)
            for position, line in enumerate(lines, start=1)
        ],
    )
    session.add(invoice)
    session.flush()  # the next correction refers to it
    return invoice


def credit_rental(
    session: Session, rental_id: UUID, amount_minor: int, *, reason: str, now: datetime
) -> Invoice | None:
    """So much (contained tax included) of what a rental cost was given back, and its price stays: a credit note.

    At most what is invoiced and not credited yet; None when that is nothing. The caller has locked the rider's wallet.
    """
    before = list(session.scalars(_of_rental(rental_id)))
    told = _told(before)
    amount = min(amount_minor, told.total_minor - told.credited_minor)
    if amount <= 0:
        return None
    last = before[-1]
    tax = rounded((told.credited_minor + amount) * told.tax_minor, told.total_minor) - told.credited_tax
    bill = Bill(
        user_id=last.user_id, rental_id=rental_id, currency=last.currency, total_minor=told.total_minor,
        tax_minor=told.tax_minor, tax_name=last.tax_name, tax_bp=last.tax_bp,
        lines=[Line(REFUND, reason, -amount)],
    )  # fmt: skip
    return _write(
        session, bill, before, now, InvoiceKind.CREDIT, total=-amount, tax=-tax, lines=bill.lines,
        reason=reason[:TEXT_MAX],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """Minor units of what was invoiced, and the tax in them."""

    amount_minor: int
    tax_minor: int


def part_of(charged: Part, back: Part, amount_minor: int) -> Part:
    """So much more of what was charged comes back. Whatever the parts, all of them together are it, to the cent."""
    tax_minor = rounded((back.amount_minor + amount_minor) * charged.tax_minor, charged.amount_minor)
    return Part(amount_minor, tax_minor - back.tax_minor)


def credit(session: Session, invoice: Invoice, part: Part, *, kind: InvoiceKind, reason: str, now: datetime) -> Invoice:
    """So much of an invoice that is of no rental came back. The caller has locked what it is of."""
    before = select(func.count()).where(Invoice.corrects_id == invoice.id)
    correction = Invoice(
        user_id=invoice.user_id,
        sequence=1 + session.scalars(before).one(),
        kind=kind,
        corrects_id=invoice.id,
        currency=invoice.currency,
        total_minor=-part.amount_minor,
        tax_minor=-part.tax_minor,
        tax_name=invoice.tax_name,
        tax_bp=invoice.tax_bp,
        reason=reason[:TEXT_MAX],
        issued_at=now,
        lines=[InvoiceLine(position=1, kind=REFUND, text=reason[:TEXT_MAX], amount_minor=-part.amount_minor)],
    )
    session.add(correction)
    session.flush()  # constraints speak with the money
    return correction


def _of_rental(rental_id: UUID) -> Select[Invoice]:
    return select(Invoice).where(Invoice.rental_id == rental_id).order_by(Invoice.sequence)


def invoices_of_rental(session: Session, rental_id: UUID, user_id: UUID) -> list[Invoice]:
    """The rider's invoice for it, corrections and credits, in order, with their lines.

    Without the credits they add up to its price.
    """
    query = _of_rental(rental_id).where(Invoice.user_id == user_id).options(selectinload(Invoice.lines))
    return list(session.scalars(query))


def invoices_of(session: Session, user_id: UUID, limit: int, before: UUID | None = None) -> list[Invoice]:
    """The rider's invoices with their lines, newest first; `before` is the id of the last one seen."""
    query = select(Invoice).where(Invoice.user_id == user_id).order_by(Invoice.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Invoice.id < before)
    return list(session.scalars(query.options(selectinload(Invoice.lines))))


def invoice_of(session: Session, user_id: UUID, invoice_id: UUID) -> Invoice:
    """Raises InvoiceNotFound, also when it is another rider's."""
    query = select(Invoice).where(Invoice.id == invoice_id, Invoice.user_id == user_id)
    invoice = session.scalars(query.options(selectinload(Invoice.lines))).one_or_none()
    if invoice is None:
        raise InvoiceNotFound("no such invoice", invoice_id=invoice_id)
    return invoice
