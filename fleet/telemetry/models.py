"""Time series. The tables are partitioned by `at`: hypertables with TimescaleDB, native partitions without; the
migration makes them and these classes describe them for queries and the drift check.
"""

from datetime import datetime

from sqlalchemy import REAL, BigInteger, Integer, LargeBinary, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base


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
