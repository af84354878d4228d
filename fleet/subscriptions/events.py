"""Facts of this area that others hear of through the outbox. Names carry their version."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from fleet.common.outbox import DomainEvent


@dataclass(frozen=True)
class SubscriptionPaid(DomainEvent):
    """A period is paid or given: the first one (`number` 1) or a renewal."""

    name: ClassVar[str] = "subscriptions.SubscriptionPaid.v1"
    subscription_id: UUID
    user_id: UUID
    number: int
    ends_at: datetime
    amount_minor: int
    currency: str


@dataclass(frozen=True)
class SubscriptionPaymentDeclined(DomainEvent):
    """A period could not be paid. `retry_at`: when it is tried again; None: the subscription has ended."""

    name: ClassVar[str] = "subscriptions.SubscriptionPaymentDeclined.v1"
    subscription_id: UUID
    user_id: UUID
    reason: str | None
    retry_at: datetime | None
    benefits_until: datetime | None


@dataclass(frozen=True)
class SubscriptionPaymentReturned(DomainEvent):
    """A card paid when it was not wanted any more: the money is on its way back to the card."""

    name: ClassVar[str] = "subscriptions.SubscriptionPaymentReturned.v1"
    subscription_id: UUID
    user_id: UUID
    intent_id: UUID
    amount_minor: int
    currency: str


@dataclass(frozen=True)
class SubscriptionRefunded(DomainEvent):
    """Something of what a period cost came back."""

    name: ClassVar[str] = "subscriptions.SubscriptionRefunded.v1"
    subscription_id: UUID
    user_id: UUID
    amount_minor: int
    currency: str


@dataclass(frozen=True)
class SubscriptionEnded(DomainEvent):
    """`state`: cancelled or expired."""

    name: ClassVar[str] = "subscriptions.SubscriptionEnded.v1"
    subscription_id: UUID
    user_id: UUID
    state: str
    reason: str | None
