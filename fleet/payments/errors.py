from fleet.common.errors import Conflict, FleetError, Forbidden, NotFound


class InsufficientFunds(Conflict):
    """`needed_minor`, `available_minor`, `currency`: holds count as spent."""

    code = "insufficient_funds"


class TransferKeyReused(FleetError):
    """The key of an earlier transfer came with other content: a bug of the caller, never a retry."""

    code = "transfer_key_reused"


class TransferSettled(Conflict):
    """A hold that is already posted (for another amount) or voided."""

    code = "transfer_settled"


class RefundTooLarge(Conflict):
    """More than was charged for the rental and not yet given back (`left_minor`)."""

    code = "refund_too_large"


class IntentNotOpen(Conflict):
    """The payment was already sent to the provider, or is over (`state`)."""

    code = "payment_intent_not_open"


class PaymentMethodRefused(Conflict):
    """The provider does not take the card (`reason`, in its words)."""

    code = "payment_method_refused"


class PaymentMethodNotFound(NotFound):
    code = "payment_method_not_found"


class PaymentMethodInUse(Conflict):
    """It stands for a rental that is open, and nothing else does."""

    code = "payment_method_in_use"


class TooManyPaymentMethods(Conflict):
    """`limit` cards are saved already."""

    code = "too_many_payment_methods"


class MethodLimitReached(Conflict):
    """This kind of method may not pay so much (`left_minor`, `currency`)."""

    code = "payment_method_limit"


class ProviderUnavailable(Conflict):
    """The payment provider does not answer; nothing was kept. Try again."""

    code = "payment_provider_unavailable"


class ChargeMismatch(FleetError):
    """The provider's object is not what the intent asked for (`field`): nothing is credited."""

    code = "charge_mismatch"


class UnknownProvider(NotFound):
    code = "unknown_payment_provider"


class WebhookRefused(Forbidden):
    """Signature, time or form of a provider's call is wrong."""

    code = "webhook_refused"


class InvoiceNotFound(NotFound):
    code = "invoice_not_found"


class AdjustmentNotFound(NotFound):
    code = "adjustment_not_found"


class SecondPersonNeeded(Forbidden):
    """Whoever asked for it cannot agree to it."""

    code = "second_person_needed"


class AlreadyDecided(Conflict):
    """Somebody decided otherwise before (`state`)."""

    code = "already_decided"


class DebtNotFound(NotFound):
    code = "debt_not_found"


class DebtNotOpen(Conflict):
    """Nothing of it is owed any more (`state`)."""

    code = "debt_not_open"


class DebtBeingCollected(Conflict):
    """A card is being charged for it (`intent_id`); what comes of that is known soon."""

    code = "debt_being_collected"


class WriteOffNotFound(NotFound):
    code = "debt_write_off_not_found"


class WriteOffPending(Conflict):
    """Giving it up is being decided already (`write_off_id`)."""

    code = "debt_write_off_pending"


class RefundNotOpen(Conflict):
    """The refund is decided (`state`), or another one of the same is being decided."""

    code = "refund_not_open"


class WithdrawalsNotOffered(Conflict):
    """Not in this currency, or not for riders of this country."""

    code = "withdrawals_not_offered"


class PayoutAccountsNotOffered(Conflict):
    """This provider (`provider`) pays out to saved methods."""

    code = "payout_accounts_not_offered"


class PayoutAccountNotFound(NotFound):
    code = "payout_account_not_found"


class PayoutAccountNotReady(Conflict):
    """The provider pays nothing out to it yet, or any more (`state`); `missing`: what it wants to know."""

    code = "payout_account_not_ready"


class PayoutAccountRefused(Conflict):
    """The provider opens no such account (`reason`)."""

    code = "payout_account_refused"


class WithdrawalLimitReached(Conflict):
    """`left_minor` may still be withdrawn in this `period` (day or month of the rider's)."""

    code = "withdrawal_limit"


class WithdrawalNotOpen(Conflict):
    """The withdrawal is decided (`state`)."""

    code = "withdrawal_not_open"


class NothingToRepair(Conflict):
    """The difference is for people to look at, or repaired already."""

    code = "nothing_to_repair"
