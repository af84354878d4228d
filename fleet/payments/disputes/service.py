"""Chargebacks: booked once, whoever brings the news, and undone when they are won (decision 0134)."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.common.errors import IllegalTransition, NotFound
from fleet.common.money import Money
from fleet.common.outbox import publish
from fleet.db import new_id
from fleet.payments import ledger
from fleet.payments.disputes.models import CardDispute
from fleet.payments.errors import ChargeMismatch
from fleet.payments.events import PaymentDisputeClosed, PaymentDisputed
from fleet.payments.intent_models import IntentPurpose, PaymentIntent
from fleet.payments.intents import locked
from fleet.payments.models import AccountKind, LedgerTransfer
from fleet.payments.providers.base import DisputeStatus, ProviderDispute
from fleet.payments.rules import must_agree
from fleet.payments.wallets import wallet_of

CHARGEBACK: Final = "chargeback"
RECOVERY: Final = "chargeback_recovery"


def apply_dispute(session: Session, provider: str, found: ProviderDispute, now: datetime) -> CardDispute:
    """Make ours what the provider's dispute says. Raises NotFound for a payment that is not ours, ChargeMismatch."""
    known = select(PaymentIntent.id).where(
        PaymentIntent.provider == provider, PaymentIntent.provider_reference == found.charge
    )
    intent_id = session.scalar(known)
    if intent_id is None:
        raise NotFound("the provider has no such object of ours")
    intent = locked(session, intent_id, now)
    own = select(CardDispute).where(CardDispute.provider == provider, CardDispute.provider_reference == found.reference)
    dispute = session.scalars(own).one_or_none() or _open(session, intent, found, now)
    _check(dispute, intent, found)
    if found.status not in {dispute.state, DisputeStatus.OPEN}:
        _close(session, dispute, intent, found.status, now)
    return dispute


def _check(dispute: CardDispute, intent: PaymentIntent, found: ProviderDispute) -> None:
    pairs = {
        "charge": (dispute.intent_id, intent.id),
        "amount_minor": (dispute.amount_minor, found.amount_minor),
        "currency": (dispute.currency, found.currency),
    }
    must_agree(pairs)


def _open(session: Session, intent: PaymentIntent, found: ProviderDispute, now: datetime) -> CardDispute:
    taken = intent.captured_minor or 0
    if found.currency != intent.currency or not 1 <= found.amount_minor <= taken:
        raise ChargeMismatch(f"{found.amount_minor} {found.currency} of {taken} is disputed", field="amount_minor")
    dispute_id = new_id()
    house = ledger.house_accounts(session, intent.currency, now)
    lost = ledger.hold(
        session, debit=house[AccountKind.WRITE_OFF], credit=house[AccountKind.PROVIDER_CLEARING],
        money=Money(found.amount_minor, intent.currency), kind=CHARGEBACK, key=f"chargeback:{dispute_id}", now=now,
        rental_id=intent.rental_id, intent_id=intent.id,
    )  # fmt: skip
    dispute = CardDispute(
        id=dispute_id, provider=intent.provider, provider_reference=found.reference, intent_id=intent.id,
        user_id=intent.user_id, amount_minor=found.amount_minor, currency=intent.currency, reason=found.reason[:64],
        state=DisputeStatus.OPEN, transfer_id=lost.id, recovery_id=_set_aside(session, dispute_id, intent, found, now),
        opened_at=now, updated_at=now,
    )  # fmt: skip
    session.add(dispute)
    session.flush()  # the next word about it finds it
    news = PaymentDisputed(dispute.id, intent.id, intent.user_id, intent.rental_id, found.amount_minor, intent.currency)
    publish(session, news, now)
    return dispute


def _set_aside(
    session: Session, dispute_id: UUID, intent: PaymentIntent, found: ProviderDispute, now: datetime
) -> UUID | None:
    """A disputed top-up is not to be spent; what is there of it, for what was bought with it is gone."""
    wallet = wallet_of(session, intent.user_id, intent.currency, now).account_id
    there = min(ledger.lock_accounts(session, wallet)[wallet], found.amount_minor)
    if intent.purpose != IntentPurpose.TOP_UP or there <= 0:
        return None
    return ledger.hold(
        session, debit=wallet, credit=ledger.house_accounts(session, intent.currency, now)[AccountKind.WRITE_OFF],
        money=Money(there, intent.currency), kind=RECOVERY, key=f"chargeback:{dispute_id}:recovery", now=now,
        intent_id=intent.id,
    ).id  # fmt: skip


def _close(session: Session, dispute: CardDispute, intent: PaymentIntent, state: DisputeStatus, now: datetime) -> None:
    if dispute.state is not DisputeStatus.OPEN:
        raise IllegalTransition("dispute", dispute.state, state)
    dispute.state, dispute.updated_at = state, now
    for transfer_id in (dispute.transfer_id, dispute.recovery_id):
        if transfer_id is None:
            continue
        if state is DisputeStatus.LOST:
            ledger.post(session, transfer_id, session.get_one(LedgerTransfer, transfer_id).amount_minor, now)
        else:
            ledger.void(session, transfer_id, now)
    publish(session, PaymentDisputeClosed(dispute.id, intent.id, intent.user_id, intent.rental_id, state), now)


def disputed_of(session: Session, intent_id: UUID) -> int:
    """Minor units of a payment that its card has, or may get, by a dispute: not to be given back a second time."""
    query = select(func.coalesce(func.sum(CardDispute.amount_minor), 0)).where(
        CardDispute.intent_id == intent_id, CardDispute.state != DisputeStatus.WON
    )
    return int(session.scalar(query) or 0)


def disputes(session: Session, limit: int, before: UUID | None = None) -> list[CardDispute]:
    """Newest first."""
    query = select(CardDispute).order_by(CardDispute.id.desc()).limit(limit)
    if before is not None:
        query = query.where(CardDispute.id < before)
    return list(session.scalars(query))
