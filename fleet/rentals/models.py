from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, SmallInteger, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fleet.db import Base, text_enum, uuid_pk
from fleet.stations.models import PowerBank, Station


# Which may follow which: `rules.TRANSITIONS`.
class RentalState(StrEnum):
    """How far a rental is: ejecting, eject_unknown, active and overdue are open, all others closed."""

    #: The cabinet has been asked for a bank, or will be at once; the money is set aside.
    EJECTING = "ejecting"
    #: It did not answer in time: only its slots can tell what it did.
    EJECT_UNKNOWN = "eject_unknown"
    #: The bank has left and is the rider's to use.
    ACTIVE = "active"
    #: The same, after `overdue_at`: late fees count.
    OVERDUE = "overdue"
    #: The bank is back; what it cost is charged, or owed.
    COMPLETED = "completed"
    #: Called off free of charge: before a bank left, or once it was back at once.
    CANCELLED = "cancelled"
    #: No bank left, as far as anybody knows: nothing is charged. One that proves to have left makes it ACTIVE.
    EJECT_FAILED = "eject_failed"
    #: The bank was kept for too long and counts as bought or lost. One that comes back makes it COMPLETED.
    BOUGHT_OUT = "bought_out"
    #: Somebody has to decide: the rider, or the rider's bank, disputes what was charged.
    DISPUTED = "disputed"


#: A bank is with the rider, or may be.
OPEN_STATES = (RentalState.EJECTING, RentalState.EJECT_UNKNOWN, RentalState.ACTIVE, RentalState.OVERDUE)
IS_OPEN = "state IN ('ejecting', 'eject_unknown', 'active', 'overdue')"


class PayMode(StrEnum):
    """What stands for a rental. Whatever it is, points pay first as far as they may, then the wallet, then the card."""

    WALLET = "wallet"
    POINTS = "points"
    #: Points, and the wallet for the rest.
    SPLIT = "split"
    #: The card for what the wallet lacks in the end; some of it points, if the rider said so.
    CARD = "card"


class StartEvidence(StrEnum):
    """How the time at which a bank left is known; worst first."""

    #: Deduced: it is gone, and no earlier than the order went out.
    ORDER = "order"
    #: The result of the command, which comes after the movement.
    RESULT = "result"
    #: The movement itself.
    MOVEMENT = "movement"


