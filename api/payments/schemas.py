from typing import Annotated, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from api.schemas import Input, Instant, MoneyIn, MoneyOut, Schema
from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.payments.models import TransferState
from fleet.payments.statements import StatementLine, reason_for
from fleet.payments.wallets import WalletBalance


class WalletOut(Schema):
    """`available` is `balance` less `held`: what can be spent now."""

    balance: MoneyOut
    held: MoneyOut
    available: MoneyOut

    @classmethod
    def of(cls, found: WalletBalance) -> "WalletOut":
        return cls(
            balance=MoneyOut.of(found.posted_minor, found.currency),
            held=MoneyOut.of(found.held_minor, found.currency),
            available=MoneyOut.of(found.available_minor, found.currency),
        )


class PointsOut(WalletOut):
    """Points money: it pays for rentals, and is neither withdrawn nor refunded as cash."""

    points: Annotated[int, Field(description="what is available, in points (`payments.points_per_unit`)")]


class TopUpIn(MoneyIn):
    model_config = ConfigDict(json_schema_extra={"examples": [{"amount_minor": 2000, "currency": "EUR"}]})


Token = Annotated[
    str,
    Field(
        min_length=4,
        max_length=200,
        description="the provider's token for a card; the sandbox takes test card numbers (docs/payments.md)",
    ),
]


class ConfirmIn(Input):
    """With `card` or with a saved `method_id`, not both."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"card": "4242424242424242"}]})

    card: Token | None = None
    method_id: UUID | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.card is None) == (self.method_id is None):
            raise ValueError("give exactly one of card, method_id")
        return self


class MethodIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"token": "4242424242424242"}]})

    token: Token


class MethodOut(Schema):
    """A saved card: what it is recognised by. Its number is nowhere here."""

    id: UUID
    kind: Annotated[str, Field(examples=["card"])]
    brand: Annotated[str, Field(examples=["visa"])]
    last4: Annotated[str, Field(examples=["4242"])]
    expires_month: int | None
    expires_year: int | None
    is_default: bool
    created_at: Instant


class Methods(Schema):
    items: list[MethodOut]


class IntentOut(Schema):
    id: UUID
    state: IntentState
    purpose: str
    amount: MoneyOut
    provider: str
    failure_code: Annotated[str | None, Field(examples=["card_declined"])]
    action_url: Annotated[
        str | None, Field(description="while `requires_action`: the page on which the rider satisfies their bank")
    ]
    captured: Annotated[MoneyOut | None, Field(description="what was taken, once it is `succeeded`")]
    rental_id: UUID | None
    expires_at: Annotated[Instant | None, Field(description="until when it may be confirmed")]
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, intent: PaymentIntent) -> "IntentOut":
        return cls(
            id=intent.id,
            state=intent.state,
            purpose=intent.purpose,
            amount=MoneyOut.of(intent.amount_minor, intent.currency),
            provider=intent.provider,
            failure_code=intent.failure_code,
            action_url=intent.action_url,
            captured=None if intent.captured_minor is None else MoneyOut.of(intent.captured_minor, intent.currency),
            rental_id=intent.rental_id,
            expires_at=intent.expires_at,
            created_at=intent.created_at,
            updated_at=intent.updated_at,
        )


class WebhookTaken(Schema):
    """Stored; a worker applies it."""

    received: bool = True


class StatementLineOut(Schema):
    """One movement: negative when it left. `pending` lines are holds, and have no balance yet."""

    id: UUID
    at: Instant
    kind: Annotated[str, Field(examples=["top_up"])]
    text: Annotated[str, Field(description="what people read", examples=["Top-up"])]
    reason: Annotated[str | None, Field(description="why it came back", examples=["the power bank was brought back"])]
    state: TransferState
    amount: MoneyOut
    balance_after: MoneyOut | None
    rental_id: UUID | None
    intent_id: UUID | None

    @classmethod
    def of(cls, line: StatementLine) -> "StatementLineOut":
        return cls(
            id=line.id,
            at=line.at,
            kind=line.kind,
            text=line.text,
            reason=reason_for(line.kind, line.memo),
            state=line.state,
            amount=MoneyOut.of(line.amount_minor, line.currency),
            balance_after=None if line.balance_minor is None else MoneyOut.of(line.balance_minor, line.currency),
            rental_id=line.rental_id,
            intent_id=line.intent_id,
        )
