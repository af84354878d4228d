from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from fleet.common.outbox import DomainEvent


@dataclass(frozen=True)
class WebhookReceived(DomainEvent):
    """A provider's call is stored and waits to be applied."""

    name: ClassVar[str] = "payments.WebhookReceived"
    webhook_id: int


@dataclass(frozen=True)
class TopUpSucceeded(DomainEvent):
    name: ClassVar[str] = "payments.TopUpSucceeded"
    intent_id: UUID
    user_id: UUID
    amount_minor: int
    currency: str


@dataclass(frozen=True)
class TopUpFailed(DomainEvent):
    name: ClassVar[str] = "payments.TopUpFailed"
    intent_id: UUID
    user_id: UUID
    failure_code: str | None


@dataclass(frozen=True)
class RentalRefunded(DomainEvent):
    """Something of what was paid for a rental was given back."""

    name: ClassVar[str] = "payments.RentalRefunded.v1"
    rental_id: UUID
    amount_minor: int


@dataclass(frozen=True)
class RentalPaymentReady(DomainEvent):
    """The money for a rental that was answered with 402 is set aside: it starts by itself (`rental_payments.claim`)."""

    name: ClassVar[str] = "payments.RentalPaymentReady"
    intent_id: UUID
    user_id: UUID


@dataclass(frozen=True)
class RentalPaymentFailed(DomainEvent):
    name: ClassVar[str] = "payments.RentalPaymentFailed"
    intent_id: UUID
    user_id: UUID
    failure_code: str | None


@dataclass(frozen=True)
class RentalPaymentCaptured(DomainEvent):
    """What a rental cost beyond the wallet was taken from the card and is in the wallet now, to be collected."""

    name: ClassVar[str] = "payments.RentalPaymentCaptured"
    intent_id: UUID
    user_id: UUID
    rental_id: UUID | None
    amount_minor: int
    currency: str


@dataclass(frozen=True)
class SubscriptionPaymentCaptured(DomainEvent):
    """A card paid for a period of a subscription; the money is set aside on the wallet until the period has it."""

    name: ClassVar[str] = "payments.SubscriptionPaymentCaptured"
    intent_id: UUID
    user_id: UUID
    amount_minor: int
    currency: str


@dataclass(frozen=True)
class SubscriptionPaymentRefunded(DomainEvent):
    """At the provider's desk a card was given back some of what it had paid for a period, contained tax included."""

    name: ClassVar[str] = "payments.SubscriptionPaymentRefunded"
    intent_id: UUID
    amount_minor: int
    tax_minor: int
    reason: str


@dataclass(frozen=True)
class SubscriptionPaymentFailed(DomainEvent):
    """The card was declined, or the payment was stopped."""

    name: ClassVar[str] = "payments.SubscriptionPaymentFailed"
    intent_id: UUID
    user_id: UUID
    failure_code: str | None


@dataclass(frozen=True)
class AuthorizationDecided(DomainEvent):
    """An authorization is to be captured or given back: the provider has to be told."""

    name: ClassVar[str] = "payments.AuthorizationDecided"
    intent_id: UUID


@dataclass(frozen=True)
class PaymentMethodRemoved(DomainEvent):
    """The provider has to forget it too."""

    name: ClassVar[str] = "payments.PaymentMethodRemoved"
    method_id: UUID


@dataclass(frozen=True)
class MoneyOutDue(DomainEvent):
    """The provider has to be asked for a refund or a payout."""

    name: ClassVar[str] = "payments.MoneyOutDue"
    money_out_id: UUID


@dataclass(frozen=True)
class MoneyOutSettled(DomainEvent):
    """A refund to a card or a payout has arrived (`state` succeeded), or the money is in the wallet again."""

    name: ClassVar[str] = "payments.MoneyOutSettled"
    money_out_id: UUID
    user_id: UUID
    kind: str
    state: str
    amount_minor: int
    currency: str


@dataclass(frozen=True)
class RentalDuePaid(DomainEvent):
    """Something of what a rider owed for a rental came in."""

    name: ClassVar[str] = "payments.RentalDuePaid.v1"
    rental_id: UUID
    amount_minor: int


@dataclass(frozen=True)
class DebtIncurred(DomainEvent):
    """A rental cost more than there was: `open_minor` of it is owed now."""

    name: ClassVar[str] = "payments.DebtIncurred.v1"
    debt_id: UUID
    rental_id: UUID
    user_id: UUID
    open_minor: int
    currency: str


@dataclass(frozen=True)
class DebtCollectionFailed(DomainEvent):
    """A card did not pay a debt (`failure_code`). It is tried again at `try_at`; None: not by itself."""

    name: ClassVar[str] = "payments.DebtCollectionFailed.v1"
    debt_id: UUID
    rental_id: UUID
    user_id: UUID
    failure_code: str
    try_at: datetime | None


@dataclass(frozen=True)
class DebtClosed(DomainEvent):
    """Nothing of it is owed any more; `state` is paid, written_off or cancelled."""

    name: ClassVar[str] = "payments.DebtClosed.v1"
    debt_id: UUID
    rental_id: UUID
    user_id: UUID
    state: str


@dataclass(frozen=True)
class PaymentDisputed(DomainEvent):
    """A rider's bank took a payment back until it is decided. `rental_id`: what it was for, if for a rental."""

    name: ClassVar[str] = "payments.PaymentDisputed"
    dispute_id: UUID
    intent_id: UUID
    user_id: UUID
    rental_id: UUID | None
    amount_minor: int
    currency: str


@dataclass(frozen=True)
class PaymentDisputeClosed(DomainEvent):
    """`state`: won, and the money is there again; or lost."""

    name: ClassVar[str] = "payments.PaymentDisputeClosed"
    dispute_id: UUID
    intent_id: UUID
    user_id: UUID
    rental_id: UUID | None
    state: str