class Rental(Base):
    """One bank, or in an exchange two, with one rider. Amounts in minor units of `currency`."""

    __tablename__ = "rental"
    __table_args__ = (
        # One open rental per bank, and at most the allowed number per rider (open_place 1..n), whatever the code does.
        Index(
            "uq_rental_open_power_bank", "power_bank_id", unique=True,
            postgresql_where=text(IS_OPEN),
        ),
        Index("uq_rental_open_place", "user_id", "open_place", unique=True, postgresql_where=text(IS_OPEN)),
        Index("ix_rental_state_deadline", "state", "requested_at", postgresql_where=text(IS_OPEN)),
        Index(None, "user_id", "id"),
        Index("ix_rental_overdue_at", "overdue_at", postgresql_where=text("state = 'active'")),
        Index("ix_rental_buyout_at", "buyout_at", postgresql_where=text("state IN ('active', 'overdue')")),
        Index("ix_rental_owed", "user_id", postgresql_where=text("due_minor > 0")),
        CheckConstraint("ended_at IS NULL OR started_at IS NULL OR ended_at >= started_at", name="times"),
        CheckConstraint("swapped_at IS NULL OR swap_id IS NOT NULL AND started_at IS NOT NULL", name="swap"),
        CheckConstraint("charged_minor >= 0 AND due_minor >= 0 AND written_off_minor >= 0", name="amounts"),
        CheckConstraint(f"({IS_OPEN}) = (open_place IS NOT NULL)", name="open_place"),
        CheckConstraint(
            "CASE pay WHEN 'wallet' THEN coalesce(points_max_minor, -1) = 0 WHEN 'points' THEN points_max_minor IS NULL"
            " ELSE coalesce(points_max_minor, 0) >= 0 END",
            name="pay",
        ),
    )  # fmt: skip

    id: Mapped[UUID] = uuid_pk()
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    state: Mapped[RentalState] = mapped_column(text_enum(RentalState, 16))
    #: Which of the rider's allowed open rentals this is; NULL once closed.
    open_place: Mapped[int | None] = mapped_column(SmallInteger)
    power_bank_id: Mapped[int] = mapped_column(ForeignKey("power_bank.id"), index=True)
    station_out_id: Mapped[int] = mapped_column(ForeignKey("station.id"), index=True)
    slot_out: Mapped[int]
    station_in_id: Mapped[int | None] = mapped_column(ForeignKey("station.id"))
    slot_in: Mapped[int | None]
    requested_at: Mapped[datetime]
    #: Slots tried so far.
    eject_attempts: Mapped[int] = mapped_column(SmallInteger, default=1)
    #: When the bank left, and when it was back; of one that was kept for too long, when it counted as bought or lost.
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    #: Where `started_at` comes from; better evidence that comes later corrects it.
    start_evidence: Mapped[StartEvidence | None] = mapped_column(text_enum(StartEvidence, 16))
    #: When it becomes overdue, and when its bank counts as bought or lost; both follow from the terms and `started_at`.
    overdue_at: Mapped[datetime | None]
    buyout_at: Mapped[datetime | None]
    #: The due time of which its rider was reminded.
    reminded_of: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    #: The tariff as it stood at the start (TariffTerms as JSON), and the time zone its days are counted in.
    tariff_id: Mapped[UUID] = mapped_column(ForeignKey("tariff.id"))
    terms: Mapped[dict[str, Any]]
    time_zone: Mapped[str] = mapped_column(String(64))
    currency: Mapped[str] = mapped_column(String(3))
    #: Of several (points, wallet, extensions) the first.
    hold_transfer_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfer.id"))
    pay: Mapped[PayMode] = mapped_column(text_enum(PayMode, 8), default=PayMode.WALLET, server_default="wallet")
    #: What points money may pay of it; NULL: as much as there is.
    points_max_minor: Mapped[int | None] = mapped_column(BigInteger().evaluates_none(), default=0, server_default="0")
    #: The card that stands for it.
    intent_id: Mapped[UUID | None] = mapped_column(ForeignKey("payment_intent.id"))
    price_minor: Mapped[int | None] = mapped_column(BigInteger)
    price_lines: Mapped[list[Any] | None]
    #: The package it was started with; those of its extensions are in their rows.
    package_id: Mapped[UUID | None] = mapped_column(ForeignKey("rental_package.id"))
    #: Prepaid and Adjustment (pricing) as JSON, frozen like the terms.
    prepaid: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    adjustments: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    #: The pauses in force (underway.models.RentalPause, trigger), as [from, to or null] in microseconds since 1970.
    paused: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    charged_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    #: Owed beyond what the wallet held, and what of that operators gave up; both are the debt's (trigger).
    due_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    written_off_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    charge_out_pct: Mapped[int | None]
    charge_in_pct: Mapped[int | None]
    #: What it took out of banks so far, in per cent of a whole one; counted into their cycles.
    discharged_pct: Mapped[int] = mapped_column(default=0, server_default="0")
    #: The exchange of its bank that is under way, and since when the bank that goes back is back.
    swap_id: Mapped[UUID | None]
    swapped_at: Mapped[datetime | None]
    #: Exchanges that went well.
    swaps: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    failure_code: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(String(64))

    station_out: Mapped[Station] = relationship(lazy="raise", viewonly=True, foreign_keys=[station_out_id])
    station_in: Mapped[Station | None] = relationship(lazy="raise", viewonly=True, foreign_keys=[station_in_id])
    power_bank: Mapped[PowerBank] = relationship(lazy="raise", viewonly=True)


class RentalEvent(Base):
    """Append-only: every change of a rental's state, with its reason and the evidence for it."""

    __tablename__ = "rental_event"
    __table_args__ = (Index(None, "rental_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    rental_id: Mapped[UUID] = mapped_column(ForeignKey("rental.id"))
    from_state: Mapped[RentalState | None] = mapped_column(text_enum(RentalState, 16))
    to_state: Mapped[RentalState] = mapped_column(text_enum(RentalState, 16))
    why: Mapped[str] = mapped_column(String(64))
    #: {"device_event": "station:boot:seq"}, {"command": id}, {"request": id}, {"sweep": name} …
    evidence: Mapped[dict[str, Any]]
    at: Mapped[datetime]
    recorded_at: Mapped[datetime]


class SwapState(StrEnum):
    """How far an exchange is: waiting, ejecting, then one of the others."""

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
