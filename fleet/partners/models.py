from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fleet.db import Base, text_enum, uuid_pk
from fleet.stations.models import Station


class PartnerKind(StrEnum):
    #: Runs a region, and may have vendors of its own.
    FRANCHISE = "franchise"
    #: Has stations at its place; under a franchise, or directly under the house.
    VENDOR = "vendor"


class PartnerStatus(StrEnum):
    ACTIVE = "active"
    #: Its people see nothing; what it earns is still booked.
    SUSPENDED = "suspended"


class Partner(Base):
    """Somebody who earns a part of what stations take in. The tree has two levels, whatever the code does."""

    __tablename__ = "partner"
    __table_args__ = (
        UniqueConstraint("id", "kind"),
        # A parent is a franchise, and a franchise has no parent.
        ForeignKeyConstraint(
            ["parent_id", "parent_kind"], ["partner.id", "partner.kind"], name="fk_partner_parent_id_partner"
        ),
        CheckConstraint("kind = 'vendor' OR parent_id IS NULL", name="parent"),
        Index(None, "parent_id"),
    )

    id: Mapped[UUID] = uuid_pk()
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[PartnerKind] = mapped_column(text_enum(PartnerKind, 16))
    parent_id: Mapped[UUID | None]
    parent_kind: Mapped[str | None] = mapped_column(
        String(16), Computed("CASE WHEN parent_id IS NOT NULL THEN 'franchise' END", persisted=True)
    )
    status: Mapped[PartnerStatus] = mapped_column(text_enum(PartnerStatus, 16), default=PartnerStatus.ACTIVE)
    #: Whose days its reports count.
    time_zone: Mapped[str] = mapped_column(String(64), default="UTC", server_default="UTC")
    created_at: Mapped[datetime]


class PartnerMember(Base):
    """Somebody who sees a partner's figures and asks for its payouts; of one partner only."""

    __tablename__ = "partner_member"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"), primary_key=True)
    partner_id: Mapped[UUID] = mapped_column(ForeignKey("partner.id"), index=True)
    added_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    added_at: Mapped[datetime]


class PartnerStation(Base):
    """Whose a station was, and when: one partner's at a time. What was rented then counts for that one."""

    __tablename__ = "partner_station"
    __table_args__ = (
        ExcludeConstraint(
            ("station_id", "="), (text("tstzrange(valid_from, valid_to)"), "&&"), using="gist",
            name="ex_partner_station_overlap",
        ),
        CheckConstraint("valid_to >= valid_from", name="validity"),
    )  # fmt: skip

    id: Mapped[UUID] = uuid_pk()
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    partner_id: Mapped[UUID] = mapped_column(ForeignKey("partner.id"), index=True)
    valid_from: Mapped[datetime]
    valid_to: Mapped[datetime | None]

    station: Mapped[Station] = relationship(lazy="raise", viewonly=True)


class ShareKind(StrEnum):
    #: So many basis points of a rental's net.
    PERCENT = "percent"
    #: A fixed amount of every rental, as far as its net goes.
    FIXED = "fixed"


