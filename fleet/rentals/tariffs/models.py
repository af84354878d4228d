"""What operators offer: tariffs, version by version, and packages of time."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    Interval,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, new_id, text_enum, uuid_pk
from fleet.rentals.pricing.terms import LATE_GRACE

#: What a tariff is for, as one text: no two may hold at once for the same. Mirrors `queries.Scope`.
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
    #: pricing.terms.Multiplier as JSON.
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
