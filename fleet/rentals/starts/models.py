"""Banks that are kept for a rider before a rental."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fleet.db import Base, text_enum, uuid_pk
from fleet.stations.models import PowerBank, Station


class ReservationState(StrEnum):
    ACTIVE = "active"
    #: A rental was started with it.
    USED = "used"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Reservation(Base):
    """A bank kept for a rider until `expires_at`: its slot's `reserved_for` is this id, and nobody else is given it."""

    __tablename__ = "reservation"
    __table_args__ = (
        # One per rider and one per bank, whatever the code does.
        Index("uq_reservation_rider", "user_id", unique=True, postgresql_where=text("state = 'active'")),
        Index("uq_reservation_bank", "power_bank_id", unique=True, postgresql_where=text("state = 'active'")),
        Index("ix_reservation_expires_at", "expires_at", postgresql_where=text("state = 'active'")),
        Index(None, "user_id", "id"),
        CheckConstraint("(state = 'active') = (ended_at IS NULL)", name="ended_at"),
        CheckConstraint("state <> 'used' OR rental_id IS NOT NULL", name="used"),
        CheckConstraint("fee_minor >= 0 AND charged_minor BETWEEN 0 AND fee_minor", name="amounts"),
    )

    id: Mapped[UUID] = uuid_pk()
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    slot_number: Mapped[int]
    power_bank_id: Mapped[int] = mapped_column(ForeignKey("power_bank.id"))
    state: Mapped[ReservationState] = mapped_column(text_enum(ReservationState, 16), default=ReservationState.ACTIVE)
    expires_at: Mapped[datetime]
    #: What it costs when nobody comes, tax included; held until then.
    fee_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    tax_name: Mapped[str] = mapped_column(String(32))
    tax_bp: Mapped[int]
    hold_transfer_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfer.id"))
    charged_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    rental_id: Mapped[UUID | None] = mapped_column(ForeignKey("rental.id"))
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    station: Mapped[Station] = relationship(lazy="raise", viewonly=True)
    power_bank: Mapped[PowerBank] = relationship(lazy="raise", viewonly=True)
