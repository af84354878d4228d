"""What riders report of their rentals, and what stops the clock or puts a rental right."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, text_enum, uuid_pk


class PauseKind(StrEnum):
    """Why the clock of a rental stands still."""

    #: The rider stands before a station that cannot take the bank.
    RETURN_PROBLEM = "return_problem"
    #: The rider says that the bank is in a slot, and the station cannot say so yet.
    RETURN_CLAIM = "return_claim"
    OPERATOR = "operator"


class RentalPause(Base):
    """Time of a rental that costs nothing (decision 0120). Those in force are what `Rental.paused` holds (trigger)."""

    __tablename__ = "rental_pause"
    __table_args__ = (
        Index(None, "rental_id"),
        # No two of a kind at once: whatever is reported twice pauses once.
        ExcludeConstraint(
            ("rental_id", "="),
            ("kind", "="),
            (text("tstzrange(began_at, ends_at)"), "&&"),
            where=text("voided_at IS NULL"),
            using="gist",
            name="ex_rental_pause_overlap",
        ),
        CheckConstraint("ends_at >= began_at", name="times"),
        CheckConstraint("(voided_at IS NULL) = (voided_why IS NULL)", name="voided"),
    )

    id: Mapped[UUID] = uuid_pk()
    rental_id: Mapped[UUID] = mapped_column(ForeignKey("rental.id"))
    kind: Mapped[PauseKind] = mapped_column(text_enum(PauseKind, 16))
    began_at: Mapped[datetime]
    #: NULL: until somebody, or something, ends it.
    ends_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(String(300))
    #: The rider or the operator who asked for it.
    asked_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    created_at: Mapped[datetime]
    #: It turned out to be without cause: the time costs what it would have cost.
    voided_at: Mapped[datetime | None]
    voided_why: Mapped[str | None] = mapped_column(String(64))
