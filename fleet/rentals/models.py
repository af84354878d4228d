from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Identity,
    Index,
    Interval,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fleet.db import Base, new_id, text_enum, uuid_pk
from fleet.rentals.pricing.terms import LATE_GRACE
from fleet.stations.models import PowerBank, Station


class RentalState(StrEnum):
    EJECTING = "ejecting"
    EJECT_UNKNOWN = "eject_unknown"
    ACTIVE = "active"
    OVERDUE = "overdue"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EJECT_FAILED = "eject_failed"
    BOUGHT_OUT = "bought_out"
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


class CaseState(StrEnum):
    OPEN = "open"
    RESOLVED = "resolved"


#: What a tariff is for, as one text: no two may hold at once for the same. Mirrors `tariffs.Scope`.
_SCOPE = (
    "CASE WHEN station_id IS NOT NULL THEN 'station:' || station_id"
    " WHEN venue_id IS NOT NULL THEN 'venue:' || venue_id"
    " WHEN city IS NOT NULL THEN 'city:' || coalesce(country, '') || ':' || city"
    " WHEN country IS NOT NULL THEN 'country:' || country ELSE 'default' END"
)


class Tariff(Base):
    """One version of what a rental costs, frozen into each rental at its start. Most specific first: station, venue,
    city, country, everywhere.

    A version never changes but in when it ends (trigger); an edit is a new one that begins where the old one ends.
    """

    __tablename__ = "tariff"
    __table_args__ = (
        UniqueConstraint("series_id", "version"),
        ExcludeConstraint(
            ("scope", "="), (text("tstzrange(valid_from, valid_to)"), "&&"), using="gist", name="ex_tariff_overlap"
        ),
        CheckConstraint(
            "unlock_minor >= 0 AND interval_minor >= 0 AND daily_cap_minor >= 0 AND total_cap_minor >= 0"
            " AND hold_minor >= 0 AND rounding_step_minor >= 1",
            name="amounts",
        ),
        CheckConstraint("interval_length > interval '0' AND free_period >= interval '0'", name="durations"),
        CheckConstraint("num_nonnulls(station_id, venue_id, coalesce(city, country)) <= 1", name="one_scope"),
        CheckConstraint("valid_to >= valid_from", name="validity"),
        CheckConstraint(
            "late_multiplier_bp >= 10000 AND late_hourly_minor >= 0 AND late_daily_cap_minor >= 0"
            " AND late_grace >= interval '0'",
            name="late",
        ),
        CheckConstraint("buyout_after IS NULL OR total_cap_minor > 0", name="buyout"),
        CheckConstraint("reservation_fee_minor >= 0", name="reservation"),
        CheckConstraint("lost_fee_minor >= 0 AND lost_after >= interval '0'", name="lost"),
    )

    id: Mapped[UUID] = uuid_pk()
    #: The same for all versions of one tariff.
    series_id: Mapped[UUID] = mapped_column(default=new_id)
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    name: Mapped[str] = mapped_column(String(100))
    currency: Mapped[str] = mapped_column(String(3))
    station_id: Mapped[int | None] = mapped_column(ForeignKey("station.id"), index=True)
    venue_id: Mapped[int | None] = mapped_column(ForeignKey("venue.id"))
    city: Mapped[str | None] = mapped_column(String(100))
    country: Mapped[str | None] = mapped_column(ForeignKey("country.iso_code"))
    scope: Mapped[str] = mapped_column(Text, Computed(_SCOPE, persisted=True))
    unlock_minor: Mapped[int] = mapped_column(BigInteger)
    free_period: Mapped[timedelta] = mapped_column(Interval)
    interval_minor: Mapped[int] = mapped_column(BigInteger)
    interval_length: Mapped[timedelta] = mapped_column(Interval)
    #: Per local day of the station the bank left from; 0: no cap.
    daily_cap_minor: Mapped[int] = mapped_column(BigInteger)
    #: The most a rental can ever cost; also the price of a bank that is never brought back.
    total_cap_minor: Mapped[int] = mapped_column(BigInteger)
    #: Held on the wallet at the start.
    hold_minor: Mapped[int] = mapped_column(BigInteger)
    overdue_after: Mapped[timedelta] = mapped_column(Interval)
    buyout_after: Mapped[timedelta | None] = mapped_column(Interval)
    #: terms.Multiplier as JSON.
    multipliers: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    rounding_step_minor: Mapped[int] = mapped_column(BigInteger, default=1, server_default="1")
    #: Whether the amounts contain the country's tax, or it comes on top.
    tax_inclusive: Mapped[bool] = mapped_column(default=True, server_default="true")
    #: How long after the due time the bank counts as lost, and what that costs besides the time.
    lost_after: Mapped[timedelta | None] = mapped_column(Interval)
    lost_fee_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    #: For a bank that was kept for a rider who did not come.
    reservation_fee_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    late_multiplier_bp: Mapped[int] = mapped_column(default=10_000, server_default="10000")
    late_hourly_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    late_grace: Mapped[timedelta] = mapped_column(Interval, default=LATE_GRACE, server_default="2 minutes")
    late_daily_cap_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    valid_from: Mapped[datetime]
    valid_to: Mapped[datetime | None]


