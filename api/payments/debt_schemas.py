"""Debts, as riders and operators see them."""

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from api.payments.schemas import IntentOut, Token
from api.schemas import Input, Instant, MoneyOut, Schema
from fleet.payments.approval_models import AdjustmentState
from fleet.payments.debts.models import Debt, DebtCollection, DebtState, DebtWriteOff
from fleet.payments.intent_models import PaymentIntent


class DebtOut(Schema):
    """What a rental left unpaid: amount = paid + reduced + written off + open."""

    id: UUID
    rental_id: UUID
    state: DebtState
    open: Annotated[MoneyOut, Field(description="still owed")]
    amount: MoneyOut
    paid: MoneyOut
    reduced: Annotated[MoneyOut, Field(description="the rental turned out to cost less")]
    written_off: Annotated[MoneyOut, Field(description="nobody asks for it any more")]
    incurred_at: Instant
    try_at: Annotated[Instant | None, Field(description="when a saved card is charged by itself")]

    @classmethod
    def of(cls, debt: Debt) -> Self:
        return cls.model_validate(cls.values_of(debt))

    @staticmethod
    def values_of(debt: Debt) -> dict[str, Any]:
        money = {
            name: MoneyOut.of(getattr(debt, f"{name}_minor"), debt.currency)
            for name in ("open", "amount", "paid", "reduced", "written_off")
        }
        return {column.key: getattr(debt, column.key) for column in debt.__table__.columns} | money


class DebtForOperator(DebtOut):
    user_id: UUID
    tries: Annotated[int, Field(description="how often a saved card was charged by itself")]


class PayDebtIn(Input):
    """Neither: from the wallet, as far as it goes. Else what that does not pay, by a saved card or a card's token."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"card": "4242424242424242"}]})

    card: Token | None = None
    method_id: UUID | None = None

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if self.card is not None and self.method_id is not None:
            raise ValueError("give at most one of card, method_id")
        return self


class DebtPaymentOut(Schema):
    """`intent`: the card's payment. It settles by itself; `requires_action`: open its `action_url`, then ask again."""

    debt: DebtOut
    intent: IntentOut | None


class DebtTryOut(Schema):
    """A card was asked to pay it. `outcome` is null while nobody knows."""

    number: int
    amount: MoneyOut
    by_rider: bool
    started_at: Instant
    ended_at: Instant | None
    outcome: Annotated[str | None, Field(examples=["succeeded", "card_declined"])]
    intent: IntentOut

    @classmethod
    def of(cls, tried: DebtCollection, intent: PaymentIntent) -> "DebtTryOut":
        columns = {column.key: getattr(tried, column.key) for column in tried.__table__.columns}
        amount = MoneyOut.of(tried.amount_minor, intent.currency)
        return cls.model_validate(columns | {"amount": amount, "intent": IntentOut.of(intent)})


class DebtWithTries(Schema):
    debt: DebtOut
    tries: Annotated[list[DebtTryOut], Field(description="oldest first")]


class WriteOffOut(Schema):
    """`pending`: a second operator has to agree."""

    id: UUID
    debt_id: UUID
    user_id: UUID
    amount: MoneyOut
    reason: str
    state: AdjustmentState
    requested_by: UUID
    requested_at: Instant
    decided_by: UUID | None
    decided_at: Instant | None
    note: str | None

    @classmethod
    def of(cls, row: DebtWriteOff) -> "WriteOffOut":
        columns = {column.key: getattr(row, column.key) for column in row.__table__.columns}
        return cls.model_validate(columns | {"amount": MoneyOut.of(row.amount_minor, row.currency)})
