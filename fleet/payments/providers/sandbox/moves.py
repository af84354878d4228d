"""The sandbox's refunds, payouts and disputes, in a transaction of its own books."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.db import new_id
from fleet.payments.providers.base import (
    DisputeStatus,
    MoveOrder,
    MoveStatus,
    ObjectKind,
    ProviderDispute,
    ProviderMove,
    ProviderRefused,
)
from fleet.payments.providers.sandbox.cards import SLOW, Card, by_last4, card_of
from fleet.payments.providers.sandbox.models import SandboxCharge, SandboxDelivery, SandboxDispute, SandboxMove

#: What a refund or payout is at first, and what it becomes after SLOW.
_COURSE: dict[Card, tuple[MoveStatus, MoveStatus | None]] = {
    Card.REFUND_FAILS: (MoveStatus.PENDING, MoveStatus.FAILED),
    Card.PAYOUT_FAILS: (MoveStatus.FAILED, None),
    Card.PAYOUT_RETURNED: (MoveStatus.SUCCEEDED, MoveStatus.FAILED),
    Card.PAYOUT_SLOW: (MoveStatus.PENDING, MoveStatus.SUCCEEDED),
}
_NO_ANSWER = frozenset({Card.REFUND_TIMEOUT, Card.PAYOUT_TIMEOUT})


def refund(books: Session, order: MoveOrder, now: datetime) -> tuple[ProviderMove, bool]:
    """The refund, and whether its answer gets lost. Raises ProviderRefused."""
    charge = books.get(SandboxCharge, order.to, with_for_update=True)
    if charge is None or charge.currency != order.currency:
        raise ProviderRefused("no such charge in this currency", "no_such_charge")
    card = by_last4(charge.card)
    move, made = _record(books, ObjectKind.REFUND, order, card, now)
    if made:
        _take_back(charge, order.amount_minor)
    return public(move, now), made and card in _NO_ANSWER


def _take_back(charge: SandboxCharge, amount_minor: int) -> None:
    if amount_minor > (charge.captured_minor or 0) - charge.refunded_minor:
        raise ProviderRefused("more than is left of the charge", "charge_already_refunded")
    charge.refunded_minor += amount_minor


def refund_at_desk(books: Session, reference: str, amount_minor: int, now: datetime) -> str:
    """Somebody gives back part of a charge in the sandbox's own pages: nobody of ours has asked. Its reference."""
    charge = books.get_one(SandboxCharge, reference, with_for_update=True)
    _take_back(charge, amount_minor)
    fails = by_last4(charge.card) is Card.REFUND_FAILS
    status, later = _COURSE[Card.REFUND_FAILS] if fails else (MoveStatus.SUCCEEDED, None)
    move = SandboxMove(
        reference=f"re_{new_id().hex}", kind=ObjectKind.REFUND, charge_reference=reference, amount_minor=amount_minor,
        currency=charge.currency, status=status, created_at=now, next_status=later,
        failure_code="account_closed" if fails else None, settles_at=now + SLOW if fails else None,
    )  # fmt: skip
    books.add(move)
    _announce(books, move, now)
    return move.reference


def _announce(books: Session, move: SandboxMove, now: datetime) -> None:
    for due in {now, now if move.settles_at is None else move.settles_at}:
        kind = ObjectKind(move.kind)
        books.add(SandboxDelivery(about=kind, reference=move.reference, kind=f"{kind}.updated", due_at=due))


def payout(books: Session, order: MoveOrder, now: datetime) -> tuple[ProviderMove, bool]:
    """The payout to a saved card, and whether its answer gets lost. Raises ProviderRefused."""
    card = card_of(order.to)
    if card is None:
        raise ProviderRefused("no such account", "no_such_account")
    move, made = _record(books, ObjectKind.PAYOUT, order, card, now)
    return public(move, now), made and card in _NO_ANSWER


def _record(
    books: Session, kind: ObjectKind, order: MoveOrder, card: Card | None, now: datetime
) -> tuple[SandboxMove, bool]:
    own = card is not None and card.name.startswith(kind.name)
    status, later = _COURSE.get(card, (MoveStatus.SUCCEEDED, None)) if own and card else (MoveStatus.SUCCEEDED, None)
    reference = books.scalar(
        insert(SandboxMove)
        .values(
            reference=f"{'re' if kind is ObjectKind.REFUND else 'po'}_{new_id().hex}",
            kind=kind,
            idempotency_key=str(order.id),
            charge_reference=order.to if kind is ObjectKind.REFUND else None,
            amount_minor=order.amount_minor,
            currency=order.currency,
            status=status,
            failure_code="account_closed" if MoveStatus.FAILED in {status, later} else None,
            created_at=now,
            next_status=later,
            settles_at=None if later is None else now + SLOW,
        )
        .on_conflict_do_nothing(index_elements=["idempotency_key"])
        .returning(SandboxMove.reference)
    )
    query = select(SandboxMove).where(SandboxMove.idempotency_key == str(order.id)).with_for_update()
    move = books.scalars(query).one()
    if (move.kind, move.amount_minor, move.currency) != (kind, order.amount_minor, order.currency):
        raise ProviderRefused("this idempotency key was used for something else")
    if reference is not None:
        _announce(books, move, now)
    return move, reference is not None


def public(move: SandboxMove, now: datetime) -> ProviderMove:
    """As it is now, brought up to date."""
    if move.next_status is not None and move.settles_at is not None and move.settles_at <= now:
        move.status, move.next_status = move.next_status, None
    status = MoveStatus(move.status)
    return ProviderMove(
        kind=ObjectKind(move.kind),
        reference=move.reference,
        status=status,
        amount_minor=move.amount_minor,
        currency=move.currency,
        id=None if move.idempotency_key is None else UUID(move.idempotency_key),
        failure_code=move.failure_code if status is MoveStatus.FAILED else None,
        charge=move.charge_reference,
    )


def public_dispute(dispute: SandboxDispute) -> ProviderDispute:
    return ProviderDispute(
        reference=dispute.reference,
        charge=dispute.charge_reference,
        status=DisputeStatus(dispute.status),
        amount_minor=dispute.amount_minor,
        currency=dispute.currency,
        reason=dispute.reason,
    )
