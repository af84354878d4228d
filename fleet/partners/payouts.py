"""Payouts: asked for by a partner, decided by an operator, sent by the bank or by the payment provider (`sending`).

The balance is held all the while.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.db import new_id
from fleet.partners import rules
from fleet.partners.errors import PayoutBySamePerson, PayoutNotFound, PayoutOnItsWay, ReferenceUsed
from fleet.partners.models import Partner, PayoutRequest, PayoutState
from fleet.payments import ledger
from fleet.payments.ledger import Totals
from fleet.payments.models import AccountKind

#: A trigger knows it too: a payout never overdraws.
PAYOUT: Final = "partner_payout"
_FREED: Final = (PayoutState.REJECTED, PayoutState.CANCELLED)
_FINAL: Final = (*_FREED, PayoutState.COMPLETED)


def account_of(session: Session, partner_id: UUID, currency: str, now: datetime) -> UUID:
    """What the house owes the partner, opened if need be."""
    return ledger.account_for(session, partner_id, AccountKind.PARTNER_PAYABLE, currency, now).id


def balance(session: Session, partner_id: UUID, currency: str, now: datetime) -> Totals:
    return ledger.totals(session, account_of(session, partner_id, currency, now))


def request(session: Session, partner: Partner, money: Money, *, actor_id: UUID, now: datetime) -> PayoutRequest:
    """Hold the money on the partner's account, and ask. Raises InsufficientFunds: what is held already counts."""
    id_ = new_id()
    held = ledger.hold(
        session,
        debit=account_of(session, partner.id, money.currency, now),
        credit=ledger.house_accounts(session, money.currency, now)[AccountKind.PAYOUTS],
        money=money,
        kind=PAYOUT,
        key=f"payout:{id_}",
        now=now,
    )
    payout = PayoutRequest(
        id=id_,
        partner_id=partner.id,
        amount_minor=money.amount_minor,
        currency=money.currency,
        state=PayoutState.REQUESTED,
        hold_transfer_id=held.id,
        requested_by=actor_id,
        requested_at=now,
    )
    session.add(payout)
    session.flush()  # the caller answers with it
    return payout


def approve(session: Session, payout_id: UUID, *, actor_id: UUID, now: datetime) -> PayoutRequest:
    """Raises PayoutNotFound, PayoutBySamePerson, IllegalTransition. Again changes nothing, as all of these."""
    payout = locked(session, payout_id)
    if payout.requested_by == actor_id:
        raise PayoutBySamePerson("whoever asked for a payout cannot approve it", payout_id=payout_id)
    if payout.state is not PayoutState.APPROVED:
        move(payout, PayoutState.APPROVED)
        payout.decided_by, payout.decided_at = actor_id, now
        session.flush()  # a refusal of the database belongs to this call
    return payout


def process(session: Session, payout_id: UUID) -> PayoutRequest:
    """The bank has the order. Raises PayoutNotFound, IllegalTransition."""
    payout = locked(session, payout_id)
    if payout.state is not PayoutState.PROCESSING:
        move(payout, PayoutState.PROCESSING)
    return payout


def complete(session: Session, payout_id: UUID, *, reference: str, now: datetime) -> PayoutRequest:
    """The money has left, under the bank's `reference`.

    Raises PayoutNotFound, IllegalTransition, ReferenceUsed, PayoutOnItsWay.
    """
    payout = locked(session, payout_id)
    if payout.state is PayoutState.COMPLETED and payout.reference == reference:
        return payout
    _must_be_by_hand(payout)
    move(payout, PayoutState.COMPLETED)
    payout.reference, payout.finished_at = reference, now
    try:
        with session.begin_nested():
            session.flush()  # the reference is what may be refused
    except IntegrityError as error:
        if "uq_payout_request_reference" not in str(error.orig):
            raise
        raise ReferenceUsed(f"{reference} is another payout's", reference=reference) from error
    ledger.post(session, payout.hold_transfer_id, payout.amount_minor, now)
    return payout


def reject(session: Session, payout_id: UUID, *, actor_id: UUID, reason: str, now: datetime) -> PayoutRequest:
    """Not paid, or sent back by the bank: the money is the partner's again.

    Raises PayoutNotFound, IllegalTransition, PayoutOnItsWay.
    """
    payout = locked(session, payout_id)
    _must_be_by_hand(payout)
    if payout.state is not PayoutState.REJECTED:
        move(payout, PayoutState.REJECTED)
        if payout.decided_by is None and payout.requested_by != actor_id:
            payout.decided_by, payout.decided_at = actor_id, now
        payout.reason, payout.finished_at = reason[:300], now
        ledger.void(session, payout.hold_transfer_id, now)
        session.flush()  # the answer shows it
    return payout


def cancel(session: Session, partner: Partner, payout_id: UUID, now: datetime) -> PayoutRequest:
    """The partner takes it back before it is decided. Raises PayoutNotFound, IllegalTransition."""
    payout_of(session, partner, payout_id)
    payout = locked(session, payout_id)
    if payout.state is not PayoutState.CANCELLED:
        move(payout, PayoutState.CANCELLED)
        payout.finished_at = now
        ledger.void(session, payout.hold_transfer_id, now)
        session.flush()  # the answer shows it
    return payout


def _must_be_by_hand(payout: PayoutRequest) -> None:
    """What a provider sends is not sent a second time, nor free again, by a person's word."""
    if payout.provider is not None:
        raise PayoutOnItsWay(f"{payout.provider} has the order", payout_id=payout.id, provider=payout.provider)


def move(payout: PayoutRequest, state: PayoutState) -> None:
    """Raises IllegalTransition."""
    rules.check_payout(payout.state, state)
    payout.state = state


def locked(session: Session, payout_id: UUID) -> PayoutRequest:
    """As it is now. Raises PayoutNotFound."""
    payout = session.get(PayoutRequest, payout_id, with_for_update=True, populate_existing=True)
    if payout is None:
        raise PayoutNotFound("no such payout", payout_id=payout_id)
    return payout


def payout_of(session: Session, partner: Partner, payout_id: UUID) -> PayoutRequest:
    """One of the partner's own. Raises PayoutNotFound."""
    payout = session.get(PayoutRequest, payout_id)
    if payout is None or payout.partner_id != partner.id:
        raise PayoutNotFound("no such payout", payout_id=payout_id)
    return payout


def payouts(
    session: Session,
    *,
    limit: int,
    before: UUID | None = None,
    partner_id: UUID | None = None,
    state: PayoutState | None = None,
) -> list[PayoutRequest]:
    """Newest first."""
    query = select(PayoutRequest).order_by(PayoutRequest.id.desc()).limit(limit)
    for column, value in ((PayoutRequest.partner_id, partner_id), (PayoutRequest.state, state)):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(PayoutRequest.id < before)
    return list(session.scalars(query))
