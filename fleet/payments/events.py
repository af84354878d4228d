from dataclasses import dataclass
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