class RevenueAgreement(Base):
    """What a partner gets of a rental. Never changes but in when it ends (trigger); a new one follows it.

    A vendor of a franchise gets it out of the franchise's own share; everybody else gets it from the house.
    """

    __tablename__ = "revenue_agreement"
    __table_args__ = (
        ExcludeConstraint(
            ("partner_id", "="), (text("coalesce(station_id, 0)"), "="),
            (text("tstzrange(valid_from, valid_to)"), "&&"), using="gist", name="ex_revenue_agreement_overlap",
        ),
        CheckConstraint("valid_to >= valid_from", name="validity"),
        CheckConstraint(
            "kind = 'percent' AND basis_points BETWEEN 0 AND 10000 AND fixed_minor IS NULL"
            " OR kind = 'fixed' AND fixed_minor > 0 AND basis_points IS NULL",
            name="terms",
        ),
        CheckConstraint("service_charge_bp BETWEEN 0 AND 10000", name="service_charge"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
    )  # fmt: skip

    id: Mapped[UUID] = uuid_pk()
    partner_id: Mapped[UUID] = mapped_column(ForeignKey("partner.id"))
    #: NULL: all of its stations that have no agreement of their own.
    station_id: Mapped[int | None] = mapped_column(ForeignKey("station.id"))
    kind: Mapped[ShareKind] = mapped_column(text_enum(ShareKind, 16))
    basis_points: Mapped[int | None]
    fixed_minor: Mapped[int | None] = mapped_column(BigInteger)
    #: Of the fixed amount; a percentage holds in every currency.
    currency: Mapped[str] = mapped_column(String(3))
    #: What the house takes of the gross beforehand. Of a franchise's vendor: not asked.
    service_charge_bp: Mapped[int]
    valid_from: Mapped[datetime]
    valid_to: Mapped[datetime | None]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    created_at: Mapped[datetime]


class RevenueShare(Base):
    """What one partner earns of one rental, as it stands; every change of it is a transfer of the ledger."""

    __tablename__ = "revenue_share"
    __table_args__ = (
        UniqueConstraint("rental_id", "partner_id"),
        Index(None, "partner_id", "id"),
        Index(None, "partner_id", "at"),
        CheckConstraint("net_minor = gross_minor - tax_minor - service_charge_minor", name="net"),
        CheckConstraint("amount_minor BETWEEN 0 AND net_minor", name="amount"),
        CheckConstraint("gross_minor >= 0 AND tax_minor >= 0 AND service_charge_minor >= 0", name="amounts"),
    )

    id: Mapped[UUID] = uuid_pk()
    rental_id: Mapped[UUID] = mapped_column(ForeignKey("rental.id"))
    partner_id: Mapped[UUID] = mapped_column(ForeignKey("partner.id"))
    agreement_id: Mapped[UUID] = mapped_column(ForeignKey("revenue_agreement.id"))
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    currency: Mapped[str] = mapped_column(String(3))
    #: What the rider paid and did not get back.
    gross_minor: Mapped[int] = mapped_column(BigInteger)
    tax_minor: Mapped[int] = mapped_column(BigInteger)
    service_charge_minor: Mapped[int] = mapped_column(BigInteger)
    net_minor: Mapped[int] = mapped_column(BigInteger)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    #: Transfers that it took: the next one's key.
    postings: Mapped[int] = mapped_column(default=0, server_default="0")
    #: When the rental was closed.
    at: Mapped[datetime]
    updated_at: Mapped[datetime]

    station: Mapped[Station] = relationship(lazy="raise", viewonly=True)
    partner: Mapped[Partner] = relationship(lazy="raise", viewonly=True)


class PayoutState(StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    #: The bank, or the payment provider, has the order.
    PROCESSING = "processing"
    COMPLETED = "completed"
    REJECTED = "rejected"
    #: The provider could not, or it came back: the money is the partner's again.
    FAILED = "failed"
    #: Taken back by the partner.
    CANCELLED = "cancelled"


class PayoutRequest(Base):
    """Money that a partner wants to have. It is held on the partner's account from the request to the end."""

    __tablename__ = "payout_request"
    __table_args__ = (
        Index(None, "partner_id", "id"),
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("decided_by <> requested_by", name="four_eyes"),
        CheckConstraint(
            "state NOT IN ('approved', 'processing', 'completed') OR decided_by IS NOT NULL", name="decided"
        ),
        CheckConstraint("state <> 'completed' OR reference IS NOT NULL", name="reference"),
        CheckConstraint(
            "(state IN ('completed', 'rejected', 'cancelled', 'failed')) = (finished_at IS NOT NULL)", name="finished"
        ),
    )

    id: Mapped[UUID] = uuid_pk()
    partner_id: Mapped[UUID] = mapped_column(ForeignKey("partner.id"))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    state: Mapped[PayoutState] = mapped_column(text_enum(PayoutState, 16), default=PayoutState.REQUESTED)
    hold_transfer_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_transfer.id"), unique=True)
    requested_by: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    requested_at: Mapped[datetime]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    decided_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    #: The payment provider that sends it; NULL: people do, at a bank.
    provider: Mapped[str | None] = mapped_column(String(32))
    #: The bank's or provider's, of the money that was sent; the same is never used twice.
    reference: Mapped[str | None] = mapped_column(String(100), unique=True)
    reason: Mapped[str | None] = mapped_column(String(300))


class PartnerCommand(Base):
    """A partner ordered a cabinet to do something. Append-only; what became of it is the command's."""

    __tablename__ = "partner_command"
    __table_args__ = (Index(None, "partner_id", "command_id"),)

    command_id: Mapped[UUID] = mapped_column(ForeignKey("device_command.id"), primary_key=True)
    partner_id: Mapped[UUID] = mapped_column(ForeignKey("partner.id"))
    #: Whose station it is may change; what was sent stays with who sent it.
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    reason: Mapped[str | None] = mapped_column(String(300))
    at: Mapped[datetime]