class PackageKind(StrEnum):
    """When a package is paid for: its price is held from the start on, or is due when the bank is back."""

    PREPAID = "prepaid"
    POSTPAID = "postpaid"


class RentalPackage(Base):
    """Time at a fixed price that riders may choose. It never changes: another one is offered, the old one withdrawn."""

    __tablename__ = "rental_package"
    __table_args__ = (
        CheckConstraint("price_minor > 0 AND minimum_balance_minor >= 0", name="amounts"),
        CheckConstraint("duration > interval '0'", name="duration"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
        Index(
            "uq_rental_package_offered", "currency", "name", unique=True, postgresql_where=text("withdrawn_at IS NULL")
        ),
    )

    id: Mapped[UUID] = uuid_pk()
    name: Mapped[str] = mapped_column(String(100))
    kind: Mapped[PackageKind] = mapped_column(text_enum(PackageKind, 16))
    duration: Mapped[timedelta] = mapped_column(Interval)
    price_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    #: What the wallet must have for a postpaid one, of which only the tariff's hold is set aside.
    minimum_balance_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    created_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]


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


class Rental(Base):
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
    #: The tariff as it stood at the start (rules.TariffTerms as JSON), and the time zone its days are counted in.
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
    #: terms.Prepaid and adjustments.Adjustment as JSON, frozen like the terms.
    prepaid: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    adjustments: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    #: The pauses in force (care_models.RentalPause, trigger), as [from, to or null] in microseconds since 1970.
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


class OrphanBankCase(Base):
    """A bank left a cabinet and no rental explains it. An operator closes it, or the bank does by coming back."""

    __tablename__ = "orphan_bank_case"
    __table_args__ = (
        Index("uq_orphan_bank_case_open", "power_bank_id", unique=True, postgresql_where=text("state = 'open'")),
    )

    id: Mapped[UUID] = uuid_pk()
    power_bank_id: Mapped[int] = mapped_column(ForeignKey("power_bank.id"))
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    slot_number: Mapped[int]
    reason: Mapped[str] = mapped_column(String(64))
    #: The closed rental it may belong to, for the operator to look at.
    rental_id: Mapped[UUID | None] = mapped_column(ForeignKey("rental.id"))
    evidence: Mapped[dict[str, Any]]
    state: Mapped[CaseState] = mapped_column(text_enum(CaseState, 16), default=CaseState.OPEN)
    opened_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    resolution: Mapped[str | None] = mapped_column(String(300))

    power_bank: Mapped[PowerBank] = relationship(lazy="raise", viewonly=True)
    station: Mapped[Station] = relationship(lazy="raise", viewonly=True)
