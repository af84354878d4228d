"""Refunds that somebody made at the provider's own desk: nobody of ours asked, the card has the money (decision 0245).

They are booked as if we had: what of it paid for a rental, or for a period of a subscription, is given back for that,
with a credit note, and goes from the wallet to the card. What the wallet has not got any more is the house's loss.

Locks: the rider's wallet, then the payment.
"""

from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import NotFound
from fleet.common.money import Money
from fleet.common.outbox import publish
from fleet.db import new_id
from fleet.payments import holds, intents, invoices, ledger, subscription_payments
from fleet.payments.errors import ChargeMismatch
from fleet.payments.events import MoneyOutSettled
from fleet.payments.intent_models import IntentPurpose, PaymentIntent
from fleet.payments.models import AccountKind, LedgerTransfer
from fleet.payments.outgoing.models import MoneyOut, MoneyOutState, Refund, RefundState
from fleet.payments.outgoing.money_out import apply_move
from fleet.payments.outgoing.refunds import CARD_REFUND
from fleet.payments.providers.base import MoveStatus, ObjectKind, ProviderMove
from fleet.payments.wallets import wallet_of

REASON: Final = "refunded at the payment provider"
LOSS: Final = "card_refund_loss"


def is_ours(session: Session, provider: str, move: ProviderMove) -> PaymentIntent | None:
    """The payment of ours that a refund without an id of ours gave back; None when there is none."""
    if move.kind is not ObjectKind.REFUND or move.id is not None or move.charge is None:
        return None
    query = select(PaymentIntent).where(
        PaymentIntent.provider == provider, PaymentIntent.provider_reference == move.charge
    )
    return session.scalars(query).one_or_none()


def booked(session: Session, provider: str, reference: str) -> MoneyOut | None:
    """What was made of it before."""
    query = select(MoneyOut).where(MoneyOut.provider == provider, MoneyOut.provider_reference == reference)
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def adopt(session: Session, provider: str, move: ProviderMove, now: datetime) -> bool:
    """Make our side what a refund says that we did not ask for; False when that is no news, or not final.

    Once for one reference, whoever brings the news. Raises NotFound when no payment of ours was given back,
    ChargeMismatch when it cannot have been.
    """
    found = is_ours(session, provider, move)
    if found is None:
        raise NotFound("the provider has no such object of ours")
    intent = intents.locked(session, found.id, now)
    before = booked(session, provider, move.reference)
    if before is not None:
        return apply_move(session, replace(move, id=before.id), now)
    if move.status is not MoveStatus.SUCCEEDED:
        return False  # not yet, or nothing was given back
    taken = intent.captured_minor or 0
    if move.currency != intent.currency or not 1 <= move.amount_minor <= taken:
        raise ChargeMismatch(f"{move.amount_minor} {move.currency} of {taken} is refunded", field="amount_minor")
    _book(session, intent, move, now)
    return True


def _book(session: Session, intent: PaymentIntent, move: ProviderMove, now: datetime) -> None:
    refund = Refund(
        id=new_id(), user_id=intent.user_id, rental_id=intent.rental_id,
        intent_id=intent.id if intent.rental_id is None else None, amount_minor=move.amount_minor,
        currency=move.currency, reason=REASON, state=RefundState.COMPLETED, requested_by=intent.user_id,
        requested_at=now, decided_at=now,
    )  # fmt: skip
    session.add(refund)
    session.flush()  # the movement refers to it
    _give_back(session, intent, move, refund, now)
    taken, lost = _to_the_card(session, intent, move, refund, now)
    first, loss = (taken, lost) if taken is not None else (lost, None)
    assert first is not None
    out = MoneyOut(
        id=new_id(), kind=ObjectKind.REFUND, user_id=intent.user_id, refund_id=refund.id, intent_id=intent.id,
        amount_minor=move.amount_minor, currency=move.currency, provider=intent.provider,
        destination=move.charge or "", customer=intent.customer, provider_reference=move.reference,
        state=MoneyOutState.SUCCEEDED, transfer_id=first.id, loss_id=None if loss is None else loss.id,
        created_at=now, updated_at=now, ask_at=now,
    )  # fmt: skip
    session.add(out)
    session.flush()  # a second word of it finds it
    publish(session, MoneyOutSettled(out.id, out.user_id, out.kind, out.state, out.amount_minor, out.currency), now)


def _give_back(session: Session, intent: PaymentIntent, move: ProviderMove, refund: Refund, now: datetime) -> None:
    """What was bought with it, as far as it is not given back yet."""
    if intent.purpose == IntentPurpose.SUBSCRIPTION:
        wallet = wallet_of(session, intent.user_id, move.currency, now).account_id
        subscription_payments.give_back_to_card(
            session, intent, wallet, refund.id, move.amount_minor, reason=f"Refund: {REASON}", now=now
        )
    elif intent.rental_id is not None:
        _give_back_for_rental(session, intent.rental_id, move, refund, now)


def _give_back_for_rental(session: Session, rental_id: UUID, move: ProviderMove, refund: Refund, now: datetime) -> None:
    """As far as money paid for it; never points."""
    minor = min(move.amount_minor, holds.paid_by(session, rental_id).get(AccountKind.WALLET, 0))
    if minor <= 0:
        return
    holds.refund_rental(
        session, rental_id=rental_id, money=Money(minor, move.currency), reason=REASON,
        key=f"refund:{refund.id}", now=now,
    )  # fmt: skip
    invoices.credit_rental(session, rental_id, minor, reason=f"Refund: {REASON}", now=now)


def _to_the_card(
    session: Session, intent: PaymentIntent, move: ProviderMove, refund: Refund, now: datetime
) -> tuple[LedgerTransfer | None, LedgerTransfer | None]:
    """What the wallet gives, and what the house loses."""
    wallet = wallet_of(session, intent.user_id, move.currency, now).account_id
    there = min(ledger.lock_accounts(session, wallet)[wallet], move.amount_minor)
    house = ledger.house_accounts(session, move.currency, now)
    moved: list[LedgerTransfer | None] = []
    for source, minor, kind in (
        (wallet, max(there, 0), CARD_REFUND),
        (house[AccountKind.WRITE_OFF], move.amount_minor - max(there, 0), LOSS),
    ):
        moved.append(
            ledger.transfer(
                session, debit=source, credit=house[AccountKind.PROVIDER_CLEARING], money=Money(minor, move.currency),
                kind=kind, key=f"{kind}:{refund.id}", now=now, rental_id=intent.rental_id, intent_id=intent.id,
            )
            if minor
            else None
        )  # fmt: skip
    return moved[0], moved[1]
