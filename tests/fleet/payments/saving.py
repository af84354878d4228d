"""Cards saved in one go, as requests do in two steps: at the provider, then with us."""

from datetime import datetime
from uuid import UUID

from fleet.payments import methods
from fleet.payments.intent_models import PaymentMethod
from fleet.payments.providers.base import PaymentProvider
from fleet.payments.transactions import Transactions


def save_card(
    transactions: Transactions, rider: UUID, card: str, provider: PaymentProvider, now: datetime
) -> PaymentMethod:
    saved = methods.at_provider(transactions, user_id=rider, token=card, provider=provider)
    with transactions() as session:
        return methods.keep(session, rider, provider.name, saved, now)
