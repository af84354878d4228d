"""The rollups' columns, as the migration made them."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class TimeSeries:
    name: str
    keys: str
    columns: tuple[str, ...]


SLOT: Final = TimeSeries(
    "slot_telemetry",
    "station_id, slot",
    (
        "samples",
        "charge_min",
        "charge_max",
        "charge_sum",
        "charge_count",
        "voltage_sum",
        "voltage_count",
        "current_sum",
        "current_count",
        "temperature_sum",
        "temperature_count",
        "temperature_max",
        "cycles_max",
        "health_min",
    ),
)
STATION: Final = TimeSeries(
    "station_telemetry",
    "station_id",
    (
        "samples",
        "signal_min",
        "signal_sum",
        "signal_count",
        "mains_count",
        "mains_lost",
        "temperature_sum",
        "temperature_count",
        "temperature_max",
        "uptime_max",
    ),
)
TABLES: Final = (SLOT, STATION)
