"""What the tables and views of measurements hold. The views are the same with TimescaleDB and without."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from fleet.telemetry.models import SlotTelemetryRow, StationTelemetryRow


class Step(StrEnum):
    HOUR = "hourly"
    DAY = "daily"


@dataclass(frozen=True, slots=True)
class SlotPoint:
    """One slot over one hour or day; units: percent, mV, mA, °C."""

    bucket: datetime
    samples: int
    charge_min: int | None
    charge_max: int | None
    charge_avg: float | None
    voltage_avg: float | None
    current_avg: float | None
    temperature_avg: float | None
    temperature_max: float | None
    cycles_max: int | None
    health_min: int | None


@dataclass(frozen=True, slots=True)
class StationPoint:
    """One cabinet over one hour or day; units: dBm, °C, s. `mains_lost_share`: 0 to 1."""

    bucket: datetime
    samples: int
    signal_min: int | None
    signal_avg: float | None
    mains_lost_share: float | None
    temperature_avg: float | None
    temperature_max: float | None
    uptime_max: int | None


def slot_series(
    session: Session, station_id: int, slot: int, *, start: datetime, end: datetime, step: Step
) -> list[SlotPoint]:
    """Ascending, of [start, end)."""
    columns = ", ".join(SlotPoint.__dataclass_fields__)
    query = text(
        f"SELECT {columns} FROM slot_telemetry_{step.value} WHERE station_id = :station_id AND slot = :slot"
        " AND bucket >= :start AND bucket < :end ORDER BY bucket"
    )
    values = {"station_id": station_id, "slot": slot, "start": start, "end": end}
    return [SlotPoint(*row) for row in session.execute(query, values)]


def station_series(
    session: Session, station_id: int, *, start: datetime, end: datetime, step: Step
) -> list[StationPoint]:
    """Ascending, of [start, end)."""
    columns = ", ".join(StationPoint.__dataclass_fields__)
    query = text(
        f"SELECT {columns} FROM station_telemetry_{step.value} WHERE station_id = :station_id"
        " AND bucket >= :start AND bucket < :end ORDER BY bucket"
    )
    values = {"station_id": station_id, "start": start, "end": end}
    return [StationPoint(*row) for row in session.execute(query, values)]


def slot_samples(
    session: Session, station_id: int, slot: int, *, start: datetime, end: datetime
) -> list[SlotTelemetryRow]:
    """Raw rows, ascending, of [start, end)."""
    query = (
        select(SlotTelemetryRow)
        .where(
            SlotTelemetryRow.station_id == station_id,
            SlotTelemetryRow.slot == slot,
            SlotTelemetryRow.at >= start,
            SlotTelemetryRow.at < end,
        )
        .order_by(SlotTelemetryRow.at)
    )
    return list(session.scalars(query))


def latest_heartbeat(session: Session, station_id: int) -> StationTelemetryRow | None:
    query = select(StationTelemetryRow).where(StationTelemetryRow.station_id == station_id)
    return session.scalars(query.order_by(StationTelemetryRow.at.desc()).limit(1)).one_or_none()
