"""What riders dispute, and what was decided about it."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, text_enum, uuid_pk
from fleet.rentals.models import RentalState


class DisputeReason(StrEnum):
    NOT_RECEIVED = "not_received"
    RETURNED = "returned"
    BROKEN = "broken"
    OVERCHARGED = "overcharged"
    OTHER = "other"


class DisputeState(StrEnum):
    OPEN = "open"
    #: All of the price, a part of it, or nothing was given back.
    REFUNDED = "refunded"
    PARTLY_REFUNDED = "partly_refunded"
    REJECTED = "rejected"


class RentalDispute(Base):
    """A rider does not agree with what a rental cost; an operator decides, once."""

    __tablename__ = "rental_dispute"
    __table_args__ = (
        Index(None, "state", "id"),
        CheckConstraint(
            "(state = 'open') = (decided_at IS NULL) AND (state = 'open') = (refund_minor IS NULL)"
            " AND (state = 'open') = (decision IS NULL)",
            name="decided",
        ),
        CheckConstraint(
            "CASE state WHEN 'open' THEN true WHEN 'rejected' THEN refund_minor = 0 ELSE refund_minor > 0 END",
            name="refund",
        ),
    )

    id: Mapped[UUID] = uuid_pk()
    #: One dispute a rental: what was decided is not asked again.
    rental_id: Mapped[UUID] = mapped_column(ForeignKey("rental.id"), unique=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    reason: Mapped[DisputeReason] = mapped_column(text_enum(DisputeReason, 16))
    note: Mapped[str | None] = mapped_column(String(1000))
    state: Mapped[DisputeState] = mapped_column(text_enum(DisputeState, 16), default=DisputeState.OPEN)
    #: What the rental was, and is again once it is decided.
    rental_state: Mapped[RentalState] = mapped_column(text_enum(RentalState, 16))
    opened_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    #: The operator; NULL while it is open.
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    #: In words, for the rider.
    decision: Mapped[str | None] = mapped_column(String(300))
    #: Minor units of the rental's currency: what it became cheaper by.
    refund_minor: Mapped[int | None] = mapped_column(BigInteger)
