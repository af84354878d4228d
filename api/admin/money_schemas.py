from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from api.admin.schemas import Reason
from api.payments.schemas import StatementLineOut, WalletOut
from api.schemas import Currency, Input, Instant, MoneyOut, Schema
from fleet.payments.approval_models import AdjustmentState
from fleet.payments.models import AccountKind, LedgerTransfer, TransferState, WalletAdjustment


class AdjustIn(Input):
    """Positive gives, negative takes; never below what the rider can spend."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"amount_minor": 500, "currency": "EUR", "reason": "goodwill after a jammed slot"}]
        }
    )

    amount_minor: Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
    currency: Currency
    reason: Reason
    account: Annotated[AccountKind, Field(description="wallet, or bonus: points money")] = AccountKind.WALLET


class AdjustmentOut(Schema):
    id: UUID
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
    def of(cls, row: WalletAdjustment) -> "AdjustmentOut":
        return cls(
            id=row.id,
            user_id=row.user_id,
            amount=MoneyOut.of(row.amount_minor, row.currency),
            reason=row.reason,
            state=row.state,
            requested_by=row.requested_by,
            requested_at=row.requested_at,
            decided_by=row.decided_by,
            decided_at=row.decided_at,
            note=row.note,
        )


class AdjustOut(Schema):
    """`line` is null while a second operator has to agree."""

    adjustment: AdjustmentOut
    line: StatementLineOut | None
    wallet: WalletOut


class DecisionIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"note": "seen the photos"}]})

    note: Annotated[str | None, Field(min_length=3, max_length=300)] = None


class RefusalIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"note": "the wrong rider"}]})

    note: Reason


class WriteOffIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the rider has died"}]})

    reason: Reason


class ProofOut(Schema):
    """Do the balances equal the sums, and every currency add up to zero?"""

    ok: bool
    at: Instant
    accounts: int
    transfers: int
    problems: list[str]


class AccountOut(Schema):
    """Totals in minor units; `balance` is positive on the account's normal side, holds are not in it."""

    id: UUID
    kind: AccountKind
    owner_id: UUID | None
    balance: MoneyOut
    held: MoneyOut


class Accounts(Schema):
    items: list[AccountOut]


class TransferOut(Schema):
    id: UUID
    debit_account_id: UUID
    credit_account_id: UUID
    amount: MoneyOut
    posted_minor: int | None
    kind: str
    state: TransferState
    rental_id: UUID | None
    intent_id: UUID | None
    memo: str | None
    created_at: Instant
    settled_at: Instant | None

    @classmethod
    def of(cls, row: LedgerTransfer) -> "TransferOut":
        return cls(
            id=row.id,
            debit_account_id=row.debit_account_id,
            credit_account_id=row.credit_account_id,
            amount=MoneyOut.of(row.amount_minor, row.currency),
            posted_minor=row.posted_minor,
            kind=row.kind,
            state=row.state,
            rental_id=row.rental_id,
            intent_id=row.intent_id,
            memo=row.memo,
            created_at=row.created_at,
            settled_at=row.settled_at,
        )
