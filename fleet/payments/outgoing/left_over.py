"""Money in a wallet that nobody can use goes back to the cards that brought it."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.payments import ledger
from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.payments.models import Wallet
from fleet.payments.outgoing.refunds import return_payment

REASON: Final = "more than was owed: it goes back to the card"


def to_cards(session: Session, user_id: UUID, now: datetime) -> int:
    """All that is free in the user's wallets, to their cards, the latest payment first; minor units that go.

    Again it sends nothing more: what is on its way is held. What no card brought, or the cards do not take, stays.
    """
    wallets = session.scalars(select(Wallet).where(Wallet.user_id == user_id)).all()
    free = ledger.lock_accounts(session, *(wallet.account_id for wallet in wallets)) if wallets else {}
    return sum(_to_cards(session, wallet, free[wallet.account_id], now) for wallet in wallets)


def _to_cards(session: Session, wallet: Wallet, free_minor: int, now: datetime) -> int:
    """The wallet is locked."""
    if free_minor <= 0:
        return 0
    paid = select(PaymentIntent).where(
        PaymentIntent.user_id == wallet.user_id,
        PaymentIntent.currency == wallet.currency,
        PaymentIntent.state == IntentState.SUCCEEDED,
    )
    sent = 0
    for intent in session.scalars(paid.order_by(PaymentIntent.id.desc())):
        sent += return_payment(session, intent, free_minor - sent, by=None, reason=REASON, now=now)
    return sent
