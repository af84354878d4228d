"""What every payment provider can do. A provider is never called inside a transaction of ours.

Everything that moves money is called under an id of ours, and does it once however often it is called: an answer that
was lost is had by asking the same again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class ChargeStatus(StrEnum):
    PENDING = "pending"
    #: The rider's bank wants to see the rider first (3-D Secure): at `action_url`.
    REQUIRES_ACTION = "requires_action"
    #: Set aside on the card; captured or cancelled later.
    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class MoveStatus(StrEnum):
    """Of money on its way back to a rider: a refund, a payout."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class DisputeStatus(StrEnum):
    OPEN = "open"
    WON = "won"
    LOST = "lost"


class ObjectKind(StrEnum):
    """What a webhook may be about."""

    CHARGE = "charge"
    REFUND = "refund"
    PAYOUT = "payout"
    DISPUTE = "dispute"
    #: Where payouts go to.
    ACCOUNT = "account"
    #: Nothing that moves our money.
    OTHER = "other"


class OutcomeUnknown(Exception):
    """The provider did not answer, or not in a way that tells what it did: the charge may exist."""


class ProviderRefused(Exception):
    """The provider says that the request itself is wrong; nothing was moved. `code`: why, in its words."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class ChargeOrder:
    """What we ask for. The intent's id is the idempotency key at the provider: one intent, at most one charge."""

    intent_id: UUID
    user_id: UUID
    amount_minor: int
    currency: str
    #: Only set the money aside; `capture` takes it.
    capture_later: bool = False
    #: The provider's object, once we know it.
    reference: str | None = None
    #: The provider's name for the rider; some saved cards need it.
    customer: str | None = None
    #: Where the rider comes back to from their bank's page.
    return_url: str | None = None
    #: Nobody is there to satisfy a bank that wants to see the rider.
    off_session: bool = False


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
    #: What was taken, once SUCCEEDED; None: all of it.
    captured_minor: int | None = None
    #: Where the rider satisfies their bank, while REQUIRES_ACTION.
    action_url: str | None = None


@dataclass(frozen=True, slots=True)
class MoveOrder:
    """Money to give back: to the card of a charge (`to` is the charge's reference), or out to a rider's account."""

    #: A refund's or withdrawal's id: the idempotency key.
    id: UUID
    user_id: UUID
    amount_minor: int
    currency: str
    to: str
    customer: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderMove:
    """A refund or payout as the provider has it now; `id` is ours, None when the object carries none."""

    kind: ObjectKind
    reference: str
    status: MoveStatus
    amount_minor: int
    currency: str
    id: UUID | None
    failure_code: str | None = None
    #: Of a refund: the charge's reference.
    charge: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderDispute:
    """A rider told their bank that they did not owe a charge."""

    reference: str
    #: The charge's reference.
    charge: str
    status: DisputeStatus
    amount_minor: int
    currency: str
    reason: str


class AccountStatus(StrEnum):
    """Of an account at the provider that payouts go to."""

    #: Its owner has to say more, or it is being looked at.
    PENDING = "pending"
    ENABLED = "enabled"
    #: The provider does not want its owner.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class AccountOwner:
    """Whose account it is to be: a rider's or a partner's id. `country`: ISO 3166-1, two letters."""

    id: UUID
    country: str
    email: str | None


@dataclass(frozen=True, slots=True)
class ProviderAccount:
    """`missing`: what its owner still has to say, in the provider's words."""

    reference: str
    status: AccountStatus
    owner_id: UUID | None
    missing: tuple[str, ...] = ()


ProviderObject = ProviderCharge | ProviderMove | ProviderDispute | ProviderAccount


@dataclass(frozen=True, slots=True)
class SavedMethod:
    """What we may know of a card: a token that is worth nothing to others, and what the rider recognises it by."""

    token: str
    kind: str
    brand: str
    last4: str
    customer: str | None = None
    expires_month: int | None = None
    expires_year: int | None = None


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """A verified webhook: only says which object to look at."""

    event_id: str
    kind: str
    reference: str
    about: ObjectKind = ObjectKind.CHARGE


class PaymentProvider(Protocol):
    @property
    def name(self) -> str:
        """As in settings, addresses (`/payment/webhook/{provider}`) and rows."""

    @property
    def pays_out_to_accounts(self) -> bool:
        """Payouts go to accounts of their owners (`open_account`); False: to saved methods."""

    def authorize(self, order: ChargeOrder, method: str) -> ProviderCharge:
        """Charge `method`, or set the money aside; once for one intent. Raises OutcomeUnknown, ProviderRefused."""

    def capture(self, order: ChargeOrder, amount_minor: int) -> ProviderCharge:
        """Take so much (at least 1) of what was set aside; the rest is free again. Once, whatever was asked later.

        Raises OutcomeUnknown; ProviderRefused when there is nothing to take any more.
        """

    def find(self, order: ChargeOrder) -> ProviderCharge | None:
        """The charge of an intent; None when no charge was ever begun. Raises OutcomeUnknown."""

    def cancel(self, order: ChargeOrder) -> ProviderCharge:
        """Stop the charge if it is not too late; afterwards no late request for this intent can charge.

        Returns what it is then: CANCELLED, or SUCCEEDED or FAILED when that was first. Raises OutcomeUnknown.
        """

    def refund(self, order: MoveOrder) -> ProviderMove:
        """Give back part of a charge to its card, once for one id. Raises OutcomeUnknown, ProviderRefused."""

    def payout(self, order: MoveOrder) -> ProviderMove:
        """Pay out, once for one id. Raises OutcomeUnknown, ProviderRefused."""

    def open_account(self, owner: AccountOwner) -> ProviderAccount:
        """Make an account that payouts can go to. Raises OutcomeUnknown, ProviderRefused."""

    def onboarding_link(self, reference: str, return_url: str) -> str:
        """A page of the provider's where the account's owner says who they are; works once, and for minutes.

        Raises OutcomeUnknown, ProviderRefused.
        """

    def fetch(self, about: ObjectKind, reference: str) -> ProviderObject | None:
        """The object behind a reference of the provider's; None when there is none. Raises OutcomeUnknown."""

    def listing(self, since: datetime, until: datetime) -> Iterator[ProviderObject]:
        """Everything that was created at the provider in [since, until). Raises OutcomeUnknown."""

    def save_method(self, user_id: UUID, token: str, customer: str | None) -> SavedMethod:
        """Keep what the app's one-time `token` stands for. Raises OutcomeUnknown, ProviderRefused."""

    def forget_method(self, token: str) -> None:
        """Never charge it again; unknown ones are no error. Raises OutcomeUnknown."""

    def read_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> ProviderEvent:
        """Check signature and age, then read. Header names in lower case. Raises WebhookRefused."""
