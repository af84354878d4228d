"""Our payments held against the provider's list, once a day."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, text_enum, uuid_pk


class DifferenceKind(StrEnum):
    #: The provider has something that carries no id of ours, or one that we do not know.
    UNKNOWN_TO_US = "unknown_to_us"
    #: Both have it, and it has not come as far with one as with the other.
    STATE = "state"
    #: Both have it, for different money.
    AMOUNT = "amount"
    #: We booked it, and the provider does not list it.
    MISSING_THERE = "missing_there"


class Proposal(StrEnum):
    #: Make ours what the provider's object says, by the same way as a webhook.
    APPLY = "apply"
    #: Nothing that a program may decide.
    INVESTIGATE = "investigate"


class ReconciliationRun(Base):
    """One comparison of what was created at the provider in [since, until)."""

    __tablename__ = "reconciliation_run"
    __table_args__ = (
        CheckConstraint("until > since", name="window"),
        CheckConstraint("differences >= 0 AND compared >= 0", name="counts"),
    )

    id: Mapped[UUID] = uuid_pk()
    provider: Mapped[str] = mapped_column(String(32))
    since: Mapped[datetime]
    until: Mapped[datetime]
    finished_at: Mapped[datetime]
    #: How many objects were compared, and how many of them differ.
    compared: Mapped[int]
    differences: Mapped[int]


class ReconciliationDifference(Base):
    __tablename__ = "reconciliation_difference"
    __table_args__ = (Index(None, "run_id"),)

    id: Mapped[UUID] = uuid_pk()
    run_id: Mapped[UUID] = mapped_column(ForeignKey("reconciliation_run.id"))
    kind: Mapped[DifferenceKind] = mapped_column(text_enum(DifferenceKind, 16))
    #: charge, refund or payout, and the provider's name for it.
    about: Mapped[str] = mapped_column(String(16))
    reference: Mapped[str] = mapped_column(String(100))
    #: Our intent's or movement's id, when it is known.
    our_id: Mapped[UUID | None]
    ours: Mapped[str | None] = mapped_column(String(64))
    theirs: Mapped[str | None] = mapped_column(String(64))
    #: What the provider has, minor units.
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    proposal: Mapped[Proposal] = mapped_column(text_enum(Proposal, 16))
    repaired_at: Mapped[datetime | None]
