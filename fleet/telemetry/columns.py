"""The rollups' columns, as the migrations made them.

A raw row stands for `span_s` seconds (see `fleet.telemetry.deadband`): sums and counts are weighted with it, so that an
average is one over time, however often a value was worth a row.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Column:
    """How a column of an hour is made of raw rows, and one of a day of the hours."""

    name: str
    kind: str
    raw: str
    rolled: str


@dataclass(frozen=True, slots=True)
class TimeSeries:
    name: str
    keys: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def raw_aggregates(self) -> str:
        """The columns of an hour, in their order, over raw rows."""
        return ", ".join(f"({column.raw})::{column.kind} AS {column.name}" for column in self.columns)

    @property
    def rolled_aggregates(self) -> str:
        """The columns of a day, in their order, over hours."""
        return ", ".join(f"({column.rolled})::{column.kind} AS {column.name}" for column in self.columns)


def _least(name: str, column: str, kind: str) -> Column:
    return Column(name, kind, f"min({column})", f"min({name})")


def _most(name: str, column: str, kind: str) -> Column:
    return Column(name, kind, f"max({column})", f"max({name})")


def _average(name: str, column: str, kind: str = "bigint") -> tuple[Column, Column]:
    """The two columns of which an average is made."""
    return (
        Column(f"{name}_sum", kind, f"sum({column}::{kind} * span_s)", f"sum({name}_sum)"),
        Column(f"{name}_count", "bigint", f"sum(span_s) FILTER (WHERE {column} IS NOT NULL)", f"sum({name}_count)"),
    )


_SAMPLES: Final = Column("samples", "bigint", "count(*)", "sum(samples)")
_TEMPERATURE: Final = (
    *_average("temperature", "temperature_c", "double precision"),
    _most("temperature_max", "temperature_c", "real"),
)

SLOT: Final = TimeSeries(
    "slot_telemetry",
    "station_id, slot",
    (
        _SAMPLES,
        _least("charge_min", "charge_pct", "smallint"),
        _most("charge_max", "charge_pct", "smallint"),
        *_average("charge", "charge_pct"),
        *_average("voltage", "voltage_mv"),
        *_average("current", "current_ma"),
        *_TEMPERATURE,
        _most("cycles_max", "cycles", "integer"),
        _least("health_min", "health_pct", "smallint"),
    ),
)
STATION: Final = TimeSeries(
    "station_telemetry",
    "station_id",
    (
        _SAMPLES,
        _least("signal_min", "signal_dbm", "smallint"),
        *_average("signal", "signal_dbm"),
        Column("mains_count", "bigint", "sum(span_s) FILTER (WHERE mains IS NOT NULL)", "sum(mains_count)"),
        Column("mains_lost", "bigint", "sum(span_s) FILTER (WHERE NOT mains)", "sum(mains_lost)"),
        *_TEMPERATURE,
        _most("uptime_max", "uptime_s", "bigint"),
    ),
)
TABLES: Final = (SLOT, STATION)
