"""What every payment provider can do. A provider is never called inside a transaction of ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class ChargeStatus(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class OutcomeUnknown(Exception):
    """The provider did not answer, or not in a way that tells what it did: the charge may exist."""


class ProviderRefused(Exception):
    """The provider says that the request itself is wrong; nothing was charged."""


@dataclass(frozen=True, slots=True)
class ChargeOrder:
    """What we ask for. The intent's id is the idempotency key at the provider: one intent, at most one charge."""

    intent_id: UUID
    user_id: UUID
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class ProviderCharge:
    """The provider's object as it is now. Everything in it is compared with the intent before any money is credited."""

    reference: str
    status: ChargeStatus
    amount_minor: int
    currency: str
    #: As the provider keeps them for us; None when the object carries none.
    intent_id: UUID | None
    user_id: UUID | None
    failure_code: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """A verified webhook: only says which object to look at."""

    event_id: str
    kind: str
    reference: str


class PaymentProvider(Protocol):
    @property
    def name(self) -> str:
        """As in settings, addresses (`/payment/webhook/{provider}`) and rows."""

    def charge(self, order: ChargeOrder, card: str) -> ProviderCharge:
        """Charge once, however often it is called for one intent. Raises OutcomeUnknown, ProviderRefused."""

    def find(self, intent_id: UUID) -> ProviderCharge | None:
        """The charge of an intent; None when the provider has none (yet). Raises OutcomeUnknown."""

    def fetch(self, reference: str) -> ProviderCharge | None:
        """The charge behind a reference of the provider's; None when there is none. Raises OutcomeUnknown."""

    def cancel(self, order: ChargeOrder) -> ProviderCharge:
        """Stop the charge if it is not too late; afterwards no late request for this intent can charge.

        Returns what it is then: CANCELLED, or SUCCEEDED or FAILED when that was first. Raises OutcomeUnknown.
        """

    def read_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> ProviderEvent:
        """Check signature and age, then read. Header names in lower case. Raises WebhookRefused."""
