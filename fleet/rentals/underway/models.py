"""What riders add to a rental under way, report of it and share with it, and what stops its clock."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fleet.db import Base, text_enum, uuid_pk
from fleet.stations.models import Station


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
        # Asked when an account is deleted.
        Index("ix_rental_pause_asked_by", "asked_by", postgresql_where=text("asked_by IS NOT NULL")),
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


class ClaimState(StrEnum):
    """What became of a rider's word that the bank is in a slot."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    #: The rental ended otherwise before anybody could tell.
    OVERTAKEN = "overtaken"


class ReturnClaim(Base):
    """A rider says that the bank is in a slot of a station that has not told of it. Billing is paused meanwhile."""

    __tablename__ = "return_claim"
    __table_args__ = (
        Index("uq_return_claim_pending", "rental_id", unique=True, postgresql_where=text("state = 'pending'")),
        Index("ix_return_claim_station", "station_id", postgresql_where=text("state = 'pending'")),
        Index(None, "rental_id"),
        ForeignKeyConstraint(
            ["station_id", "slot_number"], ["station_slot.station_id", "station_slot.number"],
            name="fk_return_claim_slot",
        ),
        CheckConstraint("(state = 'pending') = (decided_at IS NULL)", name="decided"),
    )  # fmt: skip

    id: Mapped[UUID] = uuid_pk()
    rental_id: Mapped[UUID] = mapped_column(ForeignKey("rental.id"))
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    slot_number: Mapped[int]
    state: Mapped[ClaimState] = mapped_column(text_enum(ClaimState, 16), default=ClaimState.PENDING)
    pause_id: Mapped[UUID] = mapped_column(ForeignKey("rental_pause.id"))
    claimed_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    #: What decided it: the device event, or the operator's reason.
    decided_by: Mapped[str | None] = mapped_column(String(300))

    station: Mapped[Station] = relationship(lazy="raise", viewonly=True, foreign_keys=[station_id])


class ReturnPhoto(Base):
    """What a rider shows of a bank that they say is back. For its rider and operators, and not for long."""

    __tablename__ = "return_photo"
    __table_args__ = (
        UniqueConstraint("claim_id", "digest"),
        Index(None, "taken_at"),
        CheckConstraint("width > 0 AND height > 0 AND length(content) > 0", name="picture"),
    )

    id: Mapped[UUID] = uuid_pk()
    claim_id: Mapped[UUID] = mapped_column(ForeignKey("return_claim.id"))
    #: SHA-256 of what was sent: the same picture again is the same photo.
    digest: Mapped[bytes]
    #: JPEG, made here: nothing is in it but the picture.
    content: Mapped[bytes] = mapped_column(deferred=True)
    width: Mapped[int]
    height: Mapped[int]
    taken_at: Mapped[datetime]


class IssueKind(StrEnum):
    DAMAGED = "damaged"
    LOST = "lost"
    NOT_CHARGING = "not_charging"
    RETURN = "return"


class IssueState(StrEnum):
    OPEN = "open"
    RESOLVED = "resolved"


class RentalIssue(Base):
    """Something that a rider reports of a rental; an operator resolves it."""

    __tablename__ = "rental_issue"
    __table_args__ = (
        # Sent again it is the same report.
        Index("uq_rental_issue_open", "rental_id", "kind", unique=True, postgresql_where=text("state = 'open'")),
        Index(None, "state", "id"),
        CheckConstraint("(state = 'open') = (resolved_at IS NULL)", name="resolved"),
    )

    id: Mapped[UUID] = uuid_pk()
    rental_id: Mapped[UUID] = mapped_column(ForeignKey("rental.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    kind: Mapped[IssueKind] = mapped_column(text_enum(IssueKind, 16))
    #: Where, if it is about a station.
    station_id: Mapped[int | None] = mapped_column(ForeignKey("station.id"))
    note: Mapped[str | None] = mapped_column(String(500))
    state: Mapped[IssueState] = mapped_column(text_enum(IssueState, 16), default=IssueState.OPEN)
    reported_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    resolution: Mapped[str | None] = mapped_column(String(300))

    station: Mapped[Station | None] = relationship(lazy="raise", viewonly=True, foreign_keys=[station_id])


class LocationSharing(Base):
    """The rider shows where the bank is while they have it, and may stop at any time."""

    __tablename__ = "rental_location_sharing"

    rental_id: Mapped[UUID] = mapped_column(ForeignKey("rental.id"), primary_key=True)
    since: Mapped[datetime]


class RentalLocation(Base):
    """A position that the rider's phone told. Gone with the sharing, and after a few days."""

    __tablename__ = "rental_location"
    __table_args__ = (
        UniqueConstraint("rental_id", "at"),
        Index(None, "at"),
        CheckConstraint("latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180", name="position"),
        CheckConstraint("accuracy_m >= 0", name="accuracy"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    #: Without its sharing no position is kept.
    rental_id: Mapped[UUID] = mapped_column(ForeignKey("rental_location_sharing.rental_id", ondelete="CASCADE"))
    latitude: Mapped[float] = mapped_column(Float(53))
    longitude: Mapped[float] = mapped_column(Float(53))
    accuracy_m: Mapped[float | None] = mapped_column(Float(53))
    at: Mapped[datetime]


#: More than these would be a rental without an end.
EXTENSIONS_MAX = 3


class RentalExtension(Base):
    """Append-only: a package that was added to a rental under way; `number` from 1."""

    __tablename__ = "rental_extension"
    __table_args__ = (CheckConstraint(f"number BETWEEN 1 AND {EXTENSIONS_MAX}", name="number"),)

    rental_id: Mapped[UUID] = mapped_column(ForeignKey("rental.id"), primary_key=True)
    number: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    package_id: Mapped[UUID] = mapped_column(ForeignKey("rental_package.id"))
    #: When the rental was due before and after it; NULL: its clock stood still.
    due_before: Mapped[datetime | None]
    due_after: Mapped[datetime | None]
    bought_at: Mapped[datetime]
