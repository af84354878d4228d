from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, text_enum, uuid_pk
from fleet.payments.providers.base import DisputeStatus


class CardDispute(Base):
    """A rider told their bank that they did not owe a payment; the provider has taken the money back meanwhile."""

    __tablename__ = "card_dispute"
    __table_args__ = (
        UniqueConstraint("provider", "provider_reference"),
        CheckConstraint("amount_minor > 0", name="amount"),
        Index(None, "intent_id"),
    )

    id: Mapped[UUID] = uuid_pk()
    provider: Mapped[str] = mapped_column(String(32))
    provider_reference: Mapped[str] = mapped_column(String(100))
    intent_id: Mapped[UUID] = mapped_column(ForeignKey("payment_intent.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    #: In the provider's words.
    reason: Mapped[str] = mapped_column(String(64))
    state: Mapped[DisputeStatus] = mapped_column(text_enum(DisputeStatus, 16))
    #: What the house loses, PENDING while it is open.
    transfer_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_transfer.id"), unique=True)
    #: What of a disputed top-up is still in the wallet: set aside, and taken when it is lost.
    recovery_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfer.id"), unique=True)
    opened_at: Mapped[datetime]
    updated_at: Mapped[datetime]
