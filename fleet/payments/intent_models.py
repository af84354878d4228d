"""Payments by card: saved methods, what riders were asked for, what providers told of it."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, text_enum, uuid_pk


class IntentState(StrEnum):
    REQUIRES_CONFIRMATION = "requires_confirmation"
    PROCESSING = "processing"
    #: The rider's bank wants to see the rider first, at `action_url`.
    REQUIRES_ACTION = "requires_action"
    #: Set aside on the card, taken by nobody yet.
    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    #: The provider was asked and nobody knows what it did; a sweep asks it again.
    UNKNOWN = "unknown"


class IntentPurpose(StrEnum):
    TOP_UP = "top_up"
    #: Security for one rental: set aside at its start, taken as far as it costs more than the wallet has.
    RENTAL = "rental"
    #: One period of a subscription; what comes in is set aside for it at once.
    SUBSCRIPTION = "subscription"
    #: A rental's debt, or a part of it, charged at once.
    DEBT = "debt"


class PaymentMethod(Base):
    """A card that a rider saved: the provider's token and what the rider recognises it by; never its number."""

    __tablename__ = "payment_method"
    __table_args__ = (
        UniqueConstraint("provider", "token"),
        Index(None, "user_id", "id"),
        Index(
            "uq_payment_method_default", "user_id", unique=True,
            postgresql_where=text("is_default AND removed_at IS NULL"),
        ),
        CheckConstraint("last4 ~ '^[0-9]{4}$'", name="last4"),
    )  # fmt: skip

    id: Mapped[UUID] = uuid_pk()
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    provider: Mapped[str] = mapped_column(String(32))
    token: Mapped[str] = mapped_column(String(200))
    #: The provider's name for the rider.
    customer: Mapped[str | None] = mapped_column(String(100))
    #: "card", or what else the provider offers; limits are by kind.
    kind: Mapped[str] = mapped_column(String(16))
    brand: Mapped[str] = mapped_column(String(32))
    last4: Mapped[str] = mapped_column(String(4))
    expires_month: Mapped[int | None]
    expires_year: Mapped[int | None]
    is_default: Mapped[bool] = mapped_column(default=False, server_default="false")
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]


class PaymentIntent(Base):
    """Money that a rider means to bring in, and what the provider made of it."""

    __tablename__ = "payment_intent"
    __table_args__ = (
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("captured_minor BETWEEN 1 AND amount_minor", name="captured"),
        CheckConstraint("(state = 'succeeded') = (captured_minor IS NOT NULL)", name="succeeded"),
        CheckConstraint("settle_minor BETWEEN 0 AND amount_minor", name="settle"),
        CheckConstraint("capture_later = (purpose = 'rental')", name="capture_later"),
        UniqueConstraint("provider", "provider_reference"),
        Index("ix_payment_intent_unsettled", "ask_at", postgresql_where=text("ask_at IS NOT NULL")),
        Index("ix_payment_intent_expires", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
        Index(
            "uq_payment_intent_rental", "rental_id", unique=True,
            postgresql_where=text("rental_id IS NOT NULL AND purpose = 'rental'"),
        ),
        Index("ix_payment_intent_rental", "rental_id", postgresql_where=text("rental_id IS NOT NULL")),
        Index(
            "ix_payment_intent_method", "method_id", "confirmed_at", postgresql_where=text("method_id IS NOT NULL")
        ),
    )  # fmt: skip

    id: Mapped[UUID] = uuid_pk()
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"), index=True)
    purpose: Mapped[str] = mapped_column(String(16))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    provider: Mapped[str] = mapped_column(String(32))
    provider_reference: Mapped[str | None] = mapped_column(String(100))
    state: Mapped[IntentState] = mapped_column(text_enum(IntentState, 32), default=IntentState.REQUIRES_CONFIRMATION)
    failure_code: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    #: When the rider confirmed it and the provider was called.
    confirmed_at: Mapped[datetime | None]
    #: When the provider is to be asked what became of it, or told what to do; NULL: nobody waits for it.
    ask_at: Mapped[datetime | None]
    #: Set aside first, taken later.
    capture_later: Mapped[bool] = mapped_column(default=False, server_default="false")
    #: How much of an authorization is to be taken, 0: none, NULL: not decided.
    settle_minor: Mapped[int | None] = mapped_column(BigInteger)
    #: What was taken in the end.
    captured_minor: Mapped[int | None] = mapped_column(BigInteger)
    #: Where the rider satisfies their bank.
    action_url: Mapped[str | None] = mapped_column(String(1000))
    method_id: Mapped[UUID | None] = mapped_column(ForeignKey("payment_method.id"))
    customer: Mapped[str | None] = mapped_column(String(100))
    #: What it pays for, frozen: station, tariff, price (fleet.rentals reads it).
    order: Mapped[dict[str, Any] | None]
    #: The rental that it secures, or whose debt it pays; a plain id because rentals are above payments.
    rental_id: Mapped[UUID | None]
    #: Until when it may be confirmed, and its rental started.
    expires_at: Mapped[datetime | None]


class PaymentWebhook(Base):
    """A provider's call, stored raw before anything is done with it; one provider event once."""

    __tablename__ = "payment_webhook"
    __table_args__ = (UniqueConstraint("provider", "event_id"), Index(None, "provider", "reference"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    provider: Mapped[str] = mapped_column(String(32))
    event_id: Mapped[str] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(64))
    #: The provider's object it is about, and what kind of object that is.
    about: Mapped[str] = mapped_column(String(16), default="charge", server_default="charge")
    reference: Mapped[str] = mapped_column(String(100))
    body: Mapped[bytes]
    headers: Mapped[dict[str, Any]]
    received_at: Mapped[datetime]
    applied_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(String(1000))
