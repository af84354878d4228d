"""The sandbox provider's own books: another company's database that happens to live in ours."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, uuid_pk


class SandboxCharge(Base):
    __tablename__ = "sandbox_charge"
    __table_args__ = (CheckConstraint("refunded_minor BETWEEN 0 AND coalesce(captured_minor, 0)", name="refunded"),)

    reference: Mapped[str] = mapped_column(String(100), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(String(150), unique=True)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata")
    #: Its last four digits.
    card: Mapped[str] = mapped_column(String(4))
    status: Mapped[str] = mapped_column(String(16))
    failure_code: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    #: When a pending charge succeeds by itself; NULL: never.
    settles_at: Mapped[datetime | None]
    #: Only authorized at first.
    capture_later: Mapped[bool] = mapped_column(default=False, server_default="false")
    captured_minor: Mapped[int | None] = mapped_column(BigInteger)
    refunded_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")


class SandboxMove(Base):
    """A refund or a payout."""

    __tablename__ = "sandbox_move"

    reference: Mapped[str] = mapped_column(String(100), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    #: NULL: made at the sandbox's own desk.
    idempotency_key: Mapped[str | None] = mapped_column(String(150), unique=True)
    #: Of a refund.
    charge_reference: Mapped[str | None] = mapped_column(ForeignKey("sandbox_charge.reference"))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    status: Mapped[str] = mapped_column(String(16))
    failure_code: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    #: What it becomes by itself, and when.
    next_status: Mapped[str | None] = mapped_column(String(16))
    settles_at: Mapped[datetime | None]


class SandboxDispute(Base):
    __tablename__ = "sandbox_dispute"

    reference: Mapped[str] = mapped_column(String(100), primary_key=True)
    charge_reference: Mapped[str] = mapped_column(ForeignKey("sandbox_charge.reference"), unique=True)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    reason: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]


class SandboxDelivery(Base):
    """A webhook the sandbox provider still owes us, sent over HTTP and repeated until answered."""

    __tablename__ = "sandbox_delivery"
    __table_args__ = (Index("ix_sandbox_delivery_due", "due_at", postgresql_where=text("delivered_at IS NULL")),)

    id: Mapped[UUID] = uuid_pk()
    #: What kind of object `reference` is.
    about: Mapped[str] = mapped_column(String(16), default="charge", server_default="charge")
    reference: Mapped[str] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(64))
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    delivered_at: Mapped[datetime | None]
