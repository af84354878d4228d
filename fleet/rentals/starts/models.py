"""Banks that are kept for a rider before a rental, and exchanged during one."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, String, text
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


class SwapState(StrEnum):
    #: Another bank is kept; the rider's is not back yet.
    WAITING = "waiting"
    #: The rider's bank is back, the other one is on its way.
    EJECTING = "ejecting"
    DONE = "done"
    #: The rider did not put the bank back in time, and goes on with it.
    EXPIRED = "expired"
    #: No other bank came: the rental ended when the rider's was back.
    FAILED = "failed"


class SwapReason(StrEnum):
    LOW_BATTERY = "low_battery"
    DEFECT = "defect"
    WRONG_CABLE = "wrong_cable"


class RentalSwap(Base):
    """A rider gives a bank back for another one: one rental, one price."""

    __tablename__ = "rental_swap"
    __table_args__ = (
        Index(
            "uq_rental_swap_open", "rental_id", unique=True, postgresql_where=text("state IN ('waiting', 'ejecting')")
        ),
        # A rental is swapped once, whatever the code does.
        Index("uq_rental_swap_done", "rental_id", unique=True, postgresql_where=text("state = 'done'")),
        Index("ix_rental_swap_expires_at", "expires_at", postgresql_where=text("state = 'waiting'")),
        CheckConstraint("(state IN ('waiting', 'expired')) = (returned_at IS NULL)", name="returned_at"),
        CheckConstraint("(state IN ('waiting', 'ejecting')) = (ended_at IS NULL)", name="ended_at"),
    )

    id: Mapped[UUID] = uuid_pk()
    rental_id: Mapped[UUID] = mapped_column(ForeignKey("rental.id"))
    state: Mapped[SwapState] = mapped_column(text_enum(SwapState, 16), default=SwapState.WAITING)
    reason: Mapped[SwapReason] = mapped_column(text_enum(SwapReason, 16))
    #: Where it takes place.
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    #: The bank that goes back, and where it had come from.
    old_bank_id: Mapped[int] = mapped_column(ForeignKey("power_bank.id"))
    old_station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    old_slot: Mapped[int]
    old_charge_out_pct: Mapped[int | None]
    old_charge_in_pct: Mapped[int | None]
    #: The bank that is kept for it; another one may come in the end (`Rental.power_bank_id`).
    kept_bank_id: Mapped[int] = mapped_column(ForeignKey("power_bank.id"))
    kept_slot: Mapped[int]
    returned_slot: Mapped[int | None] = mapped_column(SmallInteger)
    asked_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    returned_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
