"""Cards that are kept with the payment they are given for: guests', of which late fees are asked."""

from datetime import datetime
from uuid import UUID

from fleet.payments import intents, methods
from fleet.payments.intent_models import IntentState
from fleet.payments.providers.base import PaymentProvider
from fleet.payments.transactions import Transactions


def keep(
    transactions: Transactions, *, intent_id: UUID, user_id: UUID, card: str, provider: PaymentProvider, now: datetime
) -> UUID | None:
    """Save the card that the payment is about to be confirmed with; the saved method, for `intents.confirm`.

    None when the payment does not wait for a card any more: confirming it asks none. Raises NotFound,
    PaymentMethodRefused, TooManyPaymentMethods, ProviderUnavailable.
    """
    with transactions() as session:
        if intents.intent_of(session, user_id, intent_id).state is not IntentState.REQUIRES_CONFIRMATION:
            return None
    return methods.add(transactions, user_id=user_id, token=card, provider=provider, now=now).id
