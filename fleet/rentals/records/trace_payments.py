"""How a rental was paid: cards, what providers told of them, debts, refunds, chargebacks, invoices.

The transfers are in the trace anyway; these entries say why they came about, or did not. Each is told when it began,
and once more when it ended.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments.approval_models import AdjustmentState
from fleet.payments.debts.models import Debt, DebtCollection, DebtState, DebtWriteOff
from fleet.payments.disputes.models import CardDispute
from fleet.payments.intent_models import IntentPurpose, IntentState, PaymentIntent, PaymentWebhook
from fleet.payments.models import Invoice
from fleet.payments.outgoing.models import MoneyOut, MoneyOutState, Refund, RefundState
from fleet.payments.providers.base import DisputeStatus
from fleet.rentals.records.trace_entries import TraceEntry, iso

_PURPOSES: Final = {IntentPurpose.RENTAL: "card for the rental", IntentPurpose.DEBT: "card for what is owed"}


def payments(session: Session, rental_id: UUID) -> Iterator[TraceEntry]:
    """All that is kept of it; a dozen statements, by index, whatever the rental."""
    intents = session.scalars(select(PaymentIntent).where(PaymentIntent.rental_id == rental_id)).all()
    refunds = session.scalars(select(Refund).where(Refund.rental_id == rental_id)).all()
    outs = session.scalars(select(MoneyOut).where(MoneyOut.refund_id.in_([each.id for each in refunds]))).all()
    for intent in intents:
        yield from _intent(intent)
    yield from _told_by_providers(session, [*intents, *outs])
    yield from _chargebacks(session, intents)
    yield from _debt(session, rental_id)
    for refund in refunds:
        yield from _refund(refund)
    for out in outs:
        yield from _to_card(out)
    for invoice in session.scalars(select(Invoice).where(Invoice.rental_id == rental_id)):
        yield _invoice(invoice)


def _entry(at: datetime, summary: str, **detail: Any) -> TraceEntry:
    told = {name: iso(value) if isinstance(value, datetime) else value for name, value in detail.items()}
    return TraceEntry("payment", at, summary, {name: value for name, value in told.items() if value is not None})


def _intent(intent: PaymentIntent) -> Iterator[TraceEntry]:
    what = _PURPOSES.get(IntentPurpose(intent.purpose), "card")
    amount = Money(intent.amount_minor, intent.currency)
    about = {"intent_id": str(intent.id), "provider": intent.provider, "reference": intent.provider_reference}
    yield _entry(intent.created_at, f"{what}: {amount} asked for", **about, expires_at=intent.expires_at)
    if intent.confirmed_at is not None:
        yield _entry(intent.confirmed_at, f"{what}: {amount} sent to {intent.provider}", **about)
    if intent.state is IntentState.REQUIRES_CONFIRMATION:
        return
    taken = None if intent.captured_minor is None else Money(intent.captured_minor, intent.currency)
    outcome = f"{taken} taken" if taken is not None else str(intent.state)
    why = "" if intent.failure_code is None else f" ({intent.failure_code})"
    yield _entry(
        intent.updated_at, f"{what}: {outcome}{why}",
        **about, state=intent.state, failure_code=intent.failure_code, settle_minor=intent.settle_minor,
    )  # fmt: skip


def _told_by_providers(session: Session, objects: Sequence[PaymentIntent | MoneyOut]) -> Iterator[TraceEntry]:
    named = [(each.provider, each.provider_reference) for each in objects if each.provider_reference]
    calls = select(PaymentWebhook).where(tuple_(PaymentWebhook.provider, PaymentWebhook.reference).in_(named))
    for call in session.scalars(calls):
        detail = {"event": call.event_id, "reference": call.reference, "applied_at": call.applied_at}
        yield _entry(call.received_at, f"{call.provider} tells {call.kind}", **detail, error=call.error)


def _chargebacks(session: Session, intents: Sequence[PaymentIntent]) -> Iterator[TraceEntry]:
    disputes = select(CardDispute).where(CardDispute.intent_id.in_([intent.id for intent in intents]))
    for dispute in session.scalars(disputes):
        amount = Money(dispute.amount_minor, dispute.currency)
        about = {"payment_dispute": str(dispute.id), "intent_id": str(dispute.intent_id), "reason": dispute.reason}
        yield _entry(dispute.opened_at, f"{amount} disputed at the rider's bank: {dispute.reason}", **about)
        if dispute.state is not DisputeStatus.OPEN:
            yield _entry(dispute.updated_at, f"dispute of {amount} at the rider's bank {dispute.state}", **about)


def _debt(session: Session, rental_id: UUID) -> Iterator[TraceEntry]:
    debt = session.scalars(select(Debt).where(Debt.rental_id == rental_id)).one_or_none()
    if debt is None:
        return
    about = {"debt_id": str(debt.id)}
    yield _entry(debt.incurred_at, f"{Money(debt.amount_minor, debt.currency)} owed", **about)
    tries = select(DebtCollection).where(DebtCollection.debt_id == debt.id)
    for each in session.scalars(tries):
        amount, who = Money(each.amount_minor, debt.currency), "rider" if each.by_rider else "schedule"
        detail = {**about, "number": each.number, "intent_id": str(each.intent_id)}
        yield _entry(each.started_at, f"debt: {amount} asked of a card by the {who}", **detail)
        if each.ended_at is not None:
            yield _entry(each.ended_at, f"debt: card {each.outcome}", **detail)
    yield from _write_offs(session, debt)
    if debt.closed_at is not None and debt.state is not DebtState.OPEN:
        sums = {"paid_minor": debt.paid_minor, "reduced_minor": debt.reduced_minor}
        yield _entry(
            debt.closed_at, f"debt {debt.state}", **about, **sums, written_off_minor=debt.written_off_minor
        )  # fmt: skip


def _write_offs(session: Session, debt: Debt) -> Iterator[TraceEntry]:
    for each in session.scalars(select(DebtWriteOff).where(DebtWriteOff.debt_id == debt.id)):
        amount = Money(each.amount_minor, each.currency)
        about = {"write_off_id": str(each.id), "reason": each.reason}
        yield _entry(each.requested_at, f"write-off of {amount} asked for", **about, by=str(each.requested_by))
        if each.state is not AdjustmentState.PENDING and each.decided_at is not None:
            by = each.decided_by or each.requested_by
            yield _entry(each.decided_at, f"write-off of {amount} {each.state}", **about, by=str(by), note=each.note)


def _refund(refund: Refund) -> Iterator[TraceEntry]:
    amount = Money(refund.amount_minor, refund.currency)
    about = {"refund_id": str(refund.id), "reason": refund.reason}
    yield _entry(refund.requested_at, f"refund of {amount} asked for", **about, by=str(refund.requested_by))
    if refund.decided_at is not None:
        word = "rejected" if refund.state is RefundState.REJECTED else "approved"
        by = None if refund.decided_by is None else str(refund.decided_by)
        yield _entry(refund.decided_at, f"refund of {amount} {word}", **about, by=by, note=refund.note)


def _to_card(out: MoneyOut) -> Iterator[TraceEntry]:
    amount = Money(out.amount_minor, out.currency)
    about = {"refund_id": str(out.refund_id), "provider": out.provider, "reference": out.provider_reference}
    yield _entry(out.created_at, f"{amount} on its way back to the card", **about)
    if out.state is not MoneyOutState.PENDING:
        summary = f"{amount} to the card: {out.state}"
        yield _entry(out.updated_at, summary, **about, failure_code=out.failure_code)


def _invoice(invoice: Invoice) -> TraceEntry:
    total = Money(invoice.total_minor, invoice.currency)
    tax = {"tax_minor": invoice.tax_minor, "tax": invoice.tax_name} if invoice.tax_minor else {}
    summary = f"{invoice.kind} {invoice.number} of {total}"
    return _entry(invoice.issued_at, summary, invoice_id=str(invoice.id), reason=invoice.reason, **tax)
