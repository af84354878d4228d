"""What riders owe for rentals that cost more than there was, and how it was asked for."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, String, text
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, text_enum, uuid_pk
from fleet.payments.approval_models import TwoPeople, two_people_rules


class DebtState(StrEnum):
    OPEN = "open"
    PAID = "paid"
    #: Operators gave it up, or what was left of it.
    WRITTEN_OFF = "written_off"
    #: The rental turned out to cost no more than was paid: nothing was owed after all.
    CANCELLED = "cancelled"


class Debt(Base):
    """What one rental left unpaid: `open_minor` of it is still owed, and in the ledger's receivables.

    The rental says the same (`due_minor`, `written_off_minor`); a trigger refuses a commit in which they differ.
    """

    __tablename__ = "debt"
    __table_args__ = (
        CheckConstraint(
            "amount_minor > 0 AND paid_minor >= 0 AND reduced_minor >= 0 AND written_off_minor >= 0 AND tries >= 0",
            name="amounts",
        ),
        CheckConstraint(
            "open_minor >= 0 AND open_minor = amount_minor - paid_minor - reduced_minor - written_off_minor",
            name="open",
        ),
        CheckConstraint("(state = 'open') = (open_minor > 0)", name="state"),
        CheckConstraint("(state = 'open') = (closed_at IS NULL)", name="closed"),
        CheckConstraint("try_at IS NULL OR state = 'open'", name="try"),
        Index(None, "user_id", "id"),
        Index("ix_debt_try", "try_at", postgresql_where=text("try_at IS NOT NULL")),
    )

    id: Mapped[UUID] = uuid_pk()
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    #: A plain id because rentals are above payments.
    rental_id: Mapped[UUID] = mapped_column(unique=True)
    currency: Mapped[str] = mapped_column(String(3))
    #: All that was ever owed.
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    paid_minor: Mapped[int] = mapped_column(BigInteger, default=0)
    #: The rental became cheaper.
    reduced_minor: Mapped[int] = mapped_column(BigInteger, default=0)
    written_off_minor: Mapped[int] = mapped_column(BigInteger, default=0)
    open_minor: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[DebtState] = mapped_column(text_enum(DebtState, 16))
    #: How often the card was tried by itself, and when it is tried next; NULL: not by itself, or it is being tried.
    tries: Mapped[int] = mapped_column(SmallInteger, default=0)
    try_at: Mapped[datetime | None]
    incurred_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class DebtCollection(Base):
    """One attempt to have a debt paid by a card; of one debt one at a time (partial unique index)."""

    __tablename__ = "debt_collection"
    __table_args__ = (
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="ended"),
        Index("uq_debt_collection_running", "debt_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    )

    debt_id: Mapped[UUID] = mapped_column(ForeignKey("debt.id"), primary_key=True)
    #: From 1.
    number: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    intent_id: Mapped[UUID] = mapped_column(ForeignKey("payment_intent.id"), unique=True)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    #: The rider asked for it, and stands by; else the schedule did.
    by_rider: Mapped[bool]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    #: "succeeded", or why not, in the provider's words.
    outcome: Mapped[str | None] = mapped_column(String(64))


class DebtWriteOff(TwoPeople, Base):
    """An operator gives a debt up. Above a limit somebody else has to agree (constraint four_eyes, decision 0151)."""

    __tablename__ = "debt_write_off"
    __table_args__ = (
        CheckConstraint("amount_minor > 0", name="amount"),
        *two_people_rules("amount_minor"),
        Index(None, "user_id", "requested_at"),
        Index("uq_debt_write_off_pending", "debt_id", unique=True, postgresql_where=text("state = 'pending'")),
    )

    id: Mapped[UUID] = uuid_pk()
    debt_id: Mapped[UUID] = mapped_column(ForeignKey("debt.id"), index=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    #: What was open when it was asked for; less is given up when some of it was paid meanwhile.
    amount_minor: Mapped[int] = mapped_column(BigInteger)
