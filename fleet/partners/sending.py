"""Payouts that the payment provider sends to a partner's account there; people send the others at a bank.

What the provider does with it is a movement of `fleet.payments.outgoing`: asked for under one id until it is known,
swept, reconciled. The request follows by what is known of the movement.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.partners.models import PayoutRequest, PayoutState
from fleet.partners.payouts import locked, move
from fleet.payments.outgoing import accounts, money_out
from fleet.payments.outgoing.models import MoneyOut, MoneyOutState
from fleet.payments.providers.base import ObjectKind, PaymentProvider

_BECOMES = {
    MoneyOutState.SUCCEEDED: PayoutState.COMPLETED,
    MoneyOutState.FAILED: PayoutState.FAILED,
    MoneyOutState.RETURNED: PayoutState.FAILED,
}


def send(session: Session, payout_id: UUID, provider: PaymentProvider, now: datetime) -> PayoutRequest:
    """Have `provider` pay out what was agreed to; again changes nothing.

    Raises PayoutNotFound, IllegalTransition (not approved, or the bank has it), PayoutAccountNotFound,
    PayoutAccountNotReady.
    """
    payout = locked(session, payout_id)
    if payout.provider is not None:
        return payout
    account = accounts.ready(session, payout.partner_id, provider.name)
    move(payout, PayoutState.PROCESSING)
    payout.provider = provider.name
    out = MoneyOut(
        kind=ObjectKind.PAYOUT, user_id=payout.requested_by, payout_id=payout.id, amount_minor=payout.amount_minor,
        currency=payout.currency, provider=provider.name, destination=account.provider_reference,
        state=MoneyOutState.PENDING, transfer_id=payout.hold_transfer_id, created_at=now, updated_at=now,
        ask_at=now + money_out.ASK_AFTER,
    )  # fmt: skip
    money_out.begin(session, out, now)
    return payout


def follow(session: Session, money_out_id: UUID, now: datetime) -> bool:
    """Bring a payout to what became of its movement; False when that is no news, or it is not a partner's."""
    out = session.scalars(select(MoneyOut).where(MoneyOut.id == money_out_id)).one_or_none()
    if out is None or out.payout_id is None:
        return False
    payout = locked(session, out.payout_id)
    session.refresh(out)
    wanted = _BECOMES.get(out.state)
    if wanted is None or wanted is payout.state:
        return False
    move(payout, wanted)
    payout.reference, payout.finished_at = out.provider_reference, now
    payout.reason = out.failure_code
    session.flush()  # constraints speak here
    return True
