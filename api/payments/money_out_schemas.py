"""Refunds and withdrawals, as riders and operators see them."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from api.schemas import Input, Instant, MoneyIn, MoneyOut, Schema
from fleet.payments.outgoing.accounts import Onboarding
from fleet.payments.outgoing.models import Refund, RefundState, Withdrawal, WithdrawalState
from fleet.payments.providers.base import AccountStatus

Reason = Annotated[str, Field(min_length=1, max_length=300, examples=["The cable was broken"])]


class RefundIn(Input):
    """Of a rental, or of a top-up that is not spent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"rental_id": "0197a2c4-5f1e-7c3a-9a64-0b8f7d3c2e10", "reason": "The cable was broken"}]
        }
    )

    rental_id: UUID | None = None
    intent_id: Annotated[UUID | None, Field(description="of a top-up")] = None
    amount_minor: Annotated[int | None, Field(gt=0, le=100_000_000, description="left out: all that is left")] = None
    reason: Reason

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.rental_id is None) == (self.intent_id is None):
            raise ValueError("give exactly one of rental_id, intent_id")
        return self


class RefundOut(Schema):
    """`approved`: in the wallet, the card's part is on its way. What the card does not take stays in the wallet."""

    id: UUID
    state: RefundState
    rental_id: UUID | None
    intent_id: UUID | None
    amount: MoneyOut
    reason: str
    note: Annotated[str | None, Field(description="what whoever decided said")]
    requested_at: Instant
    decided_at: Instant | None

    @classmethod
    def of(cls, refund: Refund) -> Self:
        return cls.model_validate(_values(refund))


class RefundForOperator(RefundOut):
    user_id: UUID
    requested_by: UUID
    decided_by: UUID | None


class WithdrawalIn(MoneyIn):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"amount_minor": 5000, "currency": "EUR", "method_id": "0197a2c4-5f1e-7c3a-9a64-0b8f7d3c2e10"}]
        }
    )

    method_id: Annotated[
        UUID | None,
        Field(description="the saved method that gets it; left out where payouts go to an account of mine"),
    ] = None


class WithdrawalOut(Schema):
    """`amount` leaves the wallet, `fee` of it stays here, the rest arrives."""

    id: UUID
    state: WithdrawalState
    amount: MoneyOut
    fee: MoneyOut
    method_id: UUID | None
    account_id: Annotated[UUID | None, Field(description="my account for payouts")]
    note: str | None
    requested_at: Instant
    decided_at: Instant | None

    @classmethod
    def of(cls, withdrawal: Withdrawal) -> Self:
        fee = MoneyOut.of(withdrawal.fee_minor, withdrawal.currency)
        return cls.model_validate(_values(withdrawal) | {"fee": fee})


class WithdrawalForOperator(WithdrawalOut):
    user_id: UUID
    decided_by: UUID | None


class PayoutAccountOut(Schema):
    """Where payouts go to. `enabled`: money may be sent there."""

    id: UUID
    provider: str
    state: AccountStatus
    missing: Annotated[list[str], Field(description="what the provider still wants to know, in its words")]
    created_at: Instant
    updated_at: Instant


class OnboardingOut(Schema):
    account: PayoutAccountOut
    url: Annotated[
        str | None,
        Field(description="the provider's page where the owner says who they are; works once, soon; null: not needed"),
    ]

    @classmethod
    def of(cls, found: Onboarding) -> Self:
        return cls(account=PayoutAccountOut.model_validate(found.account), url=found.url)


class RejectIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"note": "The bank was returned a day late"}]})

    note: Reason


def _values(row: Refund | Withdrawal) -> dict[str, object]:
    columns = {column.key: getattr(row, column.key) for column in row.__table__.columns}
    return columns | {"amount": MoneyOut.of(row.amount_minor, row.currency)}
