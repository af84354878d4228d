"""Money as CSV: what accountants take with them. Amounts in minor units."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import aliased

from fleet.common.tables import Span, Table
from fleet.payments.debts.models import Debt
from fleet.payments.models import Invoice, LedgerAccount, LedgerTransfer
from fleet.payments.outgoing.models import Refund, Withdrawal


def transfers(span: Span) -> Table:
    """Every line of the ledger that was begun then, with the accounts on both sides."""
    debit, credit = aliased(LedgerAccount), aliased(LedgerAccount)
    t = LedgerTransfer
    return (
        select(
            t.id, t.created_at, t.settled_at, t.kind, t.state, t.currency, t.amount_minor, t.posted_minor,
            debit.kind.label("debit"), debit.owner_id.label("debit_owner"),
            credit.kind.label("credit"), credit.owner_id.label("credit_owner"),
            t.rental_id, t.intent_id, t.memo,
        )
        .join(debit, debit.id == t.debit_account_id)
        .join(credit, credit.id == t.credit_account_id)
        .where(span.holds(t.created_at))
        .order_by(t.id)
    )  # fmt: skip


def invoices(span: Span) -> Table:
    """With corrections and credits."""
    i = Invoice
    return (
        select(
            i.number, i.id, i.kind, i.corrects_id, i.issued_at, i.user_id, i.rental_id, i.currency, i.total_minor,
            i.tax_minor, i.tax_name, i.tax_bp, i.reason,
        )
        .where(span.holds(i.issued_at))
        .order_by(i.number)
    )  # fmt: skip


def refunds(span: Span) -> Table:
    """By when they were asked for."""
    r = Refund
    return (
        select(
            r.id, r.requested_at, r.state, r.user_id, r.rental_id, r.intent_id, r.currency, r.amount_minor, r.reason,
            r.requested_by, r.decided_at, r.decided_by, r.note,
        )
        .where(span.holds(r.requested_at))
        .order_by(r.id)
    )  # fmt: skip


def withdrawals(span: Span) -> Table:
    """By when they were asked for; the fee is part of the amount."""
    w = Withdrawal
    return (
        select(
            w.id, w.requested_at, w.state, w.user_id, w.currency, w.amount_minor, w.fee_minor, w.decided_at,
            w.decided_by, w.note,
        )
        .where(span.holds(w.requested_at))
        .order_by(w.id)
    )  # fmt: skip


def debts(span: Span) -> Table:
    """By when they came about."""
    d = Debt
    return (
        select(
            d.id, d.incurred_at, d.state, d.user_id, d.rental_id, d.currency, d.amount_minor, d.paid_minor,
            d.reduced_minor, d.written_off_minor, d.open_minor, d.tries, d.closed_at,
        )
        .where(span.holds(d.incurred_at))
        .order_by(d.id)
    )  # fmt: skip


EXPORTS: Final[dict[str, Callable[[Span], Table]]] = {
    "transfers": transfers, "invoices": invoices, "refunds": refunds, "withdrawals": withdrawals, "debts": debts,
}  # fmt: skip
