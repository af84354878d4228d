"""Cards that are kept with the payment they are given for: guests', of which late fees are asked."""

from uuid import UUID

from fleet.payments import intents, methods
from fleet.payments.intent_models import IntentState
from fleet.payments.providers.base import PaymentProvider, SavedMethod
from fleet.payments.transactions import Transactions


def at_provider(
    transactions: Transactions, *, intent_id: UUID, user_id: UUID, card: str, provider: PaymentProvider
) -> SavedMethod | None:
    """Have the card saved that the payment is about to be confirmed with: `intents.confirm` keeps it, once.

    None when the payment does not wait for a card any more: confirming it asks none. Raises NotFound,
    PaymentMethodRefused, TooManyPaymentMethods, ProviderUnavailable.
    """
    with transactions() as session:
        if intents.intent_of(session, user_id, intent_id).state is not IntentState.REQUIRES_CONFIRMATION:
            return None
    return methods.at_provider(transactions, user_id=user_id, token=card, provider=provider)
