"""Money that leaves: what was asked for and who agreed (Refund, Withdrawal), and what the provider did (MoneyOut)."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, text_enum, uuid_pk
from fleet.payments.providers.base import AccountStatus, ObjectKind


class MoneyOutState(StrEnum):
    #: The provider has been asked, or will be; nobody knows yet.
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    #: Nothing left: the rider has the money in the wallet.
    FAILED = "failed"
    #: It had left, and came back.
    RETURNED = "returned"


class RefundState(StrEnum):
    REQUESTED = "requested"
    #: Agreed, and booked; the card's part is on its way.
    APPROVED = "approved"
    COMPLETED = "completed"
    REJECTED = "rejected"


class WithdrawalState(StrEnum):
    REQUESTED = "requested"
    #: Agreed; the provider is asked.
    APPROVED = "approved"
    COMPLETED = "completed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    #: The provider could not: the money is in the wallet again.
    FAILED = "failed"


class Refund(Base):
    """Money given back for a rental, or of a top-up that was not spent."""

    __tablename__ = "refund"
    __table_args__ = (
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("num_nonnulls(rental_id, intent_id) = 1", name="of"),
        CheckConstraint("decided_by IS NULL OR decided_by <> user_id", name="approver"),
        CheckConstraint("(state = 'requested') = (decided_at IS NULL)", name="decided"),
        Index(None, "user_id", "id"),
        Index("ix_refund_open", "id", postgresql_where=text("state = 'requested'")),
        Index(
            "uq_refund_open_rental", "rental_id", unique=True,
            postgresql_where=text("state = 'requested' AND rental_id IS NOT NULL"),
        ),
        Index(
            "uq_refund_open_intent", "intent_id", unique=True,
            postgresql_where=text("state = 'requested' AND intent_id IS NOT NULL"),
        ),
    )  # fmt: skip

    id: Mapped[UUID] = uuid_pk()
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    #: A plain id because rentals are above payments.
    rental_id: Mapped[UUID | None] = mapped_column(index=True)
    #: A top-up.
    intent_id: Mapped[UUID | None] = mapped_column(ForeignKey("payment_intent.id"))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    reason: Mapped[str] = mapped_column(String(300))
    state: Mapped[RefundState] = mapped_column(text_enum(RefundState, 16))
    requested_by: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    requested_at: Mapped[datetime]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    decided_at: Mapped[datetime | None]
    note: Mapped[str | None] = mapped_column(String(300))


class OwnerKind(StrEnum):
    RIDER = "rider"
    PARTNER = "partner"


class PayoutAccount(Base):
    """Where payouts to a rider or a partner go: an account of theirs at the provider."""

    __tablename__ = "payout_account"
    __table_args__ = (
        UniqueConstraint("provider", "provider_reference"),
        UniqueConstraint("owner_id", "provider"),
    )

    id: Mapped[UUID] = uuid_pk()
    #: A rider's or a partner's id; plain because partners are above payments.
    owner_id: Mapped[UUID]
    owner_kind: Mapped[OwnerKind] = mapped_column(text_enum(OwnerKind, 16))
    provider: Mapped[str] = mapped_column(String(32))
    provider_reference: Mapped[str] = mapped_column(String(100))
    state: Mapped[AccountStatus] = mapped_column(text_enum(AccountStatus, 16))
    #: What its owner still has to say, in the provider's words.
    missing: Mapped[list[Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Withdrawal(Base):
    """A rider takes money out of the wallet. It is reserved in the ledger from the request on."""

    __tablename__ = "withdrawal"
    __table_args__ = (
        CheckConstraint("amount_minor > 0 AND fee_minor >= 0 AND fee_minor < amount_minor", name="amount"),
        CheckConstraint("decided_by IS NULL OR decided_by <> user_id", name="approver"),
        CheckConstraint("(fee_minor > 0) = (fee_transfer_id IS NOT NULL)", name="fee"),
        CheckConstraint("num_nonnulls(method_id, account_id) = 1", name="to"),
        Index(None, "user_id", "id"),
        Index("ix_withdrawal_open", "id", postgresql_where=text("state = 'requested'")),
    )

    id: Mapped[UUID] = uuid_pk()
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    #: Leaves the wallet; the fee is part of it.
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    fee_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    #: A saved method, or an account at the provider.
    method_id: Mapped[UUID | None] = mapped_column(ForeignKey("payment_method.id"))
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("payout_account.id"))
    state: Mapped[WithdrawalState] = mapped_column(text_enum(WithdrawalState, 16))
    transfer_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_transfer.id"), unique=True)
    fee_transfer_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfer.id"), unique=True)
    requested_at: Mapped[datetime]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    decided_at: Mapped[datetime | None]
    note: Mapped[str | None] = mapped_column(String(300))


class MoneyOut(Base):
    """One movement at the provider: a refund to a card, a payout. Its id is the key under which it is asked for.

    The money is a PENDING transfer from the wallet to clearing, or a partner's hold, until the provider says that it
    left.
    """

    __tablename__ = "money_out"
    __table_args__ = (
        UniqueConstraint("provider", "provider_reference"),
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("(kind = 'refund') = (intent_id IS NOT NULL)", name="intent"),
        CheckConstraint("(kind = 'refund') = (refund_id IS NOT NULL)", name="refund"),
        CheckConstraint("num_nonnulls(withdrawal_id, payout_id) = (kind = 'payout')::int", name="withdrawal"),
        Index(None, "intent_id"),
        Index("ix_money_out_waiting", "ask_at", postgresql_where=text("state = 'pending'")),
    )

    id: Mapped[UUID] = uuid_pk()
    kind: Mapped[ObjectKind] = mapped_column(text_enum(ObjectKind, 16))
    #: Whose money it is; of a partner's, who asked for it.
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    refund_id: Mapped[UUID | None] = mapped_column(ForeignKey("refund.id"), index=True)
    withdrawal_id: Mapped[UUID | None] = mapped_column(ForeignKey("withdrawal.id"), unique=True)
    #: A partner's; a plain id because partners are above payments.
    payout_id: Mapped[UUID | None] = mapped_column(unique=True)
    #: The payment that is given back.
    intent_id: Mapped[UUID | None] = mapped_column(ForeignKey("payment_intent.id"))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    provider: Mapped[str] = mapped_column(String(32))
    #: The charge's reference, or a saved method's token.
    destination: Mapped[str] = mapped_column(String(200))
    customer: Mapped[str | None] = mapped_column(String(100))
    provider_reference: Mapped[str | None] = mapped_column(String(100))
    state: Mapped[MoneyOutState] = mapped_column(text_enum(MoneyOutState, 16))
    failure_code: Mapped[str | None] = mapped_column(String(64))
    transfer_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_transfer.id"), unique=True)
    #: Of a refund that we did not ask for: what the wallet did not have any more, the house's loss.
    loss_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfer.id"), unique=True)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    ask_at: Mapped[datetime]
