"""Time series. The tables are partitioned by `at`: hypertables with TimescaleDB, native partitions without; the
migration makes them and these classes describe them for queries and the drift check.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fleet.db import Base, text_enum
from fleet.stations.models import PowerBank, Station


class SlotTelemetryRow(Base):
    """One slot at one instant. `at` is the corrected time of the sample, never later than its receipt."""

    __tablename__ = "slot_telemetry"
    __table_args__ = {"postgresql_partition_by": "RANGE (at)"}  # noqa: RUF012  # SQLAlchemy's own form

    station_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    power_bank_id: Mapped[int | None] = mapped_column(Integer)
    charge_pct: Mapped[int | None] = mapped_column(SmallInteger)
    voltage_mv: Mapped[int | None] = mapped_column(Integer)
    current_ma: Mapped[int | None] = mapped_column(Integer)
    temperature_c: Mapped[float | None] = mapped_column(REAL)
    cycles: Mapped[int | None] = mapped_column(Integer)
    health_pct: Mapped[int | None] = mapped_column(SmallInteger)
    #: How many seconds up to `at` the values hold: what averages are weighted with.
    span_s: Mapped[int] = mapped_column(SmallInteger, default=1, server_default="1")


class StationTelemetryRow(Base):
    """One heartbeat."""

    __tablename__ = "station_telemetry"
    __table_args__ = {"postgresql_partition_by": "RANGE (at)"}  # noqa: RUF012  # SQLAlchemy's own form

    station_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    signal_dbm: Mapped[int | None] = mapped_column(SmallInteger)
    mains: Mapped[bool | None]
    temperature_c: Mapped[float | None] = mapped_column(REAL)
    uptime_s: Mapped[int | None] = mapped_column(BigInteger)
    span_s: Mapped[int] = mapped_column(SmallInteger, default=1, server_default="1")


class TelemetryRun(Base):
    """What was last stored and last heard of each slot of a station, for all gateways (decision 0110).

    Unlogged and without a foreign key: what is lost of it costs one whole sample.
    """

    __tablename__ = "telemetry_run"
    __table_args__ = {"prefixes": ["UNLOGGED"], "postgresql_with": {"fillfactor": 50}}  # noqa: RUF012  # SQLAlchemy's own form

    station_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    #: The newest sample that is in `runs`.
    at: Mapped[datetime]
    runs: Mapped[bytes] = mapped_column(LargeBinary)


class TelemetryLate(Base):
    """An hour of a station into which a row came after it may have been rolled up."""

    __tablename__ = "telemetry_late"

    series: Mapped[str] = mapped_column(String(32), primary_key=True)
    station_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    noted_at: Mapped[datetime]


class FleetHour(Base):
    """All stations over one hour: how many there were, and for how many seconds they were online together."""

    __tablename__ = "fleet_hour"

    hour: Mapped[datetime] = mapped_column(primary_key=True)
    stations: Mapped[int]
    online_s: Mapped[int] = mapped_column(BigInteger)


class FleetTemperature(Base):
    """How many cabinets or banks had an average of `degrees` to `degrees` + 1 °C in an hour.

    A histogram, because histograms of hours add up to those of days, and percentiles do not.
    """

    __tablename__ = "fleet_temperature"

    hour: Mapped[datetime] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(String(16), primary_key=True)
    degrees: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    things: Mapped[int]


class AlertKind(StrEnum):
    OFFLINE = "offline"
    #: A bank (threshold: °C), or a cabinet that says so itself.
    OVER_TEMPERATURE = "over_temperature"
    SMOKE = "smoke"
    TAMPER = "tamper"
    POWER_LOST = "power_lost"
    #: The best bank of a station has less charge than the threshold, percent.
    LOW_CHARGE = "low_charge"
    #: No more free slots than the threshold.
    FULL = "full"
    #: No more banks than the threshold.
    EMPTY = "empty"
    #: So many jams and failed ejects of one station within a day.
    JAM_RATE = "jam_rate"
    #: A cabinet's inventories cannot be read or do not come: what is known of its slots is old.
    INVENTORY = "inventory"
    #: The last update offered to a cabinet failed, or was not proven in time.
    FIRMWARE = "firmware"
    #: A cabinet's certificate ends within so many days (threshold), and was not renewed.
    CERTIFICATE = "certificate"
    #: So many connections within a quarter of an hour: a bad link, or two cabinets with one identity.
    FLAPPING = "flapping"
    #: So many anti-theft alarms of a station's slots within a day.
    ANTI_THEFT = "anti_theft"
    #: So many doubtful calls for a vendor's cabinet within an hour, or one from another network.
    CONNECT = "connect"
    #: A rider has had a bank for so many hours (threshold). This and the next are `rentals.cases.anomalies`.
    LONG_RENTAL = "long_rental"
    #: A bank left a cabinet as many hours ago, and no slot, no rental and no decision of an operator has it.
    BANK_MISSING = "bank_missing"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


class AlertRule(Base):
    """When operators are told. For one station, one city, or (both NULL) all; every rule that fits counts."""

    __tablename__ = "alert_rule"
    __table_args__ = (
        CheckConstraint("station_id IS NULL OR city IS NULL", name="scope"),
        CheckConstraint("duration >= interval '0' AND clear_after >= interval '0'", name="durations"),
        Index("uq_alert_rule_name", "name", unique=True, postgresql_where=text("removed_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(always=False), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    kind: Mapped[AlertKind] = mapped_column(text_enum(AlertKind, 32))
    severity: Mapped[Severity] = mapped_column(text_enum(Severity, 16))
    #: In the unit of its kind; NULL for kinds that are simply so.
    threshold: Mapped[float | None]
    #: How long it must be so before it is told, and how long not any more before it is over.
    duration: Mapped[timedelta]
    clear_after: Mapped[timedelta]
    station_id: Mapped[int | None] = mapped_column(ForeignKey("station.id"))
    city: Mapped[str | None] = mapped_column(String(100))
    enabled: Mapped[bool] = mapped_column(default=True, server_default="true")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    #: Rules are never deleted: alerts tell of them.
    removed_at: Mapped[datetime | None]

    station: Mapped[Station | None] = relationship(lazy="raise")


class AlertWatch(Base):
    """Something that may become an alert: it is so since `since`, not yet for as long as the rule asks."""

    __tablename__ = "alert_watch"

    rule_id: Mapped[int] = mapped_column(ForeignKey("alert_rule.id"), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    since: Mapped[datetime]


class Alert(Base):
    """What a rule found. At most one that is not closed per rule and subject (`station:5`, `bank:77`, `rental:…`)."""

    __tablename__ = "alert"
    __table_args__ = (
        Index("uq_alert_open", "rule_id", "subject", unique=True, postgresql_where=text("state <> 'closed'")),
        Index(None, "station_id", "id"),
        Index(None, "state", "id"),
        # Asked when an account is deleted, as below.
        Index("ix_alert_acknowledged_by", "acknowledged_by", postgresql_where=text("acknowledged_by IS NOT NULL")),
        CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name="closed_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    rule_id: Mapped[int] = mapped_column(ForeignKey("alert_rule.id"))
    kind: Mapped[AlertKind] = mapped_column(text_enum(AlertKind, 32))
    severity: Mapped[Severity] = mapped_column(text_enum(Severity, 16))
    subject: Mapped[str] = mapped_column(String(64))
    station_id: Mapped[int | None] = mapped_column(ForeignKey("station.id"))
    slot_number: Mapped[int | None]
    power_bank_id: Mapped[int | None] = mapped_column(ForeignKey("power_bank.id"))
    state: Mapped[AlertState] = mapped_column(text_enum(AlertState, 16))
    #: Since when it was so; `opened_at`: when that was long enough.
    since: Mapped[datetime]
    opened_at: Mapped[datetime]
    #: The newest measured value while it was so, in the unit of its kind.
    value: Mapped[float | None]
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    #: It is not so any more since then; NULL while it is.
    clear_since: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    close_reason: Mapped[str | None] = mapped_column(String(32))

    rule: Mapped[AlertRule] = relationship(lazy="raise")
    station: Mapped[Station | None] = relationship(lazy="raise")
    power_bank: Mapped[PowerBank | None] = relationship(lazy="raise")
    history: Mapped[list["AlertEvent"]] = relationship(lazy="raise", order_by="AlertEvent.id")


class AlertEvent(Base):
    """Append-only: what became of an alert."""

    __tablename__ = "alert_event"
    __table_args__ = (Index("ix_alert_event_actor_id", "actor_id", postgresql_where=text("actor_id IS NOT NULL")),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    alert_id: Mapped[int] = mapped_column(ForeignKey("alert.id"), index=True)
    at: Mapped[datetime]
    #: opened, acknowledged, noted, closed.
    what: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    note: Mapped[str | None] = mapped_column(String(1000))
