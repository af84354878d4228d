"""Time series. The tables are partitioned by `at`: hypertables with TimescaleDB, native partitions without; the
migration makes them and these classes describe them for queries and the drift check.
"""

from datetime import datetime

from sqlalchemy import REAL, BigInteger, Integer, SmallInteger
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
