from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from api.schemas import Input, Instant, MoneyIn, MoneyOut, Schema
from fleet.payments.models import IntentState, PaymentIntent, TransferState
from fleet.payments.statements import StatementLine
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


class TopUpIn(MoneyIn):
    model_config = ConfigDict(json_schema_extra={"examples": [{"amount_minor": 2000, "currency": "EUR"}]})


class ConfirmIn(Input):
    """`card` is the provider's token for a card; the sandbox takes test card numbers (docs/payments.md)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"card": "4242424242424242"}]})

    card: Annotated[str, Field(min_length=4, max_length=200)]


class IntentOut(Schema):
    id: UUID
    state: IntentState
    purpose: str
    amount: MoneyOut
    provider: str
    failure_code: Annotated[str | None, Field(examples=["card_declined"])]
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
            state=line.state,
            amount=MoneyOut.of(line.amount_minor, line.currency),
            balance_after=None if line.balance_minor is None else MoneyOut.of(line.balance_minor, line.currency),
            rental_id=line.rental_id,
            intent_id=line.intent_id,
        )
